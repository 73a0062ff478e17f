"""Means over seeds, with Student's t interval."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.special import stdtrit


@dataclass(frozen=True)
class Mean:
    """A mean over seeds and half the width of its 95 % interval; one seed has none.

    >>> interval = mean_interval([0.9, 0.8, 1.0])
    >>> round(interval.value, 3), round(interval.half or 0, 3)
    (0.9, 0.248)
    """

    value: float
    half: float | None


def mean_interval(values: Sequence[float]) -> Mean:
    """The mean of independent values, with the t interval of n − 1 degrees of freedom."""
    count = len(values)
    mean = sum(values) / count
    if count == 1:
        return Mean(mean, None)
    variance = sum((value - mean) ** 2 for value in values) / (count - 1)
    return Mean(mean, float(stdtrit(count - 1, 0.975)) * math.sqrt(variance / count))
