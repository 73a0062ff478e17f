"""Several processes that train one model: each a share of the rows, their gradients added up."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import nn

T = TypeVar("T")


def rank() -> int:
    """Which of the processes this is; 0 where there is one. The first alone writes files."""
    return dist.get_rank() if dist.is_initialized() else 0


def num_processes() -> int:
    """How many train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


@contextmanager
def together() -> Iterator[None]:
    """The processes that torchrun started, known to each other for the block."""
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group()
    try:
        yield
    finally:
        dist.destroy_process_group()


def own_share(items: Sequence[T], *, in_step: bool = False) -> list[tuple[T, float]]:
    """The items that fall to this process, every num_processes-th, each with 1.

    Where processes must go in step, one that has fewer does the last item of all once more, with 0: it counts nothing.
    """
    own = [(item, 1.0) for item in items[rank() :: num_processes()]]
    most = -(-len(items) // num_processes())
    return own + [(items[-1], 0.0)] * (most - len(own)) if in_step else own


def wait_for_all() -> None:
    """Return when every process has come here."""
    if dist.is_initialized():
        dist.barrier()


def add_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Give every process the sum of all processes' gradients; one that had no rows adds nothing."""
    if not dist.is_initialized():
        return
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        dist.all_reduce(parameter.grad)


def gathered(own: T) -> list[T]:
    """What each process has, in the order of their ranks."""
    if not dist.is_initialized():
        return [own]
    found: list[T | None] = [None] * num_processes()
    dist.all_gather_object(found, own)
    return found  # pyright: ignore[reportReturnType]
