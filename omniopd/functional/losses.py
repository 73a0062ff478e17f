"""Summed losses of response tokens. Axis: N tokens, of any number of sequences.

Sums, not means: the trainer divides once, by the number of sequences.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def masked_sum(values: Float[Tensor, " N"], mask: Bool[Tensor, " N"]) -> Float[Tensor, ""]:
    """The sum over the tokens of the mask; where, not a product, so that 0 · NaN cannot enter."""
    return torch.where(mask, values, 0.0).sum()


def policy_gradient(logp: Float[Tensor, " N"], *, weight: Float[Tensor, " N"]) -> Float[Tensor, ""]:
    """− sum of weight · log pi_theta. The weight is a constant, and may be negative or zero."""
    return -(weight.detach() * logp).sum()


def importance(
    logp: Float[Tensor, " N"], old_logp: Float[Tensor, " N"], *, most: float = 2.0
) -> Float[Tensor, " N"]:
    """The importance weight pi_theta / pi_old of each token, at most `most`.

    A constant: no gradient flows through it. Truncation trades variance for bias (Ionides 2008).
    """
    return (logp - old_logp).detach().exp().clamp(max=most)


def audited_loss(
    logp: Float[Tensor, " N"],
    ref_kl: Float[Tensor, " N"],
    *,
    weight: Float[Tensor, " N"],
    audited: Bool[Tensor, " N"],
    beta: float,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """The two parts of the published loss: reinforcement of A, and beta times the anchor on U.

    − sum over A of weight · log pi_theta, and beta · sum over U of KL(ref ‖ student), where A are
    the audited tokens and U the other ones (method.md, section 2.6). The weight says nothing about
    which tokens are audited, and may be anything, NaN included, where none is.
    """
    reinforcement = policy_gradient(logp, weight=torch.where(audited, weight, 0.0))
    return reinforcement, beta * masked_sum(ref_kl, ~audited)


def clipped_ratio(
    logp: Float[Tensor, " N"], old_logp: Float[Tensor, " N"], *, advantage: Float[Tensor, " N"], clip: float
) -> Float[Tensor, ""]:
    """− sum of min(ratio · A, clip(ratio, 1 − clip, 1 + clip) · A), the ratio pi_theta / pi_old of each token.

    Where the ratio is 1, as on the first optimiser step of a round, its gradient is that of
    policy_gradient with the advantage as weight (PPO, arXiv 1707.06347, equation 7).
    """
    ratio = (logp - old_logp.detach()).exp()
    advantage = advantage.detach()
    return -torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage).sum()
