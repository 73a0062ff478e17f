"""Summed losses over response positions. Axes: B sequences, T response positions."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


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
    the audited response positions and U the other ones (method.md, section 2.6). Sums, not means:
    the trainer divides once, by the number of sequences. The weight is a constant and may be
    negative or zero; it says nothing about which positions are audited.
    """
    reinforced = response & audited
    anchored = response & ~audited
    # where, not a product: a padded position may hold anything, NaN included.
    reinforcement = -torch.where(reinforced, weight.detach() * logp, 0.0).sum()
    anchor = beta * torch.where(anchored, ref_kl, 0.0).sum()
    return reinforcement, anchor
