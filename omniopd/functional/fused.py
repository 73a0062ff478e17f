"""Scores of tokens and losses made of them, from hidden states: exact over the vocabulary, in bounded memory.

Positions are worked on in slices, the logits of each in one sheet that is used again for the next; nothing of size
N × V is ever held. A loss that is a sum over positions has its gradient computed on the way forward, slice by slice,
while the sheet still holds what it needs.
"""

import os
import shutil
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from omniopd.functional.positions import Positions, Score, TokenScores
from omniopd.functional.sheets import Sheets, Slopes

LossOf = Callable[[TokenScores, slice], Mapping[str, Tensor]]


@dataclass(frozen=True, eq=False)
class Fused:
    """A loss that can be propagated back, its parts as plain sums, and the scores of every position."""

    loss: Tensor  # ()
    parts: dict[str, Tensor]  # each (), detached
    scores: dict[Score, Tensor]  # each (N,), detached


@torch.no_grad()
def token_scores(
    positions: Positions, wanted: Set[Score], *, slice_len: int | None = None
) -> dict[Score, Float[Tensor, " N"]]:
    """The scores of every position, without gradient."""
    sheets = _sheets(positions, wanted, slice_len)
    found = [sheets.scores(at) for at in sheets.slices()]
    return _joined(found)


def fused_loss(
    positions: Positions,
    wanted: Set[Score],
    loss_of: LossOf,
    *,
    divisor: float = 1.0,
    slice_len: int | None = None,
) -> Fused:
    """The sum of the parts that loss_of makes of the scores, over `divisor`.

    loss_of is called once a slice, with its scores and the positions that it spans, and returns named parts, each a sum
    over those positions of functions of their own scores; so the loss may not depend on how positions are sliced.
    Gradients reach the student's hidden states and, where it is to be trained, its head; float32 reductions whatever
    the states are, float64 where those are.
    """
    head = positions.student.head
    report: dict[str, Any] = {}
    loss = _FusedLoss.apply(
        positions.student.hidden, head.weight, head.bias,
        _sheets(positions, wanted, slice_len), loss_of, divisor, report,
    )  # fmt: skip
    return Fused(loss, report["parts"], report["scores"])


@cache
def has_kernels() -> bool:
    """Whether Triton is here, as with torch's builds for GPUs, and the C compiler that it starts kernels with."""
    compiler = os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")
    return bool(compiler) and find_spec("triton") is not None


def _sheets(positions: Positions, wanted: Set[Score], slice_len: int | None) -> Sheets:
    """What slices are worked on in: by kernels on a GPU, where they can be built, else by torch's own operations."""
    if positions.student.hidden.is_cuda and has_kernels():
        from omniopd.functional.kernels import KernelSheets

        return KernelSheets(positions, wanted, slice_len)
    return Sheets(positions, wanted, slice_len)


class _FusedLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        sheets: Sheets,
        loss_of: LossOf,
        divisor: float,
        report: dict[str, Any],
    ) -> Tensor:
        needs_hidden, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        slopes = Slopes(
            torch.zeros_like(hidden) if needs_hidden else None,
            # Sums of several slices, of weights that are less exact too.
            torch.empty_like(weight, dtype=sheets.dtype) if needs_weight else None,
            torch.zeros_like(bias) if bias is not None and needs_bias else None,
        )
        parts: dict[str, Tensor] = {}
        found: list[dict[Score, Tensor]] = []
        with torch.autocast(hidden.device.type, enabled=False):
            for at in sheets.slices():
                scores = sheets.scores(at)
                own, by_score = _derivatives(scores, at, loss_of, divisor)
                for name, value in own.items():
                    parts[name] = parts[name] + value if name in parts else value
                sheets.add_slopes(at, scores, by_score, slopes)
                found.append(scores)
        slopes.finish()
        report["parts"] = parts
        report["scores"] = _joined(found)
        ctx.slopes, ctx.weight_dtype = slopes, weight.dtype
        return torch.stack(list(parts.values())).sum() / divisor

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:
        slopes, ctx.slopes = ctx.slopes, None
        factor = float(grad_outputs[0])
        weight = None if slopes.weight is None else slopes.weight.to(ctx.weight_dtype)
        own = [slopes.hidden, weight, slopes.bias]
        if factor != 1.0:
            own = [None if slope is None else slope.mul_(factor) for slope in own]
        return (*own, None, None, None, None)


def _joined(found: Sequence[Mapping[Score, Tensor]]) -> dict[Score, Tensor]:
    return {name: torch.cat([own[name] for own in found]) for name in found[0]}


def _derivatives(
    scores: Mapping[Score, Tensor], at: slice, loss_of: LossOf, divisor: float
) -> tuple[dict[str, Tensor], dict[Score, Tensor]]:
    """The parts of a slice's loss, and the derivative of their sum with respect to each score."""
    free: dict[Score, Tensor] = {
        name: value.detach().requires_grad_(name != "teacher_logp") for name, value in scores.items()
    }
    with torch.enable_grad():
        parts = loss_of(free, at)
        loss = torch.stack(list(parts.values())).sum() / divisor
    names: list[Score] = [name for name, value in free.items() if value.requires_grad]
    slopes = (
        torch.autograd.grad(loss, [free[name] for name in names], allow_unused=True)
        if loss.requires_grad
        else ()
    )
    by_score: dict[Score, Tensor] = {
        name: slope for name, slope in zip(names, slopes, strict=False) if slope is not None
    }
    return {name: value.detach() for name, value in parts.items()}, by_score
