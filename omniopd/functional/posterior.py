"""The Dirichlet-Multinomial posterior of a chunk (method.md, section 2.5)."""

import math
from collections.abc import Sequence


def geometric_mean(logps: Sequence[float]) -> float:
    """pi_bar = exp(mean of log pi_theta over the chunk's tokens), the student's own belief."""
    if not logps:
        raise ValueError("an empty chunk has no belief")
    return math.exp(math.fsum(logps) / len(logps))


def posterior_target(k_sem: float, *, num_replies: int, pi_bar: float, alpha: float) -> float:
    """pi_hat = (k_sem + alpha · pi_bar) / (N + alpha): the posterior mean, a constant in [0, 1].

    alpha → ∞ tends to pi_bar; alpha = 0 is k_sem / N.

    Raises:
        ValueError: the target lies outside [0, 1], which only a fault upstream can cause.
    """
    target = (k_sem + alpha * pi_bar) / (num_replies + alpha)
    # Rounding may leave [0, 1] by an ulp or two; anything more is a bug.
    if not -1e-9 <= target <= 1 + 1e-9:
        raise ValueError(
            f"the posterior target is {target}, outside [0, 1]: "
            f"k_sem = {k_sem} of N = {num_replies}, pi_bar = {pi_bar}, alpha = {alpha}"
        )
    return min(max(target, 0.0), 1.0)
