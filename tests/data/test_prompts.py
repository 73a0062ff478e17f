"""Which prompts a round asks."""

from decimal import Decimal
from pathlib import Path

import pytest

from omniopd.data.prompts import Prompt, prompt_of, prompts_of_round
from omniopd.data.sources import Row, Source

PROMPTS = [Prompt(f"p{i}", f"{i}") for i in range(10)]


def _ids(round_: int, count: int = 4, seed: int = 0) -> list[str]:
    return [prompt.id for prompt in prompts_of_round(PROMPTS, round_, count=count, seed=seed)]


def test_no_prompt_is_drawn_twice_in_an_epoch_and_an_incomplete_round_is_skipped():
    epochs = [_ids(round_) + _ids(round_ + 1) for round_ in range(0, 10, 2)]

    assert all(len(epoch) == len(set(epoch)) == 8 for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 5  # each in an order of its own
    assert len({id_ for epoch in epochs for id_ in epoch}) == 10


def test_a_round_may_hold_every_prompt():
    for round_ in range(3):
        assert sorted(_ids(round_, count=10)) == sorted(prompt.id for prompt in PROMPTS)


def test_a_round_is_a_function_of_its_number_and_the_seed():
    assert _ids(7) == _ids(7)
    assert _ids(7) != _ids(7, seed=1)


@pytest.mark.parametrize("count", [0, 11])
def test_a_round_of_more_prompts_than_there_are_is_refused(count: int):
    with pytest.raises(ValueError, match=f"{count} different prompts cannot be drawn from 10"):
        _ids(0, count=count)


@pytest.mark.parametrize(
    ("value", "answer"),
    [(4.0, "4"), (-0.0, "0"), (7, "7"), (Decimal("12.00"), "12"), (1e15, "1000000000000000"), (0, "0")],
)
def test_whole_numbers_are_answers_and_ids_whatever_column_holds_them(value, answer: str):
    row = Row(Source("a.parquet", Path("a.parquet")), 1, {"prompt": "1+3=", "answer": value, "id": value})
    prompt, reason = prompt_of(row)
    assert (prompt.answer, prompt.id, reason) == (answer, answer, "")


@pytest.mark.parametrize(
    "value", [0.5, float("nan"), float("inf"), 2.0**53, True, Decimal("0.5"), Decimal("NaN")]
)
def test_other_numbers_are_no_answers(value):
    row = Row(Source("a.parquet", Path("a.parquet")), 1, {"prompt": "1+3=", "answer": value})
    prompt, reason = prompt_of(row)
    assert prompt.answer is None
    assert "neither text nor a whole number" in reason
