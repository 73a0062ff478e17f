"""MLflow: what is told of a run, and what can be read of it again."""

from omniopd.tracking.lookup import Lookup, TrackedRun
from omniopd.tracking.records import Checkpoint, DataFile, Origin, RoundRecord
from omniopd.tracking.tracker import SENT_LATER, Tracker

__all__ = [
    "SENT_LATER",
    "Checkpoint",
    "DataFile",
    "Lookup",
    "Origin",
    "RoundRecord",
    "TrackedRun",
    "Tracker",
]
