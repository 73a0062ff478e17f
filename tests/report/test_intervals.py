"""Means over seeds, against values from a table of the t distribution."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omniopd.report.intervals import mean_interval


def test_one_seed_has_no_interval():
    mean = mean_interval([0.7])
    assert (mean.value, mean.half) == (0.7, None)


@pytest.mark.parametrize(("count", "quantile"), [(2, 12.7062), (3, 4.3027), (5, 2.7764), (10, 2.2622)])
def test_the_interval_is_students(count: int, quantile: float):
    values = [float(i % 2) for i in range(count)]
    mean = sum(values) / count
    spread = math.sqrt(sum((value - mean) ** 2 for value in values) / (count - 1))

    interval = mean_interval(values)

    assert interval.value == pytest.approx(mean)
    assert interval.half == pytest.approx(quantile * spread / math.sqrt(count), rel=1e-4)


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=8), st.floats(-1, 1))
def test_the_interval_moves_with_the_values_and_keeps_its_width(values: list[float], shift: float):
    before, after = mean_interval(values), mean_interval([value + shift for value in values])
    assert after.value == pytest.approx(before.value + shift, abs=1e-9)
    assert after.half == pytest.approx(before.half, abs=1e-6)
