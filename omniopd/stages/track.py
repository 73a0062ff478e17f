"""What MLflow is told, read from the files of a run."""

from collections.abc import Callable
from typing import Any

from omniopd.data.layout import Layout
from omniopd.data.store import read_json
from omniopd.engines.checkpoints import RECEIPT
from omniopd.stages.run import Run, open_run
from omniopd.tracking import RoundRecord, Tracker


def tracker_of(run: Run, warn: Callable[[str], None]) -> Tracker:
    """The tracker of a run."""
    return Tracker(run.config, key=run.key, root=run.layout.root, warn=warn)


def tell_recorded(tracker: Tracker, run: Run) -> None:
    """Tell of every completed round and checkpoint; the tracker sends those that MLflow does not have."""
    for manifest in sorted(run.files.manifest(0).parent.glob("round-*.json")):
        tracker.round_done(_record(read_json(manifest)))
    for round_ in range(1, run.config.train.num_rounds + 1):
        if run.has_checkpoint(round_):
            tracker.checkpoint_done(round_, run.files.checkpoint(round_), _weights_md5(run, round_))


def tell_round(tracker: Tracker, run: Run, round_: int) -> None:
    """Tell of one completed round, and of the checkpoint that it ended with, if it did."""
    if run.has_checkpoint(round_ + 1):
        path = run.files.checkpoint(round_ + 1)
        tracker.checkpoint_done(round_ + 1, path, _weights_md5(run, round_ + 1))
    tracker.round_done(_record(read_json(run.files.manifest(round_))))


def track_evaluation(record: dict[str, Any], layout: Layout, warn: Callable[[str], None]) -> None:
    """Log held-out accuracies on the run and on the model that they belong to."""
    run = open_run(layout.run(record["arm"], record["seed"]).root)
    last = run.config.train.num_rounds
    metrics = {
        f"heldout/{how}/{when}": record[when][how]["accuracy"]
        for when in ("before", "after")
        for how in record[when]
    }
    tracker = tracker_of(run, warn)
    tracker.log_heldout(metrics, checkpoint=run.files.checkpoint(last), digest=_weights_md5(run, last))
    tracker.finish()


def _record(manifest: dict[str, Any]) -> RoundRecord:
    return RoundRecord(manifest["round"], manifest["metrics"], manifest["files"])


def _weights_md5(run: Run, round_: int) -> str:
    return read_json(run.files.checkpoint(round_) / RECEIPT)["files"]["model.safetensors"]
