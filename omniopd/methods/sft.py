"""Supervised fine-tuning on the teacher's full solutions (SeqKD, arXiv 1606.07947): text, and nothing else."""

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field
from torch import Tensor

from omniopd import functional as F
from omniopd.data.rows import Batch, Row
from omniopd.methods.base import Annotated, Method, Need, TokenScores, plain_row


class SFT(Method):
    """− log pi_theta of what the teacher wrote."""

    source: ClassVar = "teacher"
    takes_several_steps: ClassVar = True

    temperature: float = Field(0.0, ge=0, description="at which the teacher writes; 0 is greedy")

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset()

    @property
    def teacher_temperature(self) -> float:
        return self.temperature

    def rows(self, annotated: Sequence[Annotated]) -> list[Row]:
        return [plain_row(item.trajectory) for item in annotated]

    def loss(self, scores: TokenScores, batch: Batch) -> dict[str, Tensor]:
        return {"nll": -F.masked_sum(scores.logp, batch.response)}

    def metrics(self, annotated: Sequence[Annotated]) -> dict[str, float]:
        del annotated
        return {}
