"""One trainer for every method: rows and a method in, one optimiser step out."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from omniopd.config import Train
from omniopd.data.rows import Batch, Row, collate
from omniopd.functional import forward_kl, token_entropy, token_logp
from omniopd.methods import Method, TokenScores
from omniopd.models.scoring import response_logits


@dataclass(frozen=True)
class StepReport:
    """What one optimiser step measured, before the weights moved.

    `loss_parts` are divided by the number of sequences, as the gradient is; means are over tokens.
    """

    loss: float
    loss_parts: dict[str, float]
    grad_norm: float
    lr: float
    entropy: float
    ref_kl: float | None

    def as_metrics(self) -> dict[str, float]:
        """The report under the names that metrics.jsonl and MLflow use."""
        metrics = {"loss": self.loss, "grad_norm": self.grad_norm, "lr": self.lr, "entropy": self.entropy}
        if self.ref_kl is not None:
            metrics["anchor_kl"] = self.ref_kl
        return metrics | {f"loss/{name}": value for name, value in self.loss_parts.items()}


class Trainer:
    """Holds the student, its optimiser and the frozen reference.

    AdamW with linear warm-up and gradient clipping. Losses are sums, accumulated over forward passes
    of batch_size rows and divided once by the number of rows of the step, so that the gradient does
    not depend on how the rows were split.
    """

    def __init__(self, model: PreTrainedModel, reference: PreTrainedModel | None, settings: Train):
        self.model = model
        self.reference = reference
        self.settings = settings
        self.num_steps = 0
        self.optimizer = torch.optim.AdamW(
            model.parameters(), lr=settings.lr, weight_decay=settings.weight_decay, foreach=True
        )

    def step(self, rows: Sequence[Row], method: Method) -> StepReport:
        """One optimiser step on all the rows."""
        if "reference" in method.needs and self.reference is None:
            raise ValueError(f"{type(method).__name__} needs a reference, and the trainer was given none")
        sums = _Sums()
        self.optimizer.zero_grad(set_to_none=True)
        for first in range(0, len(rows), self.settings.batch_size):
            batch = collate(rows[first : first + self.settings.batch_size], pad_id=0)
            scores, entropy = self._scores(batch, method)
            parts = method.loss(scores, batch)
            (torch.stack(list(parts.values())).sum() / len(rows)).backward()
            sums.add(batch, parts, scores, entropy)
        lr = self._lr()
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.max_grad_norm)
        self.optimizer.step()
        self.num_steps += 1
        return sums.report(num_rows=len(rows), grad_norm=float(norm), lr=lr)

    def _scores(self, batch: Batch, method: Method) -> tuple[TokenScores, Tensor]:
        logits = response_logits(self.model, batch)
        ref_kl = None
        if "reference" in method.needs and self.reference is not None:
            with torch.no_grad():
                ref_logits = response_logits(self.reference, batch)
            ref_kl = forward_kl(ref_logits, logits)
        scores = TokenScores(token_logp(logits, batch.response_ids.to(logits.device)), ref_kl)
        return scores, token_entropy(logits.detach())

    def _lr(self) -> float:
        warmup = self.settings.warmup_rounds
        share = min(1.0, (self.num_steps + 1) / warmup) if warmup else 1.0
        return self.settings.lr * share


class _Sums:
    """Running sums over the forward passes of one step."""

    def __init__(self) -> None:
        self.parts: dict[str, float] = {}
        self.entropy = 0.0
        self.ref_kl: float | None = None
        self.num_tokens = 0

    def add(self, batch: Batch, parts: dict[str, Tensor], scores: TokenScores, entropy: Tensor) -> None:
        response = batch.response.to(entropy.device)
        for name, value in parts.items():
            self.parts[name] = self.parts.get(name, 0.0) + value.item()
        self.num_tokens += int(response.sum())
        self.entropy += float(entropy[response].sum())
        if scores.ref_kl is not None:
            self.ref_kl = (self.ref_kl or 0.0) + float(scores.ref_kl.detach()[response].sum())

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
