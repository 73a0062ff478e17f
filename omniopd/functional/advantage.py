"""Baselines and advantages: what is subtracted from a target or a reward, so that its gradient varies less."""

import math
from collections import defaultdict
from collections.abc import Hashable, Sequence


def leave_one_out(
    values: Sequence[float], groups: Sequence[Hashable], *, pools: Sequence[Hashable] | None = None
) -> list[float]:
    """Each value minus the mean of the values of all *other* groups of its pool; one pool unless told.

    A group is what must not judge itself: the chunks of one trajectory share tokens, so a mean
    that held a sibling chunk would depend on the tokens that it scores. Left out whole, the mean
    is independent of them, and the expected gradient is that without a baseline.
    Where a pool has a single group there is nothing to compare with, and its values come back as they are.

    >>> leave_one_out([1.0, 0.0, 0.5], ["a", "a", "b"])
    [0.5, -0.5, 0.0]
    """
    if pools is None:
        pools = [None] * len(values)
    pool_sum: dict[Hashable, _Sum] = defaultdict(_Sum)
    group_sum: dict[Hashable, _Sum] = defaultdict(_Sum)
    for value, group, pool in zip(values, groups, pools, strict=True):
        pool_sum[pool].add(value)
        group_sum[pool, group].add(value)

    def others_mean(group: Hashable, pool: Hashable) -> float:
        everyone, own = pool_sum[pool], group_sum[pool, group]
        num_others = everyone.count - own.count
        return (everyone.total - own.total) / num_others if num_others else 0.0

    return [
        value - others_mean(group, pool) for value, group, pool in zip(values, groups, pools, strict=True)
    ]


class _Sum:
    """A running sum and how many it is of."""

    def __init__(self) -> None:
        self.total = 0.0
        self.count = 0

    def add(self, value: float) -> None:
        self.total += value
        self.count += 1


def group_normalised(rewards: Sequence[float], groups: Sequence[Hashable]) -> list[float]:
    """(reward − mean of its group) / standard deviation of its group; 0 where all of a group are alike.

    The deviation is that of the group as a population (GRPO, arXiv 2402.03300, section 4.1.2).

    >>> group_normalised([1.0, 0.0, 1.0, 1.0], ["a", "a", "b", "b"])
    [1.0, -1.0, 0.0, 0.0]
    """
    members: dict[Hashable, list[float]] = defaultdict(list)
    for reward, group in zip(rewards, groups, strict=True):
        members[group].append(reward)
    advantages = []
    for reward, group in zip(rewards, groups, strict=True):
        own = members[group]
        mean = math.fsum(own) / len(own)
        std = math.sqrt(math.fsum((value - mean) ** 2 for value in own) / len(own))
        # A group that rounding alone tells apart is alike.
        advantages.append((reward - mean) / std if std > 1e-9 else 0.0)
    return advantages
