"""What graded responses come to: pass@k by counting, and intervals that hold what they promise."""

import json
import random
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omniopd.data.records import ItemResult
from omniopd.data.store import read_records, write_records
from omniopd.errors import DataError
from omniopd.evaluation.pass_at import (
    clustered_interval,
    difference,
    ks_of,
    paired_interval,
    pass_at_k,
    score,
)
from omniopd.grading.accuracy import wilson_interval


def result(id_: str, sample: int, is_right: bool, *, num_tokens: int = 10, cut: bool = False) -> ItemResult:
    return ItemResult(
        id=id_, sample=sample, prompt="1+1=", response="2", answer="2", reference="2", is_right=is_right, reason="",
        num_tokens=num_tokens, finish_reason="length" if cut else "stop", seed=sample,
    )  # fmt: skip


def results_of(counts: list[int], num_samples: int) -> list[ItemResult]:
    """Of each item so many samples right, the first."""
    return [result(f"q{i}", n, n < count) for i, count in enumerate(counts) for n in range(num_samples)]


# --- pass@k


@pytest.mark.parametrize("num_samples", range(1, 9))
def test_pass_at_k_is_the_share_of_all_choices_of_k_samples_that_hold_a_right_one(num_samples: int):
    for num_correct in range(num_samples + 1):
        for k in range(1, num_samples + 1):
            choices = list(combinations(range(num_samples), k))
            share = sum(min(choice) < num_correct for choice in choices) / len(choices)
            assert pass_at_k(num_samples, num_correct, k) == pytest.approx(share, abs=1e-12)


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_pass_at_k_is_a_chance_that_grows_with_k_and_with_what_is_right(case: tuple[int, int, int]):
    num_samples, num_correct, k = case
    value = pass_at_k(num_samples, num_correct, k)

    assert 0 <= value <= 1
    assert (value == 0) == (num_correct == 0)
    assert pass_at_k(num_samples, num_correct, 1) == pytest.approx(num_correct / num_samples, abs=1e-9)
    if k < num_samples:
        assert pass_at_k(num_samples, num_correct, k + 1) >= value
    if num_correct < num_samples:
        assert pass_at_k(num_samples, num_correct + 1, k) >= value
    if num_correct > num_samples - k:
        assert value == 1


def test_pass_at_k_has_no_bias():
    """Its mean over n samples drawn at a chance of 0.2 is the chance that 3 draws hold a right one."""
    draws = np.random.default_rng(0).binomial(8, 0.2, size=40_000)
    mean = np.mean([pass_at_k(8, int(count), 3) for count in draws])

    assert mean == pytest.approx(1 - 0.8**3, abs=0.005)


@pytest.mark.parametrize(("num_samples", "num_correct", "k"), [(4, 2, 5), (4, 2, 0), (4, 5, 1), (4, -1, 1)])
def test_pass_at_k_of_more_samples_than_there_are_is_refused(num_samples: int, num_correct: int, k: int):
    with pytest.raises(ValueError, match="is not defined"):
        pass_at_k(num_samples, num_correct, k)


def test_the_reported_ks_are_powers_of_two_and_all_samples():
    assert [ks_of(n) for n in (1, 2, 3, 8, 10)] == [[1], [1, 2], [1, 2, 3], [1, 2, 4, 8], [1, 2, 4, 8, 10]]


# --- the interval of a mean


@given(
    st.integers(2, 64).flatmap(
        lambda n: st.tuples(st.just(n), st.lists(st.integers(0, n), min_size=2, max_size=60))
    )
)
def test_the_interval_of_items_is_within_0_and_1_holds_the_mean_and_has_a_width(case: tuple[int, list[int]]):
    num_samples, counts = case
    shares = [count / num_samples for count in counts]
    low, high = clustered_interval(shares, num_samples)

    assert 0 <= low < high <= 1
    assert low <= sum(shares) / len(shares) + 1e-12
    assert high >= sum(shares) / len(shares) - 1e-12


@given(
    st.integers(2, 16).flatmap(
        lambda n: st.tuples(st.just(n), st.lists(st.integers(0, n), min_size=2, max_size=40))
    )
)
def test_the_interval_of_what_is_wrong_is_that_of_what_is_right_turned_round(case: tuple[int, list[int]]):
    num_samples, counts = case
    low, high = clustered_interval([count / num_samples for count in counts], num_samples)
    turned = clustered_interval([1 - count / num_samples for count in counts], num_samples)

    assert turned == pytest.approx((1 - high, 1 - low), abs=1e-9)


def test_samples_that_all_agree_count_as_one_an_item():
    """32 equal samples of an item say of other items what one says: the interval is that of one, but for t."""
    shares = [1.0] * 40 + [0.0] * 60
    low, high = clustered_interval(shares, 32)

    assert (low, high) == pytest.approx(wilson_interval(40, 100), abs=0.004)
    assert clustered_interval([0.0] * 100, 32)[1] == pytest.approx(wilson_interval(0, 100)[1], abs=0.002)


def test_samples_that_differ_as_those_of_one_chance_do_count_each():
    rng = np.random.default_rng(0)
    counts = rng.binomial(32, 0.4, size=400)
    low, high = clustered_interval([float(count) / 32 for count in counts], 32)
    wilson = wilson_interval(int(counts.sum()), 400 * 32)

    assert high - low == pytest.approx(wilson[1] - wilson[0], rel=0.15)


def test_items_that_are_all_alike_leave_no_more_sure_than_all_samples_would():
    assert clustered_interval([0.5] * 100, 4) == pytest.approx(wilson_interval(200, 400), abs=0.002)


@pytest.mark.parametrize(
    ("a", "b", "num_items", "num_samples"),
    [(1, 1, 30, 4), (0.3, 0.7, 30, 32), (5, 5, 30, 32), (0.3, 0.7, 164, 10), (1, 9, 40, 8)],
)
def test_of_a_hundred_intervals_ninety_five_hold_the_truth(
    a: float, b: float, num_items: int, num_samples: int
):
    """Items whose chances are drawn from Beta(a, b): some easy, some hard, or much alike."""
    rng = np.random.default_rng(0)
    num_covering = 0
    for chances in rng.beta(a, b, size=(1500, num_items)):
        shares = (rng.binomial(num_samples, chances) / num_samples).tolist()
        low, high = clustered_interval(shares, num_samples)
        num_covering += low <= a / (a + b) <= high

    assert 0.93 <= num_covering / 1500 <= 0.98  # a standard error is 0.006


def test_one_item_with_several_samples_has_no_interval():
    assert score(results_of([2], 4)).interval is None
    with pytest.raises(ValueError, match="two items"):
        clustered_interval([0.5], 4)


# --- scores


def test_a_score_has_the_mean_over_items_pass_at_k_lengths_and_what_was_cut():
    results = [
        result("a", 0, True, num_tokens=4), result("a", 1, False, num_tokens=8),
        result("b", 0, False, num_tokens=16, cut=True), result("b", 1, False, num_tokens=12),
    ]  # fmt: skip
    total = score(results)

    assert (total.num_items, total.num_samples, total.mean) == (2, 2, 0.25)
    assert total.pass_at == {1: 0.25, 2: 0.5}
    assert (total.cut_share, total.mean_tokens) == (0.25, 10)
    assert total.interval == clustered_interval([0.5, 0], 2)
    record = total.as_record()
    assert json.loads(json.dumps(record)) == record
    assert record["pass_at"] == {"1": 0.25, "2": 0.5}


def test_of_one_sample_an_item_the_interval_is_wilsons():
    assert score(results_of([1] * 15 + [0] * 133, 1)).interval == wilson_interval(15, 148)


def test_the_order_of_responses_changes_no_score():
    results = results_of([0, 1, 4, 3, 2] * 6, 4)
    shuffled = random.Random(0).sample(results, len(results))

    assert score(shuffled) == score(results)


def test_missing_and_repeated_responses_are_refused():
    results = results_of([1, 2, 0], 4)

    with pytest.raises(DataError, match="item 'q2' has 3 samples and item 'q0' 4"):
        score(results[:-1])
    with pytest.raises(DataError, match="item 'q1': sample 0 is there twice"):
        score([*results, results[4]])
    with pytest.raises(DataError, match="no response to score"):
        score([])


def test_results_come_back_from_parquet_as_they_were(tmp_path: Path):
    results = [
        *results_of([1, 0], 2),
        ItemResult("c", 0, "def f():", "I do not know", None, None, False, "no code", 3, "length", 2**47),
    ]
    path = tmp_path / "gsm8k.parquet"
    write_records(path, results, ItemResult)

    assert read_records(path, ItemResult) == results
    assert [file.name for file in tmp_path.iterdir()] == ["gsm8k.parquet"]


# --- two models


def test_a_difference_is_taken_item_by_item():
    gain = difference(results_of([4, 2, 0], 4), results_of([1, 1, 0], 2))

    assert gain.value == pytest.approx((0.5 + 0 + 0) / 3)
    assert gain.num_items == 3
    assert gain.interval == paired_interval([0.5, 0, 0])
    assert gain.as_record()["interval"] == list(gain.interval)


def test_a_difference_turned_round_is_its_negative():
    one, other = results_of([4, 2, 0, 3, 1], 4), results_of([3, 3, 0, 0, 4], 4)
    gain, turned = difference(one, other), difference(other, one)

    assert turned.value == pytest.approx(-gain.value)
    assert turned.interval == pytest.approx((-gain.interval[1], -gain.interval[0]))


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=80))
def test_the_interval_of_a_difference_is_within_minus_1_and_1_holds_it_and_has_a_width(gains: list[float]):
    low, high = paired_interval(gains)

    assert -1 <= low < high <= 1
    assert low - 1e-12 <= sum(gains) / len(gains) <= high + 1e-12


def test_a_model_compared_with_itself_has_an_interval_that_depends_on_the_number_of_items():
    same = results_of([1] * 50 + [0] * 50, 1)
    low, high = difference(same, same).interval

    assert (low, high) == pytest.approx((-high, high))
    assert 0.015 < high < 0.025  # about 2 / (N + 2)


@pytest.mark.parametrize(("both", "gain", "loss"), [(0.4, 0.1, 0.05), (0.1, 0.03, 0.01), (0.5, 0.3, 0.1)])
def test_of_a_hundred_intervals_of_a_difference_ninety_five_hold_the_truth(
    both: float, gain: float, loss: float
):
    rng = np.random.default_rng(0)
    num_covering = 0
    for table in rng.multinomial(100, [gain, loss, both, 1 - both - gain - loss], size=1500):
        gains = [1.0] * int(table[0]) + [-1.0] * int(table[1]) + [0.0] * int(table[2] + table[3])
        low, high = paired_interval(gains)
        num_covering += low <= gain - loss <= high

    assert 0.935 <= num_covering / 1500 <= 0.985


def test_models_that_were_given_other_items_are_not_compared():
    with pytest.raises(DataError, match="1 items of only one of the models, such as 'q2'"):
        difference(results_of([1, 0, 1], 1), results_of([1, 0], 1))
