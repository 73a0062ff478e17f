"""The forward passes of a step, of the student and of the frozen models, to the loss of a batch."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from omniopd.data.rows import Batch
from omniopd.functional import Fused, Positions, Score, States, TokenScores, fused_loss
from omniopd.methods import Method
from omniopd.models.adapters import adapter_off, has_adapter
from omniopd.models.scoring import response_states

ENTROPY: frozenset[Score] = frozenset({"entropy"})  # measured at every step


class Step(nn.Module):
    """The student, and the reference and the teacher if the method needs them.

    A student with an adapter, without a reference, is its own reference with the adapter off.
    """

    def __init__(
        self, student: PreTrainedModel, reference: PreTrainedModel | None, teacher: PreTrainedModel | None
    ):
        super().__init__()
        self.student, self.reference, self.teacher = student, reference, teacher
        self._has_adapter = has_adapter(student)

    def lacks(self, method: Method) -> str | None:
        """The need of the method that is missing, if any."""
        if "reference" in method.needs and self.reference is None and not self._has_adapter:
            return "reference"
        return "teacher_logits" if "teacher_logits" in method.needs and self.teacher is None else None

    def forward(
        self, batch: Batch, method: Method, divisor: float, weight: float
    ) -> tuple[Tensor, dict[str, Tensor], dict[Score, Tensor]]:
        """The batch's share of the loss, its parts and the scores of its tokens.

        `weight` is 0 for a batch that is repeated while other processes still have one: with divided weights, all
        processes sum gradients at once.
        """
        device = self.student.device
        columns = {name: column.to(device) for name, column in batch.columns.items()}
        # Before the student, whose activations stay in memory.
        reference = self._reference(batch) if "reference" in method.needs else None
        teacher = (
            self._frozen(self.teacher, batch.of_teacher or batch)
            if "teacher_logits" in method.needs
            else None
        )
        positions = Positions(
            response_states(self.student, batch),
            batch.token_ids.to(device),
            reference=reference,
            teacher=teacher,
            votes=method.votes(columns),
        )

        def loss_of(scores: TokenScores, at: slice) -> Mapping[str, Tensor]:
            parts = method.loss(scores, {name: column[at] for name, column in columns.items()})
            return parts if weight else {name: value * 0.0 for name, value in parts.items()}

        fused: Fused = fused_loss(positions, method.scores | ENTROPY, loss_of, divisor=divisor)
        return fused.loss, fused.parts, fused.scores

    def _reference(self, batch: Batch) -> States | None:
        if self.reference is not None:
            return self._frozen(self.reference, batch)
        with adapter_off(self.student):
            return self._frozen(self.student, batch)

    @staticmethod
    @torch.no_grad()
    def _frozen(model: PreTrainedModel | None, batch: Batch) -> States | None:
        return None if model is None else response_states(model, batch)
