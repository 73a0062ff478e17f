"""Supervised fine-tuning on the teacher's full solutions (SeqKD, arXiv 1606.07947): text, and nothing else."""

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field
from torch import Tensor

from omniopd.data.rows import Columns, Row
from omniopd.functional import Score, TokenScores
from omniopd.methods.base import Annotated, Method, Need, plain_row


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

    @property
    def scores(self) -> frozenset[Score]:
        return frozenset({"logp"})

    def loss(self, scores: TokenScores, columns: Columns) -> dict[str, Tensor]:
        del columns
        return {"nll": -scores["logp"].sum()}
