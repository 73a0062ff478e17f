"""OmniOPD as published (method.md, section 2), and the named variants of section 3."""

import random
from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor

from omniopd import functional as F
from omniopd.data.records import Trajectory, Verdict
from omniopd.data.rows import Batch, Row
from omniopd.functional.seeds import stable_seed
from omniopd.methods.base import Annotated, Audit, Method, Need, TokenScores, mean_and_spread

# Published (method.md, section 4): Qwen3-4B, Math average, the full method 69.08.
NO_ANCHOR_COLLAPSE = "without the anchor the published score fell from 69.08 to 8.28"
SHORT_CHUNK_COLLAPSE = "with chunks of 25 tokens the published score fell from 69.08 to 24.48"
SHORT_CHUNK = 25
# Below this a vocabulary is characters rather than words, and a chunk of few tokens is no warning sign.
SUBWORD_VOCABULARY = 1000


class OmniOPD(Method):
    """Reinforce each audited chunk by how much the teacher's replies agree with it. Defaults as published."""

    source: ClassVar = "student"
    needs: ClassVar[frozenset[Need]] = frozenset({"verdicts", "reference"})

    num_chunks: int = Field(10, gt=0, description="M: audited chunks a trajectory, at most")
    num_replies: int = Field(10, gt=0, description="N: teacher replies a chunk")
    chunk_len: int = Field(50, gt=0, description="C: student tokens a chunk")
    alpha: float = Field(1.0, ge=0, description="strength of the prior")
    beta: float = Field(0.1, ge=0, description="weight of the anchor to the initial student")
    similarity: Literal["edit", "rouge1", "exact"] = Field("edit", description="phi of chunk and reply")
    selection: Literal["peak_entropy", "random", "uniform"] = Field(
        "peak_entropy", description="how anchors are chosen"
    )
    baseline: Literal["none", "batch"] = Field(
        "none", description="what is subtracted from the target: nothing, or the mean over other trajectories"
    )

    @property
    def audit(self) -> Audit:
        return Audit(self.num_replies, self.chunk_len, self.similarity)

    def anchors(self, trajectory: Trajectory) -> list[int]:
        response_len = len(trajectory.response_ids)
        size = {"num_chunks": self.num_chunks, "chunk_len": self.chunk_len}
        match self.selection:
            case "peak_entropy":
                return F.peak_entropy(trajectory.entropies, **size)
            case "random":
                rng = random.Random(stable_seed("anchors", trajectory.id, trajectory.seed))
                return F.random_anchors(response_len, **size, rng=rng)
            case "uniform":
                return F.uniform_stride(response_len, **size)

    def target(self, verdict: Verdict) -> float:
        """pi_hat of an audited chunk, from its verdict alone."""
        return F.posterior_target(
            verdict.k_sem, num_replies=verdict.num_replies, pi_bar=verdict.pi_bar, alpha=self.alpha
        )

    def rows(self, annotated: Sequence[Annotated]) -> list[Row]:
        audits = [verdict for item in annotated for verdict in item.verdicts]
        weights = [self.target(verdict) for verdict in audits]
        if self.baseline == "batch":
            weights = F.leave_one_out(weights, [verdict.trajectory_id for verdict in audits])
        weight_of = {verdict.id: weight for verdict, weight in zip(audits, weights, strict=True)}
        return [_row(item, weight_of) for item in annotated]

    def loss(self, scores: TokenScores, batch: Batch) -> dict[str, Tensor]:
        assert scores.ref_kl is not None, "the trainer gives what `needs` names"
        reinforcement, anchor = F.audited_loss(
            scores.logp,
            scores.ref_kl,
            weight=batch.columns["weight"],
            audited=batch.columns["audited"],
            response=batch.response,
            beta=self.beta,
        )
        return {"reinforcement": reinforcement, "anchor": anchor}

    def metrics(self, annotated: Sequence[Annotated]) -> dict[str, float]:
        audits = [verdict for item in annotated for verdict in item.verdicts]
        num_tokens = sum(len(item.trajectory.response_ids) for item in annotated)
        return {
            **mean_and_spread("target", [self.target(verdict) for verdict in audits]),
            **mean_and_spread("k_sem", [verdict.k_sem for verdict in audits]),
            **mean_and_spread("k_sem_floor", _shuffled_k_sem(audits, self.similarity)),
            "audited_share": sum(verdict.chunk_len for verdict in audits) / num_tokens,
            "audits": float(len(audits)),
            "unaudited_trajectories": float(sum(not item.verdicts for item in annotated)),
        }

    def problems(self, *, max_new_tokens: int) -> list[str]:
        if self.chunk_len <= max_new_tokens:
            return []
        return [
            f"chunk_len is {self.chunk_len}, longer than the longest response "
            f"(rollout.max_new_tokens is {max_new_tokens}), so nothing would be audited; "
            "make chunks shorter or responses longer"
        ]

    def warnings(self, *, vocab_size: int) -> list[str]:
        found = []
        if self.beta == 0:
            found.append(f"beta is 0: {NO_ANCHOR_COLLAPSE}; the published value is 0.1")
        if self.chunk_len <= SHORT_CHUNK and vocab_size >= SUBWORD_VOCABULARY:
            found.append(f"chunk_len is {self.chunk_len}: {SHORT_CHUNK_COLLAPSE}; the published value is 50")
        return found


def _row(item: Annotated, weight_of: dict[str, float]) -> Row:
    num_tokens = len(item.trajectory.response_ids)
    weight, audited = [0.0] * num_tokens, [False] * num_tokens
    for verdict in item.verdicts:
        for t in range(verdict.anchor, verdict.anchor + verdict.chunk_len):
            weight[t] = weight_of[verdict.id]
            audited[t] = True
    columns = {"weight": weight, "audited": audited}
    return Row(item.trajectory.id, item.trajectory.prompt_ids, item.trajectory.response_ids, columns)


def _shuffled_k_sem(audits: Sequence[Verdict], similarity: str) -> list[float]:
    """k_sem of each chunk with the replies to another chunk: what unrelated text would score.

    Chunks are paired half a batch apart, which takes the replies of another trajectory.
    """
    half = len(audits) // 2
    others = [*audits[half:], *audits[:half]]
    return [
        F.k_sem(verdict.chunk, other.replies, similarity=similarity)
        for verdict, other in zip(audits, others, strict=True)
    ]
