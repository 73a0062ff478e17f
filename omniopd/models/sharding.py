"""Weights sharded over processes (FSDP2, arXiv 2304.11277)."""

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from omniopd.config import Precision
from omniopd.models.precision import DTYPES, layers_of


def shard(step: nn.Module, models: list[nn.Module], precision: Precision) -> None:
    """Shard the models of a step over all processes, one unit per layer and one for the rest.

    Gradients are summed over the processes in float32, not averaged.
    """
    policy = MixedPrecisionPolicy(param_dtype=DTYPES[precision], reduce_dtype=torch.float32)
    for module in [*(layer for model in models for layer in layers_of(model)), step]:  # pyright: ignore[reportArgumentType]
        fully_shard(module, mp_policy=policy)
        assert isinstance(module, FSDPModule)
        module.set_gradient_divide_factor(1.0)
        module.set_force_sum_reduction_for_comms(True)  # which every backend supports


def whole(tensor: Tensor) -> Tensor:
    """The full tensor; for a sharded one, all processes must call."""
    tensor = tensor.detach()
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def divided_like(values: Tensor, other: Tensor) -> Tensor:
    """Full values, sharded like the other tensor if that is."""
    if not isinstance(other, DTensor):
        return values
    return distribute_tensor(values.to(other.device), other.device_mesh, other.placements)
