"""One trainer for every method: rows and a method in, one optimiser step out."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor
from transformers import PreTrainedModel

from omniopd.config import Train
from omniopd.data.rows import Row, collate, grouped
from omniopd.errors import RunError
from omniopd.functional import Score, TokenScores
from omniopd.methods import Method
from omniopd.models.precision import recompute_activations
from omniopd.models.sharding import shard, whole
from omniopd.training import parallel
from omniopd.training.optimizers import optimizer_of
from omniopd.training.step import Step

ANCHORS: frozenset[Score] = frozenset({"ref_kl", "kl_to_ref"})  # a method has at most one


@dataclass(frozen=True)
class StepReport:
    """Measurements of one optimiser step, before the weights change.

    `loss_parts` are divided by the number of sequences, as the gradient is; means are over tokens.
    """

    loss: float
    loss_parts: dict[str, float]
    grad_norm: float
    lr: float
    entropy: float
    ref_kl: float | None

    def not_finite(self) -> list[str]:
        """The names of the values that are NaN or infinite."""
        values = {"loss": self.loss, "gradient norm": self.grad_norm, "entropy": self.entropy}
        values |= {f"loss/{name}": value for name, value in self.loss_parts.items()}
        return [name for name, value in values.items() if not math.isfinite(value)]

    def as_metrics(self) -> dict[str, float]:
        """The report as metrics for metrics.jsonl and MLflow."""
        metrics = {"loss": self.loss, "grad_norm": self.grad_norm, "lr": self.lr, "entropy": self.entropy}
        if self.ref_kl is not None:
            metrics["anchor_kl"] = self.ref_kl
        return metrics | {f"loss/{name}": value for name, value in self.loss_parts.items()}


def mean_report(reports: Sequence[StepReport]) -> StepReport:
    """The mean over several steps; the learning rate is the last."""
    count = len(reports)
    kls = [report.ref_kl for report in reports if report.ref_kl is not None]
    return StepReport(
        loss=sum(report.loss for report in reports) / count,
        loss_parts={
            name: sum(report.loss_parts[name] for report in reports) / count for name in reports[0].loss_parts
        },
        grad_norm=sum(report.grad_norm for report in reports) / count,
        lr=reports[-1].lr,
        entropy=sum(report.entropy for report in reports) / count,
        ref_kl=sum(kls) / count if kls else None,
    )


class Trainer:
    """Holds the student, its optimiser, and the frozen models that the method needs.

    AdamW with linear warm-up, a schedule and gradient clipping. Losses are sums, accumulated over forward
    passes of batch_size rows and divided once by the number of rows of the optimiser step, so that the
    gradient does not depend on how the rows were split, nor, but for rounding, on how many processes did it.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        settings: Train,
        *,
        reference: PreTrainedModel | None = None,
        teacher: PreTrainedModel | None = None,
    ):
        self.model = model
        self.settings = settings
        self.num_steps = 0
        self._step = Step(model, reference, teacher)
        if settings.gradient_checkpointing:
            recompute_activations(model)
        if settings.shard:
            shard(
                self._step,
                [each for each in (model, reference, teacher) if each is not None],
                settings.precision,
            )
        self._trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.optimizer = optimizer_of(self._trained, settings)

    def round(self, rows: Sequence[Row], method: Method) -> StepReport:
        """The optimiser steps of a round, each on an equal part of the rows, in order; the report is their mean."""
        if (need := self._step.lacks(method)) is not None:
            raise ValueError(f"{type(method).__name__} needs {need}, but the trainer has none")
        count = self.settings.steps_per_round
        bounds = [len(rows) * i // count for i in range(count + 1)]
        return mean_report([self.step(rows[a:b], method) for a, b in pairwise(bounds)])

    def step(self, rows: Sequence[Row], method: Method) -> StepReport:
        """One optimiser step on all the rows.

        Raises:
            RunError: the loss or the gradient is not finite; no weight has changed in any process.
        """
        sums = _Sums()
        self.optimizer.zero_grad(set_to_none=True)
        settings = self.settings
        groups = grouped(
            rows, batch_size=settings.batch_size, batch_tokens=settings.batch_tokens, packed=settings.packing
        )
        for group, weight in parallel.share_of(groups, in_step=settings.shard):
            batch = collate(group, pad_id=0, packed=settings.packing)
            loss, parts, scores = self._step(batch, method, float(len(rows)), weight)
            loss.backward()
            if weight:
                sums.add(parts, scores)
        if not settings.shard:
            parallel.add_gradients(self._trained)
        sums = sum(parallel.gathered(sums), _Sums())
        lr = self.settings.lr * self._lr_factor()
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        norm = whole(torch.nn.utils.clip_grad_norm_(self._trained, self.settings.max_grad_norm))
        report = sums.report(num_rows=len(rows), grad_norm=float(norm), lr=lr)
        self._check_finite(report)
        self.optimizer.step()
        self.num_steps += 1
        return report

    def _check_finite(self, report: StepReport) -> None:
        """Raise before a step that would ruin the weights. All processes have the same report."""
        if names := report.not_finite():
            round_, step = divmod(self.num_steps, self.settings.steps_per_round)
            raise RunError(
                f"round {round_}, optimiser step {step + 1} of {self.settings.steps_per_round}: {', '.join(names)} "
                f"{'is' if len(names) == 1 else 'are'} not finite (loss {report.loss:g}, gradient norm "
                f"{report.grad_norm:g}), so the step was not taken and the run keeps its last state; lower train.lr, "
                "set train.precision: float32, or inspect the model, and start the run again"
            )

    def _lr_factor(self) -> float:
        """The factor of the learning rate at the next step: warm-up, then the schedule."""
        settings = self.settings
        warmup = settings.warmup_rounds * settings.steps_per_round
        if self.num_steps < warmup:
            return (self.num_steps + 1) / warmup
        total = settings.num_steps
        done = (self.num_steps - warmup) / max(1, total - warmup)  # in [0, 1)
        match settings.schedule:
            case "constant":
                return 1.0
            case "linear":
                return 1.0 - done
            case "cosine":
                return 0.5 * (1.0 + math.cos(math.pi * done))


class _Sums:
    """Running sums over the forward passes of one step."""

    def __init__(self) -> None:
        self.parts: dict[str, float] = {}
        self.entropy = 0.0
        self.ref_kl: float | None = None
        self.num_tokens = 0

    def add(self, parts: Mapping[str, Tensor], scores: TokenScores) -> None:
        for name, value in parts.items():
            self.parts[name] = self.parts.get(name, 0.0) + value.item()
        self.num_tokens += len(scores["entropy"])
        self.entropy += float(scores["entropy"].sum())
        for anchor in ANCHORS & scores.keys():
            self.ref_kl = (self.ref_kl or 0.0) + float(scores[anchor].sum())

    def __add__(self, other: "_Sums") -> "_Sums":
        total = _Sums()
        for sums in (self, other):
            for name, value in sums.parts.items():
                total.parts[name] = total.parts.get(name, 0.0) + value
            total.entropy += sums.entropy
            total.num_tokens += sums.num_tokens
            if sums.ref_kl is not None:
                total.ref_kl = (total.ref_kl or 0.0) + sums.ref_kl
        return total

    def report(self, *, num_rows: int, grad_norm: float, lr: float) -> StepReport:
        parts = {name: value / num_rows for name, value in self.parts.items()}
        return StepReport(
            loss=sum(parts.values()),
            loss_parts=parts,
            grad_norm=grad_norm,
            lr=lr,
            entropy=self.entropy / self.num_tokens,
            ref_kl=None if self.ref_kl is None else self.ref_kl / self.num_tokens,
        )
