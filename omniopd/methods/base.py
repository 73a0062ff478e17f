"""The interface of a method: a frozen config that turns annotated trajectories into rows, and rows into a loss."""

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from omniopd.data.records import Trajectory, Verdict
from omniopd.data.rows import Column, Columns, Row
from omniopd.functional import Score, TokenScores, Votes, importance
from omniopd.settings import Section

# What a method needs besides a trajectory: the teacher's verdicts, a grader's reward on its answer, the initial
# student's distributions, the teacher's distributions.
Need = Literal["verdicts", "rewards", "reference", "teacher_logits"]


@dataclass(frozen=True)
class Stopping:
    """Replies are drawn `step` at a time, until the posterior of their agreement is narrower than `std`."""

    step: int
    std: float
    alpha: float


@dataclass(frozen=True)
class Audit:
    """What the teacher is asked at each anchor: num_replies texts of chunk_len tokens, compared by similarity.

    >>> Audit(num_replies=10, chunk_len=50, similarity="edit").num_replies
    10
    """

    num_replies: int
    chunk_len: int
    similarity: str
    reads_tokens: bool = False  # whether replies are re-tokenised with the student's tokenizer
    spare_tokens: int = 0  # asked for beyond chunk_len; if positive, a reply's last token may be cut
    clips_replies: bool = False  # whether a reply is cut to chunk_len student tokens before it is compared
    stopping: Stopping | None = None  # None: all replies at once

    @property
    def compares_texts(self) -> bool:
        """Whether the method learns from the similarity of texts, rather than from the replies' tokens."""
        return self.clips_replies or not self.reads_tokens


# Default of spare tokens for a teacher with another tokenizer: it may need a few more tokens for the same text, and the
# last one may be cut.
SPARE_TOKENS = 4


@dataclass(frozen=True)
class Plan:
    """The settings of the run that a method checks itself against."""

    num_samples: int  # responses a prompt
    max_new_tokens: int
    steps_per_round: int  # optimiser steps


@dataclass(frozen=True)
class Annotated:
    """A trajectory with its verdicts, in ascending order of anchor, and its reward."""

    trajectory: Trajectory
    verdicts: Sequence[Verdict] = ()
    reward: float | None = None

    @property
    def answered(self) -> list[Verdict]:
        """The verdicts with replies: at a boundary within a character the teacher is not asked."""
        return [verdict for verdict in self.verdicts if verdict.replies]


@dataclass(frozen=True)
class Reading:
    """A method's value of one verdict, in [0, 1], for the report.

    >>> Reading("target", 0.775).value
    0.775
    """

    name: str
    value: float


class Method(Section, abc.ABC):
    """A training method. The trainer and the flow know only this class."""

    source: ClassVar[Literal["student", "teacher"]] = "student"  # whose text is trained on
    default_is: ClassVar[str] = "default"  # how the reference page names a setting's default
    takes_several_steps: ClassVar[bool] = False  # whether a round may have more than one optimiser step

    @property
    @abc.abstractmethod
    def needs(self) -> frozenset[Need]:
        """What the method needs besides trajectories."""

    def audit(self, *, shares_tokens: bool) -> Audit | None:
        """What a teacher is asked, for a method that needs verdicts; shares_tokens: with the student's tokenizer."""
        del shares_tokens
        return None

    @property
    def teacher_temperature(self) -> float:
        """Sampling temperature of the teacher's solutions, for a method that trains on them."""
        raise TypeError(f"{type(self).__name__} trains on the student's text")

    def anchors(self, trajectory: Trajectory) -> list[int]:
        """Where the teacher is asked, ascending, for a method that needs verdicts."""
        raise TypeError(f"{type(self).__name__} asks the teacher nothing about {trajectory.id}")

    @abc.abstractmethod
    def rows(self, annotated: Sequence[Annotated]) -> list[Row]:
        """One training row a trajectory, in the same order."""

    @property
    @abc.abstractmethod
    def scores(self) -> frozenset[Score]:
        """The scores of each response token that the loss needs, from one forward pass."""

    def votes(self, columns: Columns) -> Votes | None:
        """The teacher's next tokens at each position, for a method whose loss needs the posterior."""
        del columns
        return None

    @abc.abstractmethod
    def loss(self, scores: TokenScores, columns: Columns) -> dict[str, Tensor]:
        """The named parts of the loss, each a sum over the given tokens; the loss is their sum.

        The tokens of a batch may come in several calls, so no part may depend on how they are grouped. The trainer
        divides once, by the number of sequences of the optimiser step.
        """

    def metrics(self, annotated: Sequence[Annotated]) -> dict[str, float]:
        """This method's metrics of a round; the same keys every round."""
        del annotated
        return {}

    def reading(self, trajectory: Trajectory, verdict: Verdict) -> Reading | None:
        """The value of a verdict in the run's report; None if the method has none."""
        del trajectory, verdict
        return None

    def problems(self, plan: Plan) -> list[str]:
        """Settings that cannot work in this run: one sentence each, with the reason and the remedy."""
        if plan.steps_per_round == 1 or self.takes_several_steps:
            return []
        return [
            f"train.steps_per_round is {plan.steps_per_round}, and this method trains on what the student "
            "would write now; after one step its rollouts are old; set it to 1"
        ]

    def warnings(self, *, vocab_size: int) -> list[str]:
        """Settings that work but are known to end badly, one sentence each."""
        del vocab_size
        return []


def plain_row(trajectory: Trajectory, **columns: Column) -> Row:
    """The training row of a trajectory, with those columns."""
    return Row(trajectory.id, trajectory.prompt_ids, trajectory.response_ids, columns)


def written_with(trajectory: Trajectory) -> dict[str, Column]:
    """The column `old_logp`, if older weights than the trained ones wrote the response; else no column."""
    return {"old_logp": trajectory.logps} if trajectory.staleness else {}


def as_if_written_now(weight: Tensor, scores: TokenScores, columns: Columns) -> Tensor:
    """(N,) weights of an expectation over the student's tokens, importance-corrected if older weights wrote them.

    `scores` has logp, and `columns` those of `written_with`.
    """
    if "old_logp" not in columns:
        return weight
    return weight * importance(scores["logp"], columns["old_logp"])


def mean_and_spread(name: str, values: Sequence[float]) -> Mapping[str, float]:
    """`name`/mean and `name`/std (population) of the values; 0 if there are none."""
    mean = sum(values) / len(values) if values else 0.0
    variance = sum((value - mean) ** 2 for value in values) / len(values) if values else 0.0
    return {f"{name}/mean": mean, f"{name}/std": variance**0.5}
