"""Dirichlet-Multinomial posteriors: of a chunk (method.md, section 2.5), and of the next token (section 3b)."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

LEAST_P = 1e-30  # a probability below it weighs nothing


def geometric_mean(logps: Sequence[float]) -> float:
    """pi_bar = exp(mean of log pi_theta over the chunk's tokens), the student's belief."""
    if not logps:
        raise ValueError("an empty chunk has no belief")
    return math.exp(math.fsum(logps) / len(logps))


def posterior_target(k_sem: float, *, num_replies: int, pi_bar: float, alpha: float) -> float:
    """pi_hat = (k_sem + alpha · pi_bar) / (N + alpha): the posterior mean, a constant in [0, 1].

    alpha → ∞ tends to pi_bar; alpha = 0 is k_sem / N.

    Raises:
        ValueError: the target is outside [0, 1], which only a bug in the caller can cause.
    """
    target = (k_sem + alpha * pi_bar) / (num_replies + alpha)
    # Rounding may leave [0, 1] by an ulp or two; anything more is a bug.
    if not -1e-9 <= target <= 1 + 1e-9:
        raise ValueError(
            f"the posterior target is {target}, outside [0, 1]: "
            f"k_sem = {k_sem} of N = {num_replies}, pi_bar = {pi_bar}, alpha = {alpha}"
        )
    return min(max(target, 0.0), 1.0)


def posterior_std(k_sem: float, *, num_replies: int, pi_bar: float, alpha: float) -> float:
    """Standard deviation of the agreement rate under the posterior whose mean is posterior_target.

    The Beta distribution of k_sem + alpha · pi_bar successes and as many failures as are left of N + alpha.
    It needs one reply or a prior at least; agreement without doubt on either side has no spread (0).
    """
    total = num_replies + alpha
    mean = posterior_target(k_sem, num_replies=num_replies, pi_bar=pi_bar, alpha=alpha)
    return math.sqrt(mean * (1 - mean) / (total + 1))


def token_posterior(
    logits: Float[Tensor, "K V"], votes: Int[Tensor, "K N"], num_votes: Int[Tensor, " K"], *, alpha: float
) -> Float[Tensor, "K V"]:
    """log q at each of K positions: the posterior of the next token, the student's distribution as base measure.

    q(v) = (n(v) + alpha · pi(v)) / (n + alpha), where n(v) of the first num_votes entries of a row of
    votes are v (method.md, section 3b). A constant: no gradient flows through it.
    """
    logp = logits.detach().to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)
    is_vote = torch.arange(votes.shape[-1], device=votes.device) < num_votes[:, None]  # (K, N)
    counts = torch.zeros_like(logp).scatter_add_(-1, votes, is_vote.to(logp.dtype))
    log_mass = torch.logaddexp(counts.log(), math.log(alpha) + logp)
    return log_mass - (num_votes.to(logp.dtype) + alpha).log()[:, None]


def vote_weight(p: Float[Tensor, "*K"], num_votes: Tensor, *, alpha: float) -> Float[Tensor, "*K"]:
    """w = p · log(1 + n / (alpha · p)): how strongly n votes for a token of probability p move the student.

    The weight of the fork posterior's gradient (method.md, section 3b); 0 at p = 0 and n = 0.
    """
    return p * (num_votes / (alpha * p.clamp_min(LEAST_P))).log1p()


def centred_fork(
    logits: Float[Tensor, "K V"], votes: Int[Tensor, "K N"], num_votes: Int[Tensor, " K"], *, alpha: float
) -> Float[Tensor, " K"]:
    """− sum over v of sg[(n(v) − n · pi(v)) · w(v)] · log pi(v) at each of K positions (method.md, section 3c).

    The fork posterior's weighted imitation of the first num_votes entries of a row of votes, less what the student
    expects of itself: its expected gradient is 0 where the teacher's distribution is the student's. Only its gradient
    means something, not its value.
    """
    logp = logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)
    is_vote = torch.arange(votes.shape[-1], device=votes.device) < num_votes[:, None]  # (K, N)
    counts = torch.zeros_like(logp).detach().scatter_add_(-1, votes, is_vote.to(logp.dtype))
    p, n = logp.detach().exp(), num_votes.to(logp.dtype)[:, None]
    weights = (counts - n * p) * vote_weight(p, n, alpha=alpha)
    return -(weights * logp.masked_fill(p == 0, 0.0)).sum(-1)


def tally(
    response_ids: Sequence[int], replies: Sequence[Sequence[int]], *, anchor: int, chunk_len: int
) -> dict[int, list[int]]:
    """The next-token votes at the positions of an audited chunk, in the order of the replies.

    replies hold student tokens that begin at the anchor. A reply counts at every position up to and
    including the first where it leaves the response, and nowhere after (method.md, section 3b).
    Positions without a vote are left out.

    >>> tally([5, 6, 7], [[6, 7], [6, 9], [8]], anchor=1, chunk_len=2)
    {1: [6, 6, 8], 2: [7, 9]}
    """
    votes: dict[int, list[int]] = {}
    for reply in replies:
        chunk = response_ids[anchor : anchor + chunk_len]
        for offset, (written, voted) in enumerate(zip(chunk, reply, strict=False)):
            votes.setdefault(anchor + offset, []).append(voted)
            if voted != written:
                break
    return votes
