"""The mathematics of docs/method.md: pure functions, no models, no files. All that is imported here is public."""

from omniopd.functional.advantage import group_normalised, leave_one_out
from omniopd.functional.anchors import peak_entropy, random_anchors, uniform_stride
from omniopd.functional.distributions import forward_kl, reverse_kl, token_entropy, token_logp, top_entropy
from omniopd.functional.fused import Fused, LossOf, fused_loss, has_kernels, token_scores
from omniopd.functional.losses import audited_loss, clipped_ratio, importance, masked_sum, policy_gradient
from omniopd.functional.positions import Head, Positions, Score, States, TokenScores, Votes
from omniopd.functional.posterior import (
    geometric_mean,
    posterior_std,
    posterior_target,
    tally,
    token_posterior,
)
from omniopd.functional.repetition import repetition
from omniopd.functional.sheets import SHEET_ELEMENTS, num_sheets, sheet_bytes
from omniopd.functional.similarity import SIMILARITIES, edit, exact, rouge1
