"""Summed losses over response positions. Axes: B sequences, T response positions.

Sums, not means: the trainer divides once, by the number of sequences. Weights, advantages and values may be
anything outside a mask, NaN included, and log-probabilities take no gradient there.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def masked_sum(values: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]) -> Float[Tensor, ""]:
    """The sum over the positions of the mask; where, not a product, so that 0 · NaN cannot enter."""
    return torch.where(mask, values, 0.0).sum()


def policy_gradient(
    logp: Float[Tensor, "B T"], *, weight: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]
) -> Float[Tensor, ""]:
    """− sum over the mask of weight · log pi_theta. The weight is a constant, and may be negative or zero."""
    return -masked_sum(torch.where(mask, weight.detach(), 0.0) * logp, mask)


def audited_loss(
    logp: Float[Tensor, "B T"],
    ref_kl: Float[Tensor, "B T"],
    *,
    weight: Float[Tensor, "B T"],
    audited: Bool[Tensor, "B T"],
    response: Bool[Tensor, "B T"],
    beta: float,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """The two parts of the published loss: reinforcement of A, and beta times the anchor on U.

    − sum over A of weight · log pi_theta, and beta · sum over U of KL(ref ‖ student), where A are
    the audited response positions and U the other ones (method.md, section 2.6). The weight says
    nothing about which positions are audited.
    """
    reinforcement = policy_gradient(logp, weight=weight, mask=response & audited)
    return reinforcement, beta * masked_sum(ref_kl, response & ~audited)


def clipped_ratio(
    logp: Float[Tensor, "B T"],
    old_logp: Float[Tensor, "B T"],
    *,
    advantage: Float[Tensor, "B T"],
    response: Bool[Tensor, "B T"],
    clip: float,
) -> Float[Tensor, ""]:
    """− sum of min(ratio · A, clip(ratio, 1 − clip, 1 + clip) · A), the ratio pi_theta / pi_old of each token.

    Where the ratio is 1, as on the first optimiser step of a round, its gradient is that of
    policy_gradient with the advantage as weight (PPO, arXiv 1707.06347, equation 7).
    """
    ratio = torch.where(response, logp - old_logp.detach(), 0.0).exp()
    bounded = ratio.clamp(1 - clip, 1 + clip)
    advantage = torch.where(response, advantage.detach(), 0.0)
    return -masked_sum(torch.minimum(ratio * advantage, bounded * advantage), response)
