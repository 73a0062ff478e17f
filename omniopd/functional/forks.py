"""The fork posterior and the centred fork of a slice of positions (method.md, sections 3b and 3c).

Axes: n positions of a slice, m of a block of its rows, V vocabulary, K votes.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from omniopd.functional.positions import Votes
from omniopd.functional.posterior import vote_weight


@dataclass(frozen=True, eq=False)
class Voted:
    """The posteriors of a slice at the tokens with votes."""

    ids: Tensor  # (n, K)
    gains: Tensor  # (n, K): p · log(1 + n(v) / (alpha · p)), once a token, else 0
    ceiling: Tensor  # (n,): log(p / q) of every other token
    kl: Tensor  # (n,)


def voted(logp: Tensor, ids: Tensor, counts: Tensor, alpha: float) -> Voted:
    """The posteriors of a slice; logp, (n, K): of the tokens with votes."""
    order = torch.arange(ids.shape[1], device=ids.device)
    is_vote = order < counts[:, None]  # (n, K)
    same = (ids[:, :, None] == ids[:, None, :]) & is_vote[:, :, None] & is_vote[:, None, :]
    num = same.sum(-1)
    first = is_vote & (torch.where(same, order, ids.shape[1]).amin(-1) == order)
    mass = math.log(alpha) + logp
    gains = torch.where(first, logp.exp() * (torch.logaddexp(num.to(logp.dtype).log(), mass) - mass), 0.0)
    ceiling = torch.log1p(counts.to(logp.dtype) / alpha)
    return Voted(ids, gains, ceiling, ceiling - gains.sum(-1))


@dataclass(frozen=True, eq=False)
class Centred:
    """The centred fork of a slice."""

    ids: Tensor  # (n, K)
    gains: Tensor  # (n, K): w of each vote, else 0
    counts: Tensor  # (n,): votes
    level: Tensor  # (n,): the sum of (n(v) − n · p(v)) · w(v)
    value: Tensor  # (n,)
    alpha: float

    def weight(self, p: Tensor, rows: slice) -> Tensor:
        """w of every token of some rows, (m, V)."""
        return vote_weight(p, self.counts[rows, None], alpha=self.alpha)


class Centre:
    """Collects, block by block, what the centred fork needs of the whole distributions of a slice."""

    def __init__(self, votes: Votes, at: slice, like: Tensor):
        self._ids, self._alpha = votes.ids[at], votes.alpha
        self._counts = votes.counts[at].to(like.dtype)
        self._mean, self._mean_logp = torch.empty_like(like), torch.empty_like(like)  # of w, and of w · log p

    def add(self, rows: slice, z: Tensor, p: Tensor, spare: Tensor, lse: Tensor) -> None:
        """Read a block of logits and probabilities; the spare block is overwritten."""
        torch.mul(vote_weight(p, self._counts[rows, None], alpha=self._alpha), p, out=spare)
        mean = spare.sum(1, dtype=torch.float64)
        self._mean[rows] = mean.to(p.dtype)
        self._mean_logp[rows] = (torch.linalg.vecdot(spare, z) - lse * mean).to(p.dtype)

    def finished(self, logp: Tensor) -> Centred:
        """The centred fork, given the log-probabilities of the votes, (n, K)."""
        is_vote = torch.arange(logp.shape[1], device=logp.device) < self._counts[:, None]
        weight = vote_weight(logp.exp(), self._counts[:, None], alpha=self._alpha)
        gains = torch.where(is_vote, weight, 0.0)
        level = gains.sum(-1) - self._counts * self._mean
        value = self._counts * self._mean_logp - (gains * torch.where(is_vote, logp, 0.0)).sum(-1)
        return Centred(self._ids, gains, self._counts, level, value, self._alpha)
