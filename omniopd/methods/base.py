"""What every method is: a frozen config that turns annotated trajectories into rows, and rows into a loss."""

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict
from torch import Tensor

from omniopd.data.records import Trajectory, Verdict
from omniopd.data.rows import Batch, Row

Need = Literal["verdicts", "reference"]


@dataclass(frozen=True)
class Audit:
    """What the teacher is asked at each anchor: num_replies texts of chunk_len tokens, compared by similarity.

    >>> Audit(num_replies=10, chunk_len=50, similarity="edit").num_replies
    10
    """

    num_replies: int
    chunk_len: int
    similarity: str


@dataclass(frozen=True)
class Annotated:
    """A trajectory with what was found out about it; verdicts in ascending order of anchor."""

    trajectory: Trajectory
    verdicts: Sequence[Verdict] = ()


@dataclass(frozen=True)
class TokenScores:
    """What one forward pass says of each response token, in nats. Each (B, T); gradients flow through both."""

    logp: Tensor
    ref_kl: Tensor | None  # KL(reference ‖ student), where the method needs the reference


class Method(BaseModel, abc.ABC):
    """One way to learn. The trainer and the flow know this class and no other."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    source: ClassVar[Literal["student", "teacher"]]  # whose text is trained on
    needs: ClassVar[frozenset[Need]]  # what must be known of a trajectory before it is a row

    @property
    def audit(self) -> Audit | None:
        """What the teacher is asked, for a method that needs verdicts."""
        return None

    def anchors(self, trajectory: Trajectory) -> list[int]:
        """Where the teacher is asked, ascending, for a method that needs verdicts."""
        raise TypeError(f"{type(self).__name__} asks the teacher nothing about {trajectory.id}")

    @abc.abstractmethod
    def rows(self, annotated: Sequence[Annotated]) -> list[Row]:
        """One training row a trajectory, in the same order."""

    @abc.abstractmethod
    def loss(self, scores: TokenScores, batch: Batch) -> dict[str, Tensor]:
        """The named parts of the loss, each summed over the batch; the loss is their sum.

        The trainer divides once, by the number of sequences of the optimiser step.
        """

    @abc.abstractmethod
    def metrics(self, annotated: Sequence[Annotated]) -> dict[str, float]:
        """What this method logs of a round; the same keys every round."""

    def problems(self, *, max_new_tokens: int) -> list[str]:
        """Settings that cannot work with responses of that length: reason and remedy, a sentence each."""
        del max_new_tokens
        return []

    def warnings(self, *, vocab_size: int) -> list[str]:
        """Settings that work but are known to end badly, a sentence each."""
        del vocab_size
        return []


def mean_and_spread(name: str, values: Sequence[float]) -> Mapping[str, float]:
    """`name`/mean and `name`/std (population) of the values; 0 where there are none."""
    mean = sum(values) / len(values) if values else 0.0
    variance = sum((value - mean) ** 2 for value in values) / len(values) if values else 0.0
    return {f"{name}/mean": mean, f"{name}/std": variance**0.5}
