"""On-policy distillation from a teacher whose logits can be read: the white-box form (arXiv 2306.13649)."""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field
from torch import Tensor

from omniopd import functional as F
from omniopd.data.rows import Columns, Row
from omniopd.functional import Score, TokenScores
from omniopd.methods.base import Annotated, Method, Need, as_if_written_now, plain_row, written_with


class OPD(Method):
    """KL(student ‖ teacher) at each token that the student wrote."""

    form: Literal["full", "sampled"] = Field(
        "full",
        description="full: the divergence over the vocabulary; sampled: log pi_teacher − log pi_theta of the "
        "token written, as its advantage",
    )

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset({"teacher_logits"})

    def rows(self, annotated: Sequence[Annotated]) -> list[Row]:
        if self.form == "full":
            return [plain_row(item.trajectory) for item in annotated]
        return [plain_row(item.trajectory, **written_with(item.trajectory)) for item in annotated]

    @property
    def scores(self) -> frozenset[Score]:
        return frozenset({"kl_to_teacher"} if self.form == "full" else {"logp", "teacher_logp"})

    def loss(self, scores: TokenScores, columns: Columns) -> dict[str, Tensor]:
        if self.form == "full":
            return {"reverse_kl": scores["kl_to_teacher"].sum()}
        advantage = scores["teacher_logp"] - scores["logp"]
        return {
            "policy": F.policy_gradient(scores["logp"], weight=as_if_written_now(advantage, scores, columns))
        }
