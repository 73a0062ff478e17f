"""What is logged to MLflow, a record each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

# The tags of an input; `round` is also the metric whose steps are the rounds that MLflow has.
CONTEXT, ROUND = "mlflow.data.context", "round"
PROMPTS, TRAINING = "prompts", "training"  # contexts


@dataclass(frozen=True)
class DataFile:
    """A file of data by its path relative to the folder that it belongs to, and by its content.

    >>> DataFile("trajectories/round-0007.parquet", "900150983cd24fb0d6963f7d28e17f72", 128).label
    'trajectories/round-0007'
    """

    name: str
    digest: str  # md5
    num_rows: int

    @property
    def label(self) -> str:
        """The name without its suffix."""
        return Path(self.name).with_suffix("").as_posix()


@dataclass(frozen=True)
class Origin:
    """What a run is made from: its config.json, the digests of its inputs by name, and the prompt files.

    >>> Origin(Path("runs/sft-0/config.json"), {"student": "0f3c", "teacher": "77a1"}, []).inputs["student"]
    '0f3c'
    """

    config: Path
    inputs: Mapping[str, str]
    prompts: Sequence[DataFile]


@dataclass(frozen=True)
class RoundRecord:
    """A completed round: its metrics and the files that it was trained on.

    >>> RoundRecord(7, {"loss": 0.9}, [DataFile("trajectories/round-0007.parquet", "9001", 128)]).round
    7
    """

    round: int
    metrics: Mapping[str, float]
    files: Sequence[DataFile]


@dataclass(frozen=True)
class Checkpoint:
    """The state before a round: its path, the md5 of its weights, and the digest of those it came from.

    >>> Checkpoint(20, Path("runs/sft-0/checkpoints/round-0020"), "9001", parent="0f3c").round
    20
    """

    round: int
    path: Path
    digest: str
    parent: str  # of the checkpoint before it, or of the initial student
