"""The fork posterior (method.md, sections 3b and 3c): this project's own text-only form."""

import math
from collections.abc import Sequence
from typing import Annotated as Setting

import torch
from pydantic import Field
from torch import Tensor

from omniopd import functional as F
from omniopd.data.records import Trajectory, Verdict
from omniopd.data.rows import Columns, Row
from omniopd.functional import Score, TokenScores
from omniopd.methods.auditing import Selection, choose_anchors, longer_than_responses
from omniopd.methods.base import (
    SPARE_TOKENS,
    Annotated,
    Audit,
    Method,
    Need,
    Plan,
    Reading,
    mean_and_spread,
    plain_row,
)
from omniopd.settings import Key


class Fork(Method):
    """At the student's most uncertain tokens, move its distribution to the posterior given the teacher's tokens."""

    num_chunks: int = Field(8, gt=0, description="M: audited places a trajectory, at most")
    num_replies: int = Field(1, gt=0, description="N: teacher replies a place")
    chunk_len: int = Field(1, gt=0, description="C: student tokens a reply is read for")
    alpha: float = Field(1.0, gt=0, description="strength of the prior, the student's own distribution")
    beta: float = Field(0.1, ge=0, description="weight of the anchor to the initial student")
    centred: Setting[bool, Key.IF_CHANGED] = Field(
        False,
        description="subtract what the student expects of itself: a teacher that agrees with it teaches nothing",
    )
    selection: Selection = Field("peak_entropy", description="how places are chosen")
    spare_tokens: int | None = Field(
        None,
        ge=0,
        description=f"teacher tokens asked for beyond C; null: {SPARE_TOKENS} where its tokens are not the student's, "
        "else 0; where there are any, the last token of a reply may be cut, and is dropped",
    )

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset({"verdicts", "reference"})

    def audit(self, *, shares_tokens: bool) -> Audit:
        spare = (0 if shares_tokens else SPARE_TOKENS) if self.spare_tokens is None else self.spare_tokens
        return Audit(self.num_replies, self.chunk_len, "exact", reads_tokens=True, spare_tokens=spare)

    def anchors(self, trajectory: Trajectory) -> list[int]:
        return choose_anchors(
            self.selection, trajectory, num_chunks=self.num_chunks, chunk_len=self.chunk_len
        )

    def reading(self, trajectory: Trajectory, verdict: Verdict) -> Reading | None:
        """q of the student's token at the anchor; None if no reply voted there."""
        if not (votes := _tally(trajectory, verdict).get(verdict.anchor)):
            return None
        agreeing = votes.count(trajectory.response_ids[verdict.anchor])
        mass = F.posterior_target(
            float(agreeing),
            num_replies=len(votes),
            pi_bar=math.exp(trajectory.logps[verdict.anchor]),
            alpha=self.alpha,
        )
        return Reading("posterior", mass)

    def rows(self, annotated: Sequence[Annotated]) -> list[Row]:
        return [_row(item, self.num_replies) for item in annotated]

    @property
    def scores(self) -> frozenset[Score]:
        return frozenset({self._fork, "ref_kl"})

    @property
    def _fork(self) -> Score:
        return "centred_fork" if self.centred else "posterior_kl"

    def votes(self, columns: Columns) -> F.Votes:
        return F.Votes(columns["votes"], columns["num_votes"], self.alpha)

    def loss(self, scores: TokenScores, columns: Columns) -> dict[str, Tensor]:
        forked = columns["num_votes"] > 0
        fork = F.masked_sum(scores[self._fork], forked)
        anchor = F.masked_sum(scores["ref_kl"], ~forked)
        return {"fork": fork, "anchor": self.beta * anchor}

    def metrics(self, annotated: Sequence[Annotated]) -> dict[str, float]:
        num_tokens = sum(len(item.trajectory.response_ids) for item in annotated)
        votes = [(item.trajectory, _votes(item)) for item in annotated]
        agreed = [
            sum(vote == trajectory.response_ids[t] for vote in cast) / len(cast)
            for trajectory, positions in votes
            for t, cast in positions.items()
        ]
        entropies = [trajectory.entropies[t] for trajectory, positions in votes for t in positions]
        verdicts = [verdict for item in annotated for verdict in item.verdicts]
        return {
            **mean_and_spread("agreement", agreed),
            "audited_entropy": sum(entropies) / len(entropies) if entropies else 0.0,
            "audited_share": len(agreed) / num_tokens,
            "audits": float(len(verdicts)),
            "boundaries": float(sum(verdict.boundary for verdict in verdicts)),
            "unaudited_trajectories": float(sum(not positions for _, positions in votes)),
        }

    def problems(self, plan: Plan) -> list[str]:
        return [*super().problems(plan), *longer_than_responses(self.chunk_len, plan)]


def _votes(item: Annotated) -> dict[int, list[int]]:
    votes: dict[int, list[int]] = {}
    for verdict in item.verdicts:
        votes |= _tally(item.trajectory, verdict)
    return votes


def _tally(trajectory: Trajectory, verdict: Verdict) -> dict[int, list[int]]:
    return F.tally(
        trajectory.response_ids, verdict.reply_ids, anchor=verdict.anchor, chunk_len=verdict.chunk_len
    )


def _row(item: Annotated, num_replies: int) -> Row:
    """`votes` holds num_replies tokens a position, of which the first `num_votes` were cast."""
    num_tokens = len(item.trajectory.response_ids)
    votes = torch.zeros((num_tokens, num_replies), dtype=torch.int64)
    num_votes = torch.zeros(num_tokens, dtype=torch.int64)
    for t, cast in _votes(item).items():
        votes[t, : len(cast)] = torch.tensor(cast)
        num_votes[t] = len(cast)
    return plain_row(item.trajectory, votes=votes, num_votes=num_votes)
