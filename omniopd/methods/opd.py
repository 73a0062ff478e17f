"""On-policy distillation from a teacher whose logits can be read: the white-box form (arXiv 2306.13649)."""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field
from torch import Tensor

from omniopd import functional as F
from omniopd.data.rows import Batch, Row
from omniopd.methods.base import Annotated, Method, Need, TokenScores, plain_row


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
        return [plain_row(item.trajectory) for item in annotated]

    def loss(self, scores: TokenScores, batch: Batch) -> dict[str, Tensor]:
        assert scores.teacher_logits is not None, "the trainer gives what `needs` names"
        if self.form == "full":
            # Models of one vocabulary may pad it to different widths; what lies beyond both is no token.
            size = min(scores.logits.shape[-1], scores.teacher_logits.shape[-1])
            divergence = F.reverse_kl(scores.logits[..., :size], scores.teacher_logits[..., :size])
            return {"reverse_kl": F.masked_sum(divergence, batch.response)}
        advantage = F.token_logp(scores.teacher_logits, scores.response_ids) - scores.logp.detach()
        return {"policy": F.policy_gradient(scores.logp, weight=advantage, mask=batch.response)}

    def metrics(self, annotated: Sequence[Annotated]) -> dict[str, float]:
        del annotated
        return {}
