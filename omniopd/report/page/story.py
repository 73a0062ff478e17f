"""The contents of a run's page."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from omniopd.config import RunConfig
from omniopd.data.records import Reward, Trajectory, Verdict
from omniopd.models.text import TextDecoder


@dataclass(frozen=True)
class AuditedTrajectory:
    """A trajectory with its verdicts, failed ones included, and its reward."""

    trajectory: Trajectory
    verdicts: Sequence[Verdict] = ()  # in ascending order of anchor
    reward: Reward | None = None


@dataclass(frozen=True)
class RunStory:
    """A run, finished or not: its settings, the metrics of its completed rounds, and their trajectories."""

    name: str  # of its folder
    key: str
    config: RunConfig
    inputs: Mapping[str, str]  # digests of prompts and models
    models: Mapping[str, str]  # paths or names of student and teacher
    rounds: Sequence[Mapping[str, float]]  # metrics, with the number as `round`
    seconds: Mapping[str, float]  # by stage
    alarms: Sequence[tuple[int, str]]  # the round in which each began to ring, and its warning
    trajectories: Iterable[AuditedTrajectory]  # read once, round by round
    decoder: TextDecoder | None  # None without a tokenizer: responses are then shown whole
