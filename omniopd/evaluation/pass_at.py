"""Scores of graded responses to a benchmark: shares with intervals, pass@k, lengths.

N items with n samples each, c of an item's n right. Uncertainty is counted in items, since the samples of one item are
much alike.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from scipy.special import stdtrit

from omniopd.data.records import ItemResult
from omniopd.errors import DataError
from omniopd.grading.accuracy import wilson, wilson_interval


def pass_at_k(num_samples: int, num_correct: int, k: int) -> float:
    """The chance that at least one of k different samples of these is right: 1 − C(n − c, k) / C(n, k).

    An unbiased estimate of the chance that one of k new samples is right (Chen et al., 2021, equation 1; computed as
    their product, since binomial coefficients overflow floats).

    >>> pass_at_k(num_samples=4, num_correct=1, k=2)
    0.5
    """
    if not 0 < k <= num_samples or not 0 <= num_correct <= num_samples:
        raise ValueError(f"pass@{k} is not defined for {num_samples} samples, {num_correct} of them right")
    num_wrong = num_samples - num_correct
    return 1 - math.prod(max(0.0, 1 - k / i) for i in range(num_wrong + 1, num_samples + 1))


def ks_of(num_samples: int) -> list[int]:
    """The k that are reported: the powers of two up to the number of samples, and that number.

    >>> ks_of(10)
    [1, 2, 4, 8, 10]
    """
    powers = [2**i for i in range(num_samples.bit_length())]
    return powers if powers[-1] == num_samples else [*powers, num_samples]


def clustered_interval(shares: Sequence[float], num_samples: int) -> tuple[float, float]:
    """The 95 % interval of the mean over items, each with its share of `num_samples` right.

    Wilson's interval for the effective sample size: the number of independent samples whose mean would have the same
    standard error, p (1 − p) over the squared standard error of the item means, and at most all samples; with the
    quantile of t of N − 1 degrees of freedom (Korn and Graubard, 1998; Dean and Pagano, 2015). It stays in [0, 1] and
    has a width at 0 and 1, where an item counts as one sample.

    Raises:
        ValueError: fewer than two items, which do not show how much items differ.
    """
    num_items = len(shares)
    if num_items < 2:
        raise ValueError("the samples of one item say nothing about another; an interval needs two items")
    mean = fmean(shares)
    variance = mean * (1 - mean)
    error2 = math.fsum((share - mean) ** 2 for share in shares) / (num_items - 1) / num_items
    most = num_items * num_samples
    size = num_items  # if all items agree, each counts as one sample
    if variance > 0:
        size = most if variance >= most * error2 else variance / error2
    return wilson(mean, size, float(stdtrit(num_items - 1, 0.975)))


@dataclass(frozen=True)
class Score:
    """A model's score on a benchmark.

    `mean` is Pass@1: the mean over items of the share of right samples, also called avg@n. `pass_at[k]` is the mean
    over items of pass@k. `interval` is the 95 % interval of the mean; one item with several samples has none.

    >>> score = Score(num_items=30, num_samples=4, mean=0.4, interval=(0.25, 0.57), pass_at={1: 0.4, 2: 0.5, 4: 0.6},
    ...               cut_share=0.1, mean_tokens=812.5)
    >>> score.as_record()["pass_at"]
    {'1': 0.4, '2': 0.5, '4': 0.6}
    """

    num_items: int
    num_samples: int
    mean: float
    interval: tuple[float, float] | None
    pass_at: Mapping[int, float]
    cut_share: float  # of responses, cut at the limit
    mean_tokens: float  # of responses, with the end token

    def as_record(self) -> dict[str, Any]:
        """The score for JSON."""
        return asdict(self) | {
            "interval": self.interval and list(self.interval),
            "pass_at": {str(k): value for k, value in self.pass_at.items()},
        }


def score(results: Sequence[ItemResult]) -> Score:
    """The score of the graded responses, in any order.

    Raises:
        DataError: there are none, a sample is repeated, or items differ in their number of samples.
    """
    correct, num_samples = _correct_of(results)
    counts, num_items = list(correct.values()), len(correct)
    interval = None
    if num_samples == 1:
        interval = wilson_interval(sum(counts), num_items)
    elif num_items > 1:
        interval = clustered_interval([count / num_samples for count in counts], num_samples)
    return Score(
        num_items=num_items,
        num_samples=num_samples,
        mean=sum(counts) / len(results),
        interval=interval,
        pass_at={k: fmean(pass_at_k(num_samples, count, k) for count in counts) for k in ks_of(num_samples)},
        cut_share=sum(result.finish_reason == "length" for result in results) / len(results),
        mean_tokens=sum(result.num_tokens for result in results) / len(results),
    )


def _correct_of(results: Sequence[ItemResult]) -> tuple[dict[str, int], int]:
    """The number of right samples of each item, and the number of samples of an item."""
    samples: dict[str, dict[int, bool]] = defaultdict(dict)
    for result in results:
        if result.sample in samples[result.id]:
            raise DataError(
                f"item {result.id!r}: sample {result.sample} is there twice; measure the benchmark again"
            )
        samples[result.id][result.sample] = result.is_right
    if not samples:
        raise DataError("there is no response to score; give the benchmark items that can be measured")
    nums = {id_: len(grades) for id_, grades in samples.items()}
    fewest, most = min(nums, key=nums.__getitem__), max(nums, key=nums.__getitem__)
    if nums[fewest] != nums[most]:
        raise DataError(
            f"item {fewest!r} has {nums[fewest]} samples and item {most!r} {nums[most]}; measure the benchmark again"
        )
    return {id_: sum(grades.values()) for id_, grades in samples.items()}, nums[most]


@dataclass(frozen=True)
class Difference:
    """One model's mean minus another's on the same items, with its 95 % interval.

    >>> Difference(value=0.05, interval=(0.01, 0.09), num_items=1319).as_record()
    {'difference': 0.05, 'interval': [0.01, 0.09], 'num_items': 1319}
    """

    value: float
    interval: tuple[float, float]
    num_items: int

    def as_record(self) -> dict[str, Any]:
        """The difference for JSON."""
        return {"difference": self.value, "interval": list(self.interval), "num_items": self.num_items}


def difference(results: Sequence[ItemResult], others: Sequence[ItemResult]) -> Difference:
    """The first model's mean minus the second's, item by item; their numbers of samples may differ.

    Raises:
        DataError: the two were not measured on the same items.
    """
    correct, num_samples = _correct_of(results)
    other_correct, other_num_samples = _correct_of(others)
    if unpaired := sorted(correct.keys() ^ other_correct.keys()):
        raise DataError(
            f"{len(unpaired)} items of only one of the models, such as {unpaired[0]!r}; measure both on the same "
            "items, with the same num_items"
        )
    gains = [count / num_samples - other_correct[id_] / other_num_samples for id_, count in correct.items()]
    return Difference(fmean(gains), paired_interval(gains), len(gains))


def paired_interval(gains: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of the mean over items of differences between −1 and 1.

    The t interval after adding half an item to each cell of the table of right and wrong by two models (Agresti and
    Min, 2005): one item without a difference, and half an item each with 1 and −1. It has a width even if no item
    differs, and stays in [−1, 1].
    """
    size = len(gains) + 2
    mean = math.fsum(gains) / size
    squares = math.fsum((gain - mean) ** 2 for gain in gains)
    squares += mean**2 + ((1 - mean) ** 2 + (1 + mean) ** 2) / 2
    half = float(stdtrit(size - 1, 0.975)) * math.sqrt(squares / (size - 1) / size)
    return max(-1.0, mean - half), min(1.0, mean + half)
