"""MLflow: logging a run, and reading runs back."""

from omniopd.tracking.connection import end_if_running
from omniopd.tracking.lookup import Lookup, TrackedRun
from omniopd.tracking.models import MeasuredModel, log_scores, score_metrics
from omniopd.tracking.records import Checkpoint, DataFile, Origin, RoundRecord
from omniopd.tracking.tracker import SENT_LATER, Tracker

__all__ = [
    "SENT_LATER",
    "Checkpoint",
    "DataFile",
    "Lookup",
    "MeasuredModel",
    "Origin",
    "RoundRecord",
    "TrackedRun",
    "Tracker",
    "end_if_running",
    "log_scores",
    "score_metrics",
]
