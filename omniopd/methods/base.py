"""What every method is: a frozen config that turns annotated trajectories into rows, and rows into a loss."""

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from omniopd.data.records import Trajectory, Verdict
from omniopd.data.rows import Column, Columns, Row
from omniopd.functional import Score, TokenScores, Votes, importance
from omniopd.settings import Section

# What must be known of a trajectory: the teacher's verdicts, a verifier's reward on its answer, the initial
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
    reads_tokens: bool = False  # whether a reply is read as tokens of the student
    spare_tokens: int = 0  # asked for beyond chunk_len; where any are, a reply's last token may be cut
    clips_replies: bool = False  # whether a reply is cut to chunk_len student tokens before it is compared
    stopping: Stopping | None = None  # None: all replies at once


# Asked for beyond a chunk where a method's settings do not say, of a teacher with tokens of its own: the student's may
# take a few more of them, and the last one may be cut.
SPARE_TOKENS = 4


@dataclass(frozen=True)
class Plan:
    """What a method must know of the run that it is part of."""

    num_samples: int  # responses a prompt
    max_new_tokens: int
    steps_per_round: int  # optimiser steps


@dataclass(frozen=True)
class Annotated:
    """A trajectory with what was found out about it; verdicts in ascending order of anchor."""

    trajectory: Trajectory
    verdicts: Sequence[Verdict] = ()
    reward: float | None = None


@dataclass(frozen=True)
class Reading:
    """What a method makes of one verdict, as a number in [0, 1], for those who read along.

    >>> Reading("target", 0.775).value
    0.775
    """

    name: str
    value: float


class Method(Section, abc.ABC):
    """One way to learn. The trainer and the flow know this class and no other."""

    source: ClassVar[Literal["student", "teacher"]] = "student"  # whose text is trained on
    default_is: ClassVar[str] = "default"  # what a setting's default is called
    takes_several_steps: ClassVar[bool] = False  # whether a round may have more than one optimiser step

    @property
    @abc.abstractmethod
    def needs(self) -> frozenset[Need]:
        """What must be known of a trajectory before it is a row."""

    def audit(self, *, shares_tokens: bool) -> Audit | None:
        """What a teacher is asked whose tokens are the student's, or are not; for a method that needs verdicts."""
        del shares_tokens
        return None

    @property
    def teacher_temperature(self) -> float:
        """At which the teacher writes, for a method whose source it is."""
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
        """What the loss is made of: scores of each response token, from one forward pass."""

    def votes(self, columns: Columns) -> Votes | None:
        """What the teacher wrote at each token, for a method that is scored against the posterior of the next token."""
        del columns
        return None

    @abc.abstractmethod
    def loss(self, scores: TokenScores, columns: Columns) -> dict[str, Tensor]:
        """The named parts of the loss, each a sum over the tokens given; the loss is their sum.

        The tokens of a batch may come in several calls, so a part may not depend on which came together. The trainer
        divides once, by the number of sequences of the optimiser step.
        """

    @abc.abstractmethod
    def metrics(self, annotated: Sequence[Annotated]) -> dict[str, float]:
        """What this method logs of a round; the same keys every round."""

    def reading(self, trajectory: Trajectory, verdict: Verdict) -> Reading | None:
        """What a verdict says about its chunk, in the run's report; None where this method has no such number."""
        del trajectory, verdict
        return None

    def problems(self, plan: Plan) -> list[str]:
        """Settings that cannot work in such a run: reason and remedy, a sentence each."""
        if plan.steps_per_round == 1 or self.takes_several_steps:
            return []
        return [
            f"train.steps_per_round is {plan.steps_per_round}, and this method learns from what the student "
            "would write now, which after one step is no longer what was rolled out; set it to 1"
        ]

    def warnings(self, *, vocab_size: int) -> list[str]:
        """Settings that work but are known to end badly, a sentence each."""
        del vocab_size
        return []


def plain_row(trajectory: Trajectory, **columns: Column) -> Row:
    """The row of a trajectory, with those columns."""
    return Row(trajectory.id, trajectory.prompt_ids, trajectory.response_ids, columns)


def written_with(trajectory: Trajectory) -> dict[str, Column]:
    """The column `old_logp` of a response that other weights wrote than those that are trained on it; else none."""
    return {"old_logp": trajectory.logps} if trajectory.staleness else {}


def as_if_written_now(weight: Tensor, scores: TokenScores, columns: Columns) -> Tensor:
    """(N,) weights of an expectation over the student's own tokens, importance-corrected where old weights wrote them.

    `scores` holds logp, and `columns` what `written_with` gave.
    """
    if "old_logp" not in columns:
        return weight
    return weight * importance(scores["logp"], columns["old_logp"])


def mean_and_spread(name: str, values: Sequence[float]) -> Mapping[str, float]:
    """`name`/mean and `name`/std (population) of the values; 0 where there are none."""
    mean = sum(values) / len(values) if values else 0.0
    variance = sum((value - mean) ** 2 for value in values) / len(values) if values else 0.0
    return {f"{name}/mean": mean, f"{name}/std": variance**0.5}
