"""One trainer for every method: rows and a method in, one optimiser step out."""

import math
from collections.abc import Iterable, Mapping, Sequence
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

    def round(self, rows: Sequence[Row], method: Method) -> dict[str, float]:
        """The optimiser steps of a round, each on an equal part of the rows, in order.

        Returns the means of their metrics; the learning rate is the last.
        """
        if (need := self._step.lacks(method)) is not None:
            raise ValueError(f"{type(method).__name__} needs {need}, but the trainer has none")
        count = self.settings.steps_per_round
        bounds = [len(rows) * i // count for i in range(count + 1)]
        steps = [self.step(rows[a:b], method) for a, b in pairwise(bounds)]
        means = {name: sum(metrics[name] for metrics in steps) / count for name in steps[0]}
        return means | {"lr": steps[-1]["lr"]}

    def step(self, rows: Sequence[Row], method: Method) -> dict[str, float]:
        """One optimiser step on all the rows. Returns its metrics, measured before the weights change.

        `loss` and its parts, `loss/` and a name, are divided by the number of sequences, as the gradient of which
        `grad_norm` is the norm; `entropy`, and `anchor_kl` where the method has an anchor, are means over tokens.

        Raises:
            RunError: the loss or the gradient is not finite; no weight has changed in any process.
        """
        passes: list[dict[str, float]] = []
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
                passes.append(_sums_of(parts, scores))
        if not settings.shard:
            parallel.add_gradients(self._trained)
        sums = _added(parallel.gathered(_added(passes)))
        lr = self.settings.lr * self._lr_factor()
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        norm = whole(torch.nn.utils.clip_grad_norm_(self._trained, self.settings.max_grad_norm))
        parts = {name: value / len(rows) for name, value in sums.items() if name.startswith("loss/")}
        metrics = {"loss": sum(parts.values()), "grad_norm": float(norm), "lr": lr}
        metrics |= {
            name: sums[name] / sums["num_tokens"] for name in ("entropy", "anchor_kl") if name in sums
        }
        metrics |= parts
        self._check_finite(metrics)
        self.optimizer.step()
        self.num_steps += 1
        return metrics

    def _check_finite(self, metrics: Mapping[str, float]) -> None:
        """Raise before a step that would ruin the weights. All processes have the same metrics."""
        # The anchor's mean is also over tokens that it does not train.
        checked = {name: value for name, value in metrics.items() if name != "anchor_kl"}
        if names := [name for name, value in checked.items() if not math.isfinite(value)]:
            what = ", ".join(names).replace("grad_norm", "gradient norm")
            round_, step = divmod(self.num_steps, self.settings.steps_per_round)
            raise RunError(
                f"round {round_}, optimiser step {step + 1} of {self.settings.steps_per_round}: {what} "
                f"{'is' if len(names) == 1 else 'are'} not finite (loss {metrics['loss']:g}, "
                f"gradient norm {metrics['grad_norm']:g}), so the step was not taken and the run keeps its last state; "
                "lower train.lr, set train.precision: float32, or inspect the model, and start the run again"
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


def _sums_of(parts: Mapping[str, Tensor], scores: TokenScores) -> dict[str, float]:
    """The loss's parts, and the sums of what is averaged over the tokens of a forward pass."""
    sums = {f"loss/{name}": value.item() for name, value in parts.items()}
    sums |= {"num_tokens": len(scores["entropy"]), "entropy": float(scores["entropy"].sum())}
    for anchor in ANCHORS & scores.keys():
        sums["anchor_kl"] = float(scores[anchor].sum())
    return sums


def _added(all_sums: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """The sums of several forward passes, or processes, in one."""
    total: dict[str, float] = {}
    for sums in all_sums:
        for name, value in sums.items():
            total[name] = total.get(name, 0.0) + value
    return total
