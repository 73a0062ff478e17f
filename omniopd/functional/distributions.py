"""Quantities of next-token distributions. Axes: B sequences, T positions, V vocabulary.

Position t of a result is of the distribution that *produced* token t, so the logits to pass are those of the
position before it.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor


def token_entropy(logits: Float[Tensor, "*B V"]) -> Float[Tensor, "*B"]:
    """Shannon entropy, in nats, of the next-token distribution at each position.

    float32 at least, as logsumexp(z) − E[z]: finite where a logit is very negative, where
    −sum(p · log p) gives 0 · −inf. Exact over the vocabulary (method.md, section 2.2).
    """
    z = _at_least_float32(logits)
    # A logit of −inf has probability 0; 0 · −inf is kept out of the expectation.
    p = z.softmax(-1)
    return z.logsumexp(-1) - (p * z.masked_fill(p == 0, 0.0)).sum(-1)


def top_entropy(logps: Float[Tensor, "*B K"]) -> Float[Tensor, "*B"]:
    """Entropy, in nats, where only the K likeliest tokens are known: the rest count as one outcome.

    A lower bound of token_entropy, equal to it where at most one token is left over.
    """
    p = logps.exp()
    rest = (1 - p.sum(-1)).clamp(min=0)
    return -(torch.xlogy(p, p).sum(-1) + torch.xlogy(rest, rest))


def token_logp(logits: Float[Tensor, "*B V"], token_ids: Int[Tensor, "*B"]) -> Float[Tensor, "*B"]:
    """log pi(token) at each position, in nats, without a log-softmax over the vocabulary."""
    z = _at_least_float32(logits)
    return z.gather(-1, token_ids.unsqueeze(-1)).squeeze(-1) - z.logsumexp(-1)


def forward_kl(ref_logits: Float[Tensor, "*B V"], logits: Float[Tensor, "*B V"]) -> Float[Tensor, "*B"]:
    """KL(reference ‖ student) in nats, exact over the vocabulary, reference first (method.md, section 2.6).

    Gradients flow to the student's logits only.
    """
    ref_logp = _at_least_float32(ref_logits).detach().log_softmax(-1)
    logp = _at_least_float32(logits).log_softmax(-1)
    ref_p = ref_logp.exp()
    # Where the reference has no mass the term is 0, also when both logs are −inf.
    return torch.where(ref_p > 0, ref_p * (ref_logp - logp), 0.0).sum(-1)


def reverse_kl(logits: Float[Tensor, "*B V"], target_logits: Float[Tensor, "*B V"]) -> Float[Tensor, "*B"]:
    """KL(student ‖ target) in nats, exact over the vocabulary, student first.

    Gradients flow to the student's logits only. Log-probabilities may be passed as logits.
    """
    logp = _at_least_float32(logits).log_softmax(-1)
    target_logp = _at_least_float32(target_logits).detach().log_softmax(-1)
    p = logp.exp()
    # Where the student has no mass the term is 0, and so is its gradient, also when a log is −inf.
    return (p * (logp - target_logp).masked_fill(p == 0, 0.0)).sum(-1)


def truncated(
    logits: Float[Tensor, "*B V"], *, top_p: float = 1.0, top_k: int | None = None, min_p: float = 0.0
) -> Float[Tensor, "*B V"]:
    """Logits with −inf for the tokens that truncated sampling leaves out: by min_p, then top_k, then top_p.

    min_p keeps tokens at least that likely relative to the likeliest; top_k keeps the k likeliest, and those that tie
    with the last; top_p keeps the likeliest whose probabilities first sum to it (Holtzman et al., 2020). The likeliest
    token is always kept.
    """
    z = logits
    if min_p > 0:
        z = z.masked_fill(z < z.amax(-1, keepdim=True) + math.log(min_p), -math.inf)
    if top_k is not None and top_k < z.shape[-1]:
        z = z.masked_fill(z < z.topk(top_k).values[..., -1:], -math.inf)
    if top_p < 1:
        p, order = z.softmax(-1).sort(dim=-1, descending=True, stable=True)
        left_out = p.cumsum(-1) - p >= top_p  # those before it suffice
        z = z.masked_fill(torch.zeros_like(left_out).scatter(-1, order, left_out), -math.inf)
    return z


def _at_least_float32(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()
