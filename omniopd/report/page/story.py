"""What a page is told of a run."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from omniopd.config import RunConfig
from omniopd.data.records import Reward, Trajectory, Verdict
from omniopd.models.text import TextDecoder


@dataclass(frozen=True)
class Told:
    """One trajectory with everything that was found out about it, what failed included."""

    trajectory: Trajectory
    verdicts: Sequence[Verdict] = ()  # in ascending order of anchor
    reward: Reward | None = None


@dataclass(frozen=True)
class Alarm:
    """That an alarm began to ring.

    >>> Alarm(12, "0.31 of the responses are cut at the limit").round
    12
    """

    round: int
    line: str


@dataclass(frozen=True)
class RunStory:
    """A run as far as it has come: its settings, the metrics of its completed rounds, and their trajectories."""

    name: str  # of its folder
    key: str
    config: RunConfig
    inputs: Mapping[str, str]  # digests of prompts and models
    models: Mapping[str, str]  # where student and teacher lie, or their names
    rounds: Sequence[Mapping[str, float]]  # metrics, with the number as `round`
    seconds: Mapping[str, float]  # by stage
    alarms: Sequence[Alarm]
    told: Iterable[Told]  # read once, round by round
    decoder: TextDecoder | None  # None where the tokenizer cannot be had: responses are then shown whole
