"""A run's files, evaluations and comparisons, logged to MLflow."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from omniopd.data.layout import Layout
from omniopd.data.metrics import ACCURACY
from omniopd.data.receipts import work_key
from omniopd.data.store import num_rows, read_json
from omniopd.errors import DataError
from omniopd.grading.accuracy import WAYS
from omniopd.rounds.ledger import due_checkpoints
from omniopd.rounds.reading import reading
from omniopd.rounds.run import Run, open_run
from omniopd.tracking.connection import end_if_running
from omniopd.tracking.models import score_metrics
from omniopd.tracking.records import Checkpoint, DataFile, Origin, RoundRecord
from omniopd.tracking.tracker import SENT_LATER, Tracker
from omniopd.training.checkpoints import weights_md5


def tracker_of(run: Run, warn: Callable[[str], None], later: str = SENT_LATER) -> Tracker:
    """The tracker of a run; `later` ends its warning: how MLflow gets what it missed."""
    inputs = read_json(run.files.config, "inputs")["inputs"]
    root = run.layout.root
    prompts = [
        _data_file(run.layout.prompts(run.config.seed, split), root, inputs[split])
        for split in ("train", "validation")
    ]
    origin = Origin(run.files.config, inputs, prompts)
    return Tracker(run.config, key=run.key, origin=origin, root=root, warn=warn, later=later)


def log_recorded(tracker: Tracker, run: Run) -> None:
    """Begin, and log every completed round and checkpoint; the tracker sends those that MLflow does not have."""
    tracker.begin()
    _log_checkpoints(tracker, run)
    for manifest in sorted(run.files.manifest(0).parent.glob("round-*.json")):
        tracker.round_done(_record(run, manifest))


def log_round(tracker: Tracker, run: Run, round_: int) -> None:
    """Log a completed round and the checkpoint that it ended with, if it did; after the last round, all checkpoints."""
    if round_ == run.config.train.num_rounds:
        _log_checkpoints(tracker, run)  # those that were missing are made at the end
    elif run.has_checkpoint(round_ + 1):
        tracker.checkpoint_done(_checkpoint(run, round_ + 1))
    tracker.round_done(_record(run, run.files.manifest(round_)))


def _log_checkpoints(tracker: Tracker, run: Run) -> None:
    for round_ in due_checkpoints(run.config.train):
        if run.has_checkpoint(round_):
            tracker.checkpoint_done(_checkpoint(run, round_))


def end_abandoned(run_dir: Path, status: Literal["KILLED", "FAILED"]) -> None:
    """End the MLflow run of a process that died before it could do so.

    Raises:
        TrackingError: MLflow does not answer.
    """
    run = open_run(run_dir)
    if run.config.tracking.enabled:
        end_if_running(run.config, key=run.key, folder=run_dir.name, status=status)


def track_evaluation(
    record: dict[str, Any], layout: Layout, warn: Callable[[str], None], *, variant: str = ""
) -> None:
    """Log held-out accuracies and the teacher's tokens and cost on the run and on its last checkpoint."""
    arm, seed = record["arm"], record["seed"]
    resend = "the same command" if variant else "`omniopd compare`"
    later = f"{layout.evaluation(arm, seed, variant)} is written; {resend} sends it when MLflow is back."
    with reading(layout.run(arm, seed, variant).root) as run:
        tracker = tracker_of(run, warn, later)
        _log_heldout(tracker, run, record)
        tracker.finish()


def _log_heldout(tracker: Tracker, run: Run, record: dict[str, Any]) -> None:
    metrics = {f"total/{name}": float(record[name]) for name in ("teacher_tokens", "cost_usd")}
    for when in ("before", "after"):
        for how in WAYS:
            metrics[f"heldout/{how}/{when}"] = record[when][how]["accuracy"]
        for who, entropy in record[when]["fork_entropy"].items():
            metrics[f"heldout/fork_entropy_{who}/{when}"] = entropy
        for benchmark, score in record[when].get("benchmarks", {}).items():
            metrics |= {f"{name}/{when}": value for name, value in score_metrics(benchmark, score).items()}
    tracker.log_heldout(metrics, _checkpoint(run, run.config.train.num_rounds))


def track_comparison(
    evaluations: Sequence[dict[str, Any]], layout: Layout, warn: Callable[[str], None]
) -> None:
    """Tag the compared runs as one comparison, and register each arm's best checkpoint with the alias `best`.

    Best is the checkpoint of highest greedy accuracy on the validation prompts over all seeds of an arm; the held-out
    prompts choose nothing. Runs whose files are not here are left out. What `track_evaluation` could not log is logged
    too.
    """
    later = "comparison.json is written; call `omniopd compare` again when MLflow is back."
    name = work_key("comparison", sorted(record["key"] for record in evaluations))
    best: dict[str, tuple[float, int, int]] = {}
    for record in evaluations:
        arm, seed = record["arm"], record["seed"]
        if not layout.run(arm, seed).config.exists():
            continue
        with reading(layout.run(arm, seed).root) as run:
            tracker = tracker_of(run, warn, later)
            tracker.tag({"omniopd.comparison": name})
            is_evaluated = record["key"] == run.key and run.has_checkpoint(run.config.train.num_rounds)
            if is_evaluated and not tracker.has_failed:
                _log_heldout(tracker, run, record)
                tracker.finish()
            if tracker.has_failed:
                return
            for point in record["curves"][ACCURACY]:
                candidate = (point["value"], point["round"], seed)
                if run.has_checkpoint(point["round"]) and candidate > best.get(arm, (-1.0, 0, 0)):
                    best[arm] = candidate
    for arm, (accuracy, round_, seed) in best.items():
        with reading(layout.run(arm, seed).root) as run:
            tracker_of(run, warn, later).register_best(_checkpoint(run, round_), accuracy=accuracy)


def _record(run: Run, manifest: Path) -> RoundRecord:
    content, root = read_json(manifest, "metrics"), run.files.root
    files = [_data_file(root / name, root, digest) for name, digest in content["files"].items()]
    return RoundRecord(content["round"], content["metrics"], files)


def _data_file(path: Path, root: Path, digest: str) -> DataFile:
    return DataFile(path.relative_to(root).as_posix(), digest, num_rows(path))


def _checkpoint(run: Run, round_: int) -> Checkpoint:
    """The checkpoint before that round; its parent is the nearest earlier one whose receipt can be read."""
    earlier = [_weights_md5(run, r) for r in reversed(due_checkpoints(run.config.train)) if r < round_]
    parent = next(filter(None, earlier), read_json(run.files.config, "inputs")["inputs"]["student"])
    weights = _weights_md5(run, round_)
    assert weights is not None, "it is whole"
    return Checkpoint(round_, run.files.checkpoint(round_), weights, parent)


def _weights_md5(run: Run, round_: int) -> str | None:
    try:
        return weights_md5(run.files.checkpoint(round_))
    except (DataError, KeyError, TypeError):
        return None
