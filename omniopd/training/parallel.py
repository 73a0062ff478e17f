"""Data-parallel training: each process takes a share of the rows, and gradients are summed."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import nn

T = TypeVar("T")


def rank() -> int:
    """Rank of this process; 0 if there is one. Only rank 0 writes files."""
    return dist.get_rank() if dist.is_initialized() else 0


def num_processes() -> int:
    """The number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


@contextmanager
def together() -> Iterator[None]:
    """The process group of torchrun, for the block."""
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group()
    try:
        yield
    finally:
        dist.destroy_process_group()


def share_of(items: Sequence[T], *, in_step: bool = False) -> list[tuple[T, float]]:
    """(item, weight) for the items of this process, every num_processes-th; the weight is 1.

    in_step: give every process the same number, by repeating the last item with weight 0, which counts nothing.
    """
    share = [(item, 1.0) for item in items[rank() :: num_processes()]]
    most = -(-len(items) // num_processes())
    return share + [(items[-1], 0.0)] * (most - len(share)) if in_step else share


def wait_for_all() -> None:
    """Wait until every process is here."""
    if dist.is_initialized():
        dist.barrier()


def add_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Replace gradients by their sum over all processes; a process without rows adds zero."""
    if not dist.is_initialized():
        return
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        dist.all_reduce(parameter.grad)


def gathered(value: T) -> list[T]:
    """The value of each process, in the order of ranks."""
    if not dist.is_initialized():
        return [value]
    values: list[T | None] = [None] * num_processes()
    dist.all_gather_object(values, value)
    return values  # pyright: ignore[reportReturnType]
