"""Baselines and advantages, which reduce the variance of gradients."""

import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence


def leave_one_out(
    values: Sequence[float], groups: Sequence[Hashable], *, pools: Sequence[Hashable] | None = None
) -> list[float]:
    """Each value minus the mean of the values of all *other* groups of its pool (default: one pool).

    The chunks of one trajectory, a group, share tokens, so a mean over a sibling chunk would depend on the tokens that
    it scores. A mean without the group is independent of them, and leaves the expected gradient unchanged. The values
    of the only group of a pool are returned as they are.

    >>> leave_one_out([1.0, 0.0, 0.5], ["a", "a", "b"])
    [0.5, -0.5, 0.0]
    """
    if pools is None:
        pools = [None] * len(values)
    of_pool: dict[Hashable, float] = defaultdict(float)  # the sum of its values
    of_group: dict[Hashable, float] = defaultdict(float)
    for value, group, pool in zip(values, groups, pools, strict=True):
        of_pool[pool] += value
        of_group[pool, group] += value
    pool_len, group_len = Counter(pools), Counter(zip(pools, groups, strict=True))

    def others_mean(group: Hashable, pool: Hashable) -> float:
        num_others = pool_len[pool] - group_len[pool, group]
        return (of_pool[pool] - of_group[pool, group]) / num_others if num_others else 0.0

    return [
        value - others_mean(group, pool) for value, group, pool in zip(values, groups, pools, strict=True)
    ]


def group_normalised(rewards: Sequence[float], groups: Sequence[Hashable]) -> list[float]:
    """(reward − mean of its group) / standard deviation of its group; 0 where all of a group are equal.

    The deviation is that of the group as a population (GRPO, arXiv 2402.03300, section 4.1.2).

    >>> group_normalised([1.0, 0.0, 1.0, 1.0], ["a", "a", "b", "b"])
    [1.0, -1.0, 0.0, 0.0]
    """
    members: dict[Hashable, list[float]] = defaultdict(list)
    for reward, group in zip(rewards, groups, strict=True):
        members[group].append(reward)
    advantages = []
    for reward, group in zip(rewards, groups, strict=True):
        group_rewards = members[group]
        mean = math.fsum(group_rewards) / len(group_rewards)
        std = math.sqrt(math.fsum((value - mean) ** 2 for value in group_rewards) / len(group_rewards))
        # Rewards that differ only by rounding are equal.
        advantages.append((reward - mean) / std if std > 1e-9 else 0.0)
    return advantages
