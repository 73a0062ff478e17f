"""Scores of tokens, and losses of them, from hidden states: exact over the vocabulary, in bounded memory.

Positions are processed in slices, whose logits reuse one sheet of memory; nothing of size N × V is allocated. The
gradient of a loss that is a sum over positions is computed in the forward pass, slice by slice.
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
    """A differentiable loss, its parts as plain sums, and the scores of every position."""

    loss: Tensor  # ()
    parts: dict[str, Tensor]  # each (), detached
    scores: dict[Score, Tensor]  # each (N,), detached


@torch.no_grad()
def token_scores(
    positions: Positions, wanted: Set[Score], *, slice_len: int | None = None
) -> dict[Score, Float[Tensor, " N"]]:
    """The scores of every position, without gradient."""
    sheets = _sheets(positions, wanted, slice_len)
    return _joined([sheets.scores(at) for at in sheets.slices()])


def fused_loss(
    positions: Positions,
    wanted: Set[Score],
    loss_of: LossOf,
    *,
    divisor: float = 1.0,
    slice_len: int | None = None,
) -> Fused:
    """The sum of the parts that loss_of computes from the scores, over `divisor`.

    loss_of is called once per slice with its scores and positions. It returns named parts, each a sum over positions of
    functions of that position's scores, so that slicing does not change the loss. Gradients flow to the student's
    hidden states and, if it is trained, its head. Reductions are in float32, or float64 if the states are.
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
    """Whether Triton, which torch's builds for GPUs include, is installed, and the C compiler that it needs."""
    compiler = os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")
    return bool(compiler) and find_spec("triton") is not None


def _sheets(positions: Positions, wanted: Set[Score], slice_len: int | None) -> Sheets:
    """Sheets that compute with Triton kernels on a GPU, if they can be built, else with torch's operations."""
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
            # In at least float32: it is summed over slices.
            torch.empty_like(weight, dtype=sheets.dtype) if needs_weight else None,
            torch.zeros_like(bias) if bias is not None and needs_bias else None,
        )
        parts: dict[str, Tensor] = {}
        slice_scores: list[dict[Score, Tensor]] = []
        with torch.autocast(hidden.device.type, enabled=False):
            for at in sheets.slices():
                scores = sheets.scores(at)
                slice_parts, by_score = _derivatives(scores, at, loss_of, divisor)
                for name, value in slice_parts.items():
                    parts[name] = parts[name] + value if name in parts else value
                sheets.add_slopes(at, scores, by_score, slopes)
                slice_scores.append(scores)
        slopes.finish()
        report["parts"] = parts
        report["scores"] = _joined(slice_scores)
        ctx.slopes, ctx.weight_dtype = slopes, weight.dtype
        return torch.stack(list(parts.values())).sum() / divisor

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:
        slopes, ctx.slopes = ctx.slopes, None
        factor = float(grad_outputs[0])
        weight = None if slopes.weight is None else slopes.weight.to(ctx.weight_dtype)
        gradients = [slopes.hidden, weight, slopes.bias]
        if factor != 1.0:
            gradients = [None if gradient is None else gradient.mul_(factor) for gradient in gradients]
        return (*gradients, None, None, None, None)


def _joined(slice_scores: Sequence[Mapping[Score, Tensor]]) -> dict[Score, Tensor]:
    return {name: torch.cat([scores[name] for scores in slice_scores]) for name in slice_scores[0]}


def _derivatives(
    scores: Mapping[Score, Tensor], at: slice, loss_of: LossOf, divisor: float
) -> tuple[dict[str, Tensor], dict[Score, Tensor]]:
    """The parts of a slice's loss, and the derivative of their sum with respect to each score."""
    leaves: dict[Score, Tensor] = {
        name: value.detach().requires_grad_(name != "teacher_logp") for name, value in scores.items()
    }
    with torch.enable_grad():
        parts = loss_of(leaves, at)
        loss = torch.stack(list(parts.values())).sum() / divisor
    by_score: dict[Score, Tensor] = {}
    if loss.requires_grad:
        names: list[Score] = [name for name, leaf in leaves.items() if leaf.requires_grad]
        slopes = torch.autograd.grad(loss, [leaves[name] for name in names], allow_unused=True)
        by_score = {name: slope for name, slope in zip(names, slopes, strict=True) if slope is not None}
    return {name: value.detach() for name, value in parts.items()}, by_score
