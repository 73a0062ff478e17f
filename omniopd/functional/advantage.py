"""Baselines: what is subtracted from a target so that its gradient varies less (method.md, section 3)."""

from collections import defaultdict
from collections.abc import Hashable, Sequence


def leave_one_out(values: Sequence[float], groups: Sequence[Hashable]) -> list[float]:
    """Each value minus the mean of the values of all *other* groups.

    A group is what must not judge itself: the chunks of one trajectory share tokens, so a mean
    that held a sibling chunk would depend on the tokens that it scores. Left out whole, the mean
    is independent of them, and the expected gradient is that without a baseline.
    With a single group there is nothing to compare with, and the values come back as they are.

    >>> leave_one_out([1.0, 0.0, 0.5], ["a", "a", "b"])
    [0.5, -0.5, 0.0]
    """
    total, total_count = 0.0, 0
    group_total: dict[Hashable, float] = defaultdict(float)
    group_count: dict[Hashable, int] = defaultdict(int)
    for value, group in zip(values, groups, strict=True):
        total += value
        total_count += 1
        group_total[group] += value
        group_count[group] += 1

    def others_mean(group: Hashable) -> float:
        num_others = total_count - group_count[group]
        return (total - group_total[group]) / num_others if num_others else 0.0

    return [value - others_mean(group) for value, group in zip(values, groups, strict=True)]
