"""Loops in a response: against a search through all stretches, and in the cases that are known."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omniopd.functional import repetition

SMALL = {"max_period": 4, "min_copies": 3, "min_len": 5}
responses = st.lists(st.integers(0, 2), max_size=30)


def by_search(ids: list[int], *, max_period: int, min_copies: int, min_len: int) -> float:
    """Every stretch of every period, one after the other."""
    looped = set()
    for period in range(1, max_period + 1):
        for first in range(len(ids)):
            for last in range(first + max(min_len, min_copies * period), len(ids) + 1):
                if all(ids[t] == ids[t - period] for t in range(first + period, last)):
                    looped.update(range(first, last))
    return len(looped) / len(ids) if ids else 0.0


@given(responses)
def test_the_share_is_that_of_a_search_through_all_stretches(ids: list[int]):
    assert repetition(ids, **SMALL) == by_search(ids, **SMALL)


@given(responses, st.permutations([0, 1, 2]))
def test_it_depends_on_which_tokens_are_equal_and_on_nothing_else(ids: list[int], names: list[int]):
    share = repetition(ids, **SMALL)
    assert share == repetition([100 * names[i] for i in ids], **SMALL)
    assert share == repetition(ids[::-1], **SMALL)
    assert 0.0 <= share <= 1.0


@given(st.lists(st.integers(0, 9), min_size=1, max_size=40), st.integers(24, 60), st.integers(0, 30))
def test_a_loop_counts_from_its_first_copy_to_where_it_is_cut(unit: list[int], copies: int, num_before: int):
    before = list(range(100, 100 + num_before))
    ids = [*before, *unit * copies, *unit[: len(unit) // 2]]
    assert repetition(ids) == (len(ids) - num_before) / len(ids)


@given(st.lists(st.integers(0, 5), max_size=23))
def test_short_responses_have_no_loop(ids: list[int]):
    assert repetition(ids) == 0.0


@pytest.mark.parametrize(
    ("ids", "share"),
    [
        (list(range(500)), 0.0),  # no token twice
        (list(range(300)) * 3, 0.0),  # longer than a loop's period may be
        (list(range(200)) * 2, 0.0),  # twice is no loop
        (list(range(200)) * 3, 1.0),
        ([5] * 23 + [6], 0.0),
        ([5] * 24 + [6], 0.96),
    ],
)
def test_cases(ids: list[int], share: float):
    assert repetition(ids) == share
