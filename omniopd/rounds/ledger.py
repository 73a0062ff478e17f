"""The record of a run on disk: which rounds are complete, and what they hold."""

import json
import shutil
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from omniopd.config import Train
from omniopd.data.metrics import ACCURACY
from omniopd.data.receipts import valid_receipt, work_key, write_receipt
from omniopd.data.records import Reward, Trajectory, Verdict
from omniopd.data.store import read_column, read_json, read_records, remove, write_atomic
from omniopd.methods import Annotated, Need
from omniopd.rounds.failures import failure_metrics
from omniopd.rounds.run import Run, open_run


def round_is_complete(run_dir: Path, round_: int) -> bool:
    """Whether the round's manifest exists, is of this run, and names only files that are whole."""
    run = open_run(run_dir)
    manifest = run.files.manifest(round_)
    return valid_receipt(manifest, key=work_key(run.key, "round", round_), base=run_dir) is not None


def run_is_finished(run_dir: Path) -> bool:
    """Whether the last manifest and every due checkpoint exist and match their receipts."""
    run = open_run(run_dir)
    is_complete = round_is_complete(run_dir, run.config.train.num_rounds)
    return is_complete and all(map(run.has_checkpoint, due_checkpoints(run.config.train)))


def last_accuracy(run_dir: Path) -> float:
    """Greedy accuracy on the validation prompts at the end of a finished run."""
    run = open_run(run_dir)
    return read_json(run.files.manifest(run.config.train.num_rounds), "metrics")["metrics"][ACCURACY]


def recorded_metrics(run_dir: Path, rounds: range | None = None) -> list[dict[str, float]]:
    """The metrics of the completed ones of these rounds, by default of all, in order, with the number as `round`."""
    run = open_run(run_dir)
    if rounds is None:
        rounds = range(run.config.train.num_rounds + 1)
    completed = [r for r in rounds if run.files.manifest(r).exists()]
    return [{"round": r, **read_json(run.files.manifest(r), "metrics")["metrics"]} for r in completed]


def seconds_by_stage(run: Run) -> dict[str, float]:
    """Seconds by stage in timings.jsonl; a line that a killed process left incomplete is skipped."""
    path, seconds = run.files.timings, defaultdict[str, float](float)
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else ():
        try:
            entry = json.loads(line)
            seconds[entry["stage"]] += entry["seconds"]
        except (ValueError, KeyError, TypeError):
            continue
    return dict(seconds)


def annotations(run: Run, round_: int) -> dict[Need, Path]:
    """The files with the annotations that the method needs of a round."""
    files: dict[Need, Path] = {"verdicts": run.files.verdicts(round_), "rewards": run.files.rewards(round_)}
    return {need: path for need, path in files.items() if need in run.config.method.needs}


def annotated_round(run: Run, round_: int) -> list[Annotated]:
    """A round's trajectories with their annotations, without those that the teacher failed to answer."""
    trajectories = [
        item for item in read_records(run.files.trajectories(round_), Trajectory) if not item.failure
    ]
    verdicts: dict[str, list[Verdict]] = {trajectory.id: [] for trajectory in trajectories}
    rewards: dict[str, float] = {}
    files = annotations(run, round_)
    if "verdicts" in files:
        for verdict in read_records(files["verdicts"], Verdict):
            if not verdict.failure:
                verdicts[verdict.trajectory_id].append(verdict)
    if "rewards" in files:
        rewards = {row.id: row.reward for row in read_records(files["rewards"], Reward)}
    return [
        Annotated(trajectory, verdicts[trajectory.id], rewards.get(trajectory.id))
        for trajectory in trajectories
    ]


def failures_of_round(run: Run, round_: int) -> dict[str, float]:
    """Failed requests to the teacher and failures of the grader: counts in all and by reason."""
    files = annotations(run, round_)
    graded = files.pop("rewards", None)
    from_teacher = [run.files.trajectories(round_), *files.values()]
    failures = [failure for path in from_teacher for failure in read_column(path, "failure")]
    metrics = failure_metrics("teacher_failures", failures)
    return metrics | (failure_metrics("grader_failures", read_column(graded, "failure")) if graded else {})


def due_checkpoints(settings: Train) -> list[int]:
    """The rounds before which the state is kept, including the end of the run."""
    last = settings.num_rounds
    return [
        round_ for round_ in range(1, last + 1) if round_ % settings.checkpoint_every == 0 or round_ == last
    ]


def complete_round(
    run: Run, round_: int, metrics: dict[str, float], files: Sequence[Path] | None = None
) -> None:
    """Write the manifest that completes the round, over its datasets or `files`; remove its temporary files."""
    if files is None:
        files = [run.files.trajectories(round_), *annotations(run, round_).values()]
    write_receipt(
        run.files.manifest(round_),
        key=work_key(run.key, "round", round_),
        files=files,
        base=run.files.root,
        more={"round": round_, "metrics": metrics},
    )
    with run.files.metrics.open("a", encoding="utf-8") as file:
        file.write(_metrics_line(round_, metrics))
    shutil.rmtree(run.files.receipt(round_, "").parent, ignore_errors=True)


def tidy(run_dir: Path) -> None:
    """Remove broken manifests and stale files, and rewrite metrics.jsonl if it differs from the manifests."""
    run = open_run(run_dir)
    num_rounds = run.config.train.num_rounds
    for round_ in range(num_rounds + 1):
        if not round_is_complete(run_dir, round_):
            remove(run.files.manifest(round_))
    _prune(run)
    paths = sorted(run.files.manifest(0).parent.glob("*.json"))
    manifests = [read_json(path, "round", "metrics") for path in paths]
    text = "".join(_metrics_line(manifest["round"], manifest["metrics"]) for manifest in manifests)
    if not run.files.metrics.is_file() or run.files.metrics.read_bytes() != text.encode():
        write_atomic(run.files.metrics, lambda partial: partial.write_text(text, encoding="utf-8"))


def _metrics_line(round_: int, metrics: dict[str, float]) -> str:
    return json.dumps({"round": round_, **metrics}, sort_keys=True) + "\n"


def _prune(run: Run) -> None:
    """Remove files that are no output of this run: DVC would version them with its folders."""
    num_rounds = run.config.train.num_rounds
    checkpoints = run.files.checkpoint(0).parent
    keep = {run.files.checkpoint(round_) for round_ in due_checkpoints(run.config.train)} | {
        run.files.manifest(num_rounds)
    }
    for round_ in range(num_rounds):
        keep |= {run.files.trajectories(round_), run.files.verdicts(round_), run.files.rewards(round_)}
        keep.add(run.files.manifest(round_))
    for folder in {path.parent for path in keep}:
        for path in folder.iterdir() if folder.is_dir() else ():
            if path not in keep or path.is_dir() != (folder == checkpoints):
                remove(path)
    if run_is_finished(run.files.root):
        shutil.rmtree(run.files.work, ignore_errors=True)
