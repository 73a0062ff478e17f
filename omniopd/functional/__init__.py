"""The mathematics of docs/method.md: pure functions, no models, no files."""

from omniopd.functional.advantage import group_normalised, leave_one_out
from omniopd.functional.anchors import peak_entropy, random_anchors, uniform_stride
from omniopd.functional.distributions import (
    forward_kl,
    reverse_kl,
    token_entropy,
    token_logp,
    top_entropy,
    truncated,
)
from omniopd.functional.fused import Fused, LossOf, fused_loss, has_kernels, token_scores
from omniopd.functional.losses import audited_loss, clipped_ratio, importance, masked_sum, policy_gradient
from omniopd.functional.positions import Head, Positions, Score, States, TokenScores, Votes
from omniopd.functional.posterior import (
    centred_fork,
    geometric_mean,
    posterior_std,
    posterior_target,
    tally,
    token_posterior,
    vote_weight,
)
from omniopd.functional.repetition import repetition
from omniopd.functional.sheets import SHEET_ELEMENTS, num_sheets, sheet_bytes
from omniopd.functional.similarity import SIMILARITIES, edit, exact, rouge1

__all__ = [
    "SHEET_ELEMENTS",
    "SIMILARITIES",
    "Fused",
    "Head",
    "LossOf",
    "Positions",
    "Score",
    "States",
    "TokenScores",
    "Votes",
    "audited_loss",
    "centred_fork",
    "clipped_ratio",
    "edit",
    "exact",
    "forward_kl",
    "fused_loss",
    "geometric_mean",
    "group_normalised",
    "has_kernels",
    "importance",
    "leave_one_out",
    "masked_sum",
    "num_sheets",
    "peak_entropy",
    "policy_gradient",
    "posterior_std",
    "posterior_target",
    "random_anchors",
    "repetition",
    "reverse_kl",
    "rouge1",
    "sheet_bytes",
    "tally",
    "token_entropy",
    "token_logp",
    "token_posterior",
    "token_scores",
    "top_entropy",
    "truncated",
    "uniform_stride",
    "vote_weight",
]
