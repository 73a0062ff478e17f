"""The optimiser, and the part of its state that checkpoints hold."""

from collections.abc import Sequence

import torch
from torch import nn

from omniopd.config import Train

MOMENTS = ("exp_avg", "exp_avg_sq")
"""The entries of a parameter's state that are saved and loaded, with the number of steps."""


def optimizer_of(parameters: Sequence[nn.Parameter], settings: Train) -> torch.optim.Optimizer:
    """The optimiser of those parameters."""
    on_gpu = parameters[0].is_cuda  # there one fused kernel reads and writes each weight once
    return torch.optim.AdamW(
        parameters, lr=settings.lr, weight_decay=settings.weight_decay, fused=on_gpu, foreach=not on_gpu
    )
