"""Our records as MLflow's entities."""

import json
import time
from collections.abc import Mapping, Sequence
from typing import TypeVar

from mlflow.entities import Dataset, DatasetInput, InputTag, Metric

from omniopd.tracking.records import DataFile, RoundRecord

T = TypeVar("T")

CONTEXT = "mlflow.data.context"
PROMPTS, TRAINING = "prompts", "training"
ROUND = "round"  # a tag of inputs; and the metric whose last step says which rounds MLflow has


def prompts_input(file: DataFile) -> DatasetInput:
    """A file of prompts."""
    return _input(file, {CONTEXT: PROMPTS})


def round_inputs(record: RoundRecord) -> list[DatasetInput]:
    """The files that a round was trained on."""
    return [_input(file, {CONTEXT: TRAINING, ROUND: str(record.round)}) for file in record.files]


def round_metrics(record: RoundRecord) -> list[Metric]:
    """The metrics of a round, and the mark that they are there."""
    now = now_ms()
    pairs = [*record.metrics.items(), (ROUND, float(record.round))]
    return [Metric(name, value, now, record.round) for name, value in pairs]


def slices(items: Sequence[T], size: int) -> list[list[T]]:
    """The items in order, so many at a time."""
    return [list(items[first : first + size]) for first in range(0, len(items), size)]


def now_ms() -> int:
    """Milliseconds, as MLflow counts time."""
    return int(time.time() * 1000)


def _input(file: DataFile, tags: Mapping[str, str]) -> DatasetInput:
    # MLflow keeps one input of a name and digest a run, so the name is the file's own.
    source, profile = json.dumps({"uri": file.name}), json.dumps({"num_rows": file.num_rows})
    dataset = Dataset(file.label, file.digest, "local", source, profile=profile)
    return DatasetInput(dataset, [InputTag(name, value) for name, value in tags.items()])
