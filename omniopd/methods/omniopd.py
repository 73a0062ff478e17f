"""OmniOPD as published (method.md, section 2), and the named variants of section 3."""

from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from typing import Annotated as Setting
from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor

from omniopd import functional as F
from omniopd.data.records import Trajectory, Verdict
from omniopd.data.rows import Columns, Row
from omniopd.functional import Score, TokenScores
from omniopd.methods.agreement import EMBEDDING, similarities
from omniopd.methods.auditing import Selection, choose_anchors, longer_than_responses
from omniopd.methods.base import (
    SPARE_TOKENS,
    Annotated,
    Audit,
    Method,
    Need,
    Plan,
    Reading,
    Stopping,
    as_if_written_now,
    mean_and_spread,
    plain_row,
    written_with,
)
from omniopd.settings import Key

# Published (method.md, section 4): Qwen3-4B, Math average, the full method 69.08.
NO_ANCHOR_COLLAPSE = "without the anchor the published score fell from 69.08 to 8.28"
SHORT_CHUNK_COLLAPSE = "with chunks of 25 tokens the published score fell from 69.08 to 24.48"
SHORT_CHUNK = 25
# A smaller vocabulary is one of characters, whose chunks may be short in tokens.
SUBWORD_VOCABULARY = 1000


class OmniOPD(Method):
    """Reinforce each audited chunk by how much the teacher's replies agree with it. Defaults as published."""

    default_is: ClassVar = "published value"

    num_chunks: int = Field(10, gt=0, description="M: audited chunks a trajectory, at most")
    num_replies: int = Field(10, gt=0, description="N: teacher replies a chunk")
    chunk_len: int = Field(50, gt=0, description="C: student tokens a chunk")
    alpha: float = Field(1.0, ge=0, description="strength of the prior")
    beta: float = Field(0.1, ge=0, description="weight of the anchor to the initial student")
    similarity: Literal["edit", "rouge1", "exact", "embedding"] = Field(
        "edit", description="phi of chunk and reply"
    )
    embedding_model: str = Field(
        "sentence-transformers/all-MiniLM-L6-v2",
        min_length=1,
        description="whose sentence embeddings are compared, for the similarity embedding",
    )
    selection: Selection = Field("peak_entropy", description="how anchors are chosen")
    baseline: Literal["none", "batch", "prompt"] = Field(
        "none",
        description="what is subtracted from the target: nothing, or the mean over the other trajectories, "
        "all of them or those of the same prompt",
    )
    replies_at_once: int = Field(
        0, ge=0, description="replies drawn at a time until adaptive_std is met, N at most; 0 draws all N"
    )
    adaptive_std: float = Field(
        0.1, gt=0, description="standard deviation of the agreement's posterior at which no more are drawn"
    )
    clip_replies: bool | None = Field(
        None,
        description="cut a reply to C student tokens before it is compared; null: where the teacher's tokens are not "
        "the student's",
    )
    spare_tokens: int | None = Field(
        None,
        ge=0,
        description=f"teacher tokens asked for beyond C, where replies are cut; null: {SPARE_TOKENS} where its tokens "
        "are not the student's, else 0",
    )

    shuffled: Setting[bool, Key.IF_CHANGED] = Field(
        False, description="a placebo: each chunk is judged by the replies to a chunk of another trajectory"
    )

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset({"verdicts", "reference"})

    @property
    def phi(self) -> str:
        """The similarity as `agreement.similarities` names it."""
        return f"{EMBEDDING}{self.embedding_model}" if self.similarity == "embedding" else self.similarity

    def audit(self, *, shares_tokens: bool) -> Audit:
        clips = not shares_tokens if self.clip_replies is None else self.clip_replies
        usual = SPARE_TOKENS if clips and not shares_tokens else 0
        return Audit(
            self.num_replies,
            self.chunk_len,
            self.phi,
            reads_tokens=clips,
            spare_tokens=usual if self.spare_tokens is None else self.spare_tokens,
            clips_replies=clips,
            stopping=Stopping(self.replies_at_once, self.adaptive_std, self.alpha)
            if self.replies_at_once
            else None,
        )

    def anchors(self, trajectory: Trajectory) -> list[int]:
        return choose_anchors(
            self.selection, trajectory, num_chunks=self.num_chunks, chunk_len=self.chunk_len
        )

    def target(self, verdict: Verdict) -> float:
        """pi_hat of an audited chunk, from its verdict alone."""
        return F.posterior_target(
            verdict.k_sem, num_replies=verdict.num_replies, pi_bar=verdict.pi_bar, alpha=self.alpha
        )

    def reading(self, trajectory: Trajectory, verdict: Verdict) -> Reading:
        del trajectory
        return Reading("target", self.target(verdict))

    def rows(self, annotated: Sequence[Annotated]) -> list[Row]:
        audits = self._judged(annotated)
        weights = [self.target(verdict) for verdict in audits]
        if self.baseline != "none":
            prompt_of = {item.trajectory.id: item.trajectory.prompt_id for item in annotated}
            owners = [verdict.trajectory_id for verdict in audits]
            pools = [prompt_of[owner] if self.baseline == "prompt" else "all" for owner in owners]
            weights = F.leave_one_out(weights, owners, pools=pools)
        weight_of = {verdict.id: weight for verdict, weight in zip(audits, weights, strict=True)}
        return [_row(item, weight_of) for item in annotated]

    def _judged(self, annotated: Sequence[Annotated]) -> list[Verdict]:
        """The verdicts that targets are computed from."""
        audits = [verdict for item in annotated for verdict in item.answered]
        if not self.shuffled:
            return audits
        k_sems = _shuffled_k_sem(audits, self.phi)
        return [
            replace(verdict, k_sem=k_sem, num_replies=len(other.replies))
            for verdict, other, k_sem in zip(audits, _others(audits), k_sems, strict=True)
        ]

    @property
    def scores(self) -> frozenset[Score]:
        return frozenset({"logp", "ref_kl"})

    def loss(self, scores: TokenScores, columns: Columns) -> dict[str, Tensor]:
        reinforcement, anchor = F.audited_loss(
            scores["logp"],
            scores["ref_kl"],
            weight=as_if_written_now(columns["weight"], scores, columns),
            audited=columns["audited"],
            beta=self.beta,
        )
        return {"reinforcement": reinforcement, "anchor": anchor}

    def metrics(self, annotated: Sequence[Annotated]) -> dict[str, float]:
        audits = [verdict for item in annotated for verdict in item.answered]
        num_tokens = sum(len(item.trajectory.response_ids) for item in annotated)
        k_sem = mean_and_spread("k_sem", [verdict.k_sem for verdict in audits])
        floor = mean_and_spread("k_sem_floor", _shuffled_k_sem(audits, self.phi))
        return {
            **mean_and_spread("target", [self.target(verdict) for verdict in self._judged(annotated)]),
            **k_sem,
            **floor,
            "k_sem_over_floor": k_sem["k_sem/mean"] - floor["k_sem_floor/mean"],
            "zero_agreement": sum(verdict.k_sem == 0 for verdict in audits) / len(audits) if audits else 0.0,
            "audited_share": sum(verdict.chunk_len for verdict in audits) / num_tokens,
            "audits": float(len(audits)),
            "boundaries": float(sum(verdict.boundary for item in annotated for verdict in item.verdicts)),
            "unaudited_trajectories": float(sum(not item.answered for item in annotated)),
        }

    def problems(self, plan: Plan) -> list[str]:
        problems = [*super().problems(plan), *longer_than_responses(self.chunk_len, plan)]
        if self.baseline == "prompt" and plan.num_samples < 2:
            problems.append(
                f"baseline is 'prompt', and rollout.num_samples is {plan.num_samples}: a prompt's only response has "
                "no other to compare with; raise num_samples, or set baseline: batch"
            )
        if self.similarity == "embedding" and find_spec("sentence_transformers") is None:
            problems.append(
                "similarity is 'embedding', and the package sentence-transformers is not installed; install "
                "omniopd[embeddings], or set another similarity"
            )
        if self.spare_tokens and not self.clip_replies:
            problems.append(
                "spare_tokens would be compared as if they were part of the chunk; set clip_replies: true"
            )
        return problems

    def warnings(self, *, vocab_size: int) -> list[str]:
        warnings = []
        if self.beta == 0:
            warnings.append(f"beta is 0: {NO_ANCHOR_COLLAPSE}; the published value is 0.1")
        if self.chunk_len <= SHORT_CHUNK and vocab_size >= SUBWORD_VOCABULARY:
            warnings.append(
                f"chunk_len is {self.chunk_len}: {SHORT_CHUNK_COLLAPSE}; the published value is 50"
            )
        return warnings


def _row(item: Annotated, weight_of: dict[str, float]) -> Row:
    num_tokens = len(item.trajectory.response_ids)
    weight, audited = [0.0] * num_tokens, [False] * num_tokens
    for verdict in item.answered:
        for t in range(verdict.anchor, verdict.anchor + verdict.chunk_len):
            weight[t] = weight_of[verdict.id]
            audited[t] = True
    return plain_row(item.trajectory, weight=weight, audited=audited, **written_with(item.trajectory))


def _others(audits: Sequence[Verdict]) -> list[Verdict]:
    """For each chunk one half a batch away, which is of another trajectory."""
    half = len(audits) // 2
    return [*audits[half:], *audits[:half]]


def _shuffled_k_sem(audits: Sequence[Verdict], similarity: str) -> list[float]:
    """k_sem of each chunk with the replies to another chunk: the score of unrelated text."""
    others = _others(audits)
    pairs = [
        (verdict.chunk, reply)
        for verdict, other in zip(audits, others, strict=True)
        for reply in other.replies
    ]
    values = iter(similarities(similarity, pairs))
    return [sum(next(values) for _ in other.replies) for other in others]
