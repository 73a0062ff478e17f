"""What the graded responses to a benchmark come to: shares with their intervals, pass@k, lengths.

N items, n samples each, c of an item's n right. Items are drawn, samples are drawn of them: what is sure or unsure is
counted in items, for the samples of one of them are much alike.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scipy.special import stdtrit

from omniopd.data.records import ItemResult
from omniopd.errors import DataError
from omniopd.grading.accuracy import wilson, wilson_interval


def pass_at_k(num_samples: int, num_correct: int, k: int) -> float:
    """The chance that of k different samples of these at least one is right: 1 − C(n − c, k) / C(n, k).

    Over random samples its mean is the chance that k new ones hold a right one (Chen et al., 2021, equation 1, whose
    product of factors it takes: binomial coefficients grow beyond floats).

    >>> pass_at_k(num_samples=4, num_correct=1, k=2)
    0.5
    """
    if not 0 < k <= num_samples or not 0 <= num_correct <= num_samples:
        raise ValueError(f"pass@{k} cannot be had of {num_samples} samples, {num_correct} of them right")
    num_wrong = num_samples - num_correct
    return 1 - math.prod(max(0.0, 1 - k / i) for i in range(num_wrong + 1, num_samples + 1))


def ks_of(num_samples: int) -> list[int]:
    """The k that are told of: the powers of two up to the number of samples, and that number.

    >>> ks_of(10)
    [1, 2, 4, 8, 10]
    """
    powers = [2**i for i in range(num_samples.bit_length())]
    return powers if powers[-1] == num_samples else [*powers, num_samples]


def clustered_interval(shares: Sequence[float], num_samples: int) -> tuple[float, float]:
    """The 95 % interval of the mean over items, of which each has its share of `num_samples` right.

    Wilson's interval, for so many independent samples as would leave the mean as unsure as these items do: p (1 − p)
    over the squared standard error of the item means, with the quantile of t of N − 1 degrees of freedom (Korn and
    Graubard, 1998; Dean and Pagano, 2015). It stays in [0, 1] and has a width at 0 and 1, where an item counts as one
    sample.

    Raises:
        ValueError: one item alone does not say how much items differ.
    """
    num_items = len(shares)
    if num_items < 2:
        raise ValueError("the samples of one item say nothing of another; an interval needs two items")
    mean = math.fsum(shares) / num_items
    error2 = math.fsum((share - mean) ** 2 for share in shares) / (num_items - 1) / num_items
    size = _effective_size(mean * (1 - mean), error2, num_items, num_samples)
    return wilson(mean, size, float(stdtrit(num_items - 1, 0.975)))


def _effective_size(variance: float, error2: float, num_items: int, num_samples: int) -> float:
    """How many samples of that variance would have a mean of that squared standard error; at most all there are."""
    if variance <= 0:
        return num_items
    most = num_items * num_samples
    return most if variance >= most * error2 else variance / error2


@dataclass(frozen=True)
class Score:
    """How a model did on a benchmark.

    `mean` is Pass@1: the mean over items of the share of their samples that is right; of several samples it goes by
    avg@n too. `pass_at[k]` is the mean over items of pass@k. `interval` is that of the mean, at 95 %; one item with
    several samples has none.

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
    cut_share: float  # of responses, those that were cut at the limit
    mean_tokens: float  # of responses, with the end token

    def as_record(self) -> dict[str, Any]:
        """The score for JSON."""
        return {
            "num_items": self.num_items,
            "num_samples": self.num_samples,
            "mean": self.mean,
            "interval": None if self.interval is None else list(self.interval),
            "pass_at": {str(k): value for k, value in self.pass_at.items()},
            "cut_share": self.cut_share,
            "mean_tokens": self.mean_tokens,
        }


def score(results: Sequence[ItemResult]) -> Score:
    """The score of the graded responses, in any order.

    Raises:
        DataError: there are none, a sample stands there twice, or items have not the same number of samples.
    """
    correct, num_samples = _correct_of(results)
    counts, num_items = list(correct.values()), len(correct)
    shares = [count / num_samples for count in counts]
    return Score(
        num_items=num_items,
        num_samples=num_samples,
        mean=sum(counts) / len(results),
        interval=_interval(shares, num_samples),
        pass_at={k: _mean(pass_at_k(num_samples, count, k) for count in counts) for k in ks_of(num_samples)},
        cut_share=sum(result.finish_reason == "length" for result in results) / len(results),
        mean_tokens=sum(result.num_tokens for result in results) / len(results),
    )


def _interval(shares: Sequence[float], num_samples: int) -> tuple[float, float] | None:
    if num_samples == 1:
        return wilson_interval(round(sum(shares)), len(shares))
    return clustered_interval(shares, num_samples) if len(shares) > 1 else None


def _correct_of(results: Sequence[ItemResult]) -> tuple[dict[str, int], int]:
    """How many of the samples of each item are right, and how many samples an item has."""
    samples: dict[str, dict[int, bool]] = {}
    for result in results:
        own = samples.setdefault(result.id, {})
        if result.sample in own:
            raise DataError(
                f"item {result.id!r}: sample {result.sample} stands there twice; measure the benchmark anew"
            )
        own[result.sample] = result.is_right
    nums = {id_: len(own) for id_, own in samples.items()}
    if not nums:
        raise DataError("there is no response to score; give the benchmark items that can be measured")
    fewest, most = min(nums, key=nums.__getitem__), max(nums, key=nums.__getitem__)
    if nums[fewest] != nums[most]:
        raise DataError(
            f"item {fewest!r} has {nums[fewest]} samples and item {most!r} {nums[most]}; measure the benchmark anew"
        )
    return {id_: sum(own.values()) for id_, own in samples.items()}, nums[most]


@dataclass(frozen=True)
class Difference:
    """By how much one model's mean is above another's on the same items, with its 95 % interval.

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
    """How far the first model's mean is above the second's, item by item; they may have different numbers of samples.

    Raises:
        DataError: the two were not measured on the same items.
    """
    own, num_own = _correct_of(results)
    other, num_other = _correct_of(others)
    if alone := sorted(own.keys() ^ other.keys()):
        raise DataError(
            f"items given to one of the models alone: {len(alone)}, such as {alone[0]!r}; measure both on the same "
            "ones, with the same num_items"
        )
    gains = [count / num_own - other[id_] / num_other for id_, count in own.items()]
    return Difference(_mean(gains), paired_interval(gains), len(gains))


def paired_interval(gains: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of the mean over items of differences between −1 and 1.

    Half an item more in each cell of the table of right and wrong by two models, as Agresti and Min (2005) have it: one
    item without a difference, half of one with 1 and half of one with −1; then the t interval. So it has a width where
    no item differs, and stays in [−1, 1].
    """
    size = len(gains) + 2
    mean = math.fsum(gains) / size
    squares = math.fsum((gain - mean) ** 2 for gain in gains)
    squares += mean**2 + ((1 - mean) ** 2 + (1 + mean) ** 2) / 2
    half = float(stdtrit(size - 1, 0.975)) * math.sqrt(squares / (size - 1) / size)
    return max(-1.0, mean - half), min(1.0, mean + half)


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return math.fsum(listed) / len(listed)
