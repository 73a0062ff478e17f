"""The mathematics of docs/method.md: pure functions, no models, no files."""

from omniopd.functional.advantage import leave_one_out
from omniopd.functional.anchors import peak_entropy, random_anchors, uniform_stride
from omniopd.functional.distributions import forward_kl, token_entropy, token_logp
from omniopd.functional.losses import audited_loss
from omniopd.functional.posterior import geometric_mean, posterior_target
from omniopd.functional.similarity import SIMILARITIES, edit, exact, k_sem, rouge1

__all__ = [
    "SIMILARITIES",
    "audited_loss",
    "edit",
    "exact",
    "forward_kl",
    "geometric_mean",
    "k_sem",
    "leave_one_out",
    "peak_entropy",
    "posterior_target",
    "random_anchors",
    "rouge1",
    "token_entropy",
    "token_logp",
    "uniform_stride",
]
