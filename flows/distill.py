"""The distill flow: the loop over rounds of one (arm, seed)."""

import logging
from collections.abc import Callable
from pathlib import Path

from prefect import flow
from prefect.tasks import Task

from flows import tasks
from omniopd.cli import warn
from omniopd.config import load_params
from omniopd.data.layout import Layout
from omniopd.data.lock import only_writer
from omniopd.progress import Bar, bar
from omniopd.stages import ledger, rounds
from omniopd.stages.meet import meet_teacher
from omniopd.stages.run import Run, open_run, start_run
from omniopd.stages.track import tell_recorded, tell_round, tracker_of
from omniopd.tracking import Tracker

log = logging.getLogger(__name__)


def annotate_verdicts(run_dir: Path, round_: int, num_shards: int) -> None:
    """Ask the teacher about the round, in shards."""
    shards = _sharded(tasks.verify, run_dir, round_, num_shards)
    rounds.merge_verdicts(run_dir, round_, shards)  # a file from files: quicker than a task begins


def annotate_rewards(run_dir: Path, round_: int, num_shards: int) -> None:
    """Verify the answers of the round; too little work to be sharded."""
    del num_shards
    tasks.reward(run_dir, round_)


# What a method may need of a trajectory, and the tasks that find it out. The distributions of the
# reference and of the teacher need none: the trainer reads them.
ANNOTATORS: dict[str, Callable[[Path, int, int], None]] = {
    "verdicts": annotate_verdicts,
    "rewards": annotate_rewards,
}


@flow(name="distill", flow_run_name="{arm}-{seed}", persist_result=False)
def distill(
    arm: str, seed: int = 0, params_file: Path = Path("params.yaml"), swept_lr: float | None = None
) -> Path:
    """Distil one arm with one seed, from where its files say that it stands. Returns the last checkpoint.

    Args:
        arm: one of `arms` in params.yaml.
        seed: which prompts, models and random streams.
        params_file: the file of settings; results lie beside it.
        swept_lr: the learning rate, for a run of a sweep; otherwise the arm's own, or the one that its sweep chose.
    """
    params = load_params(params_file)
    layout = Layout(params_file.parent)
    files = layout.run(arm, seed) if swept_lr is None else layout.sweep_run(arm, seed, swept_lr)
    name = f"{arm}, seed {seed}" + (f", lr {swept_lr:g}" if swept_lr is not None else "")
    with only_writer(files.lock, of=str(files.root)):
        run_dir = start_run(params, arm, seed, layout, swept_lr=swept_lr)
        run = open_run(run_dir)
        tracker = tracker_of(run, warn=lambda line: warn([line]))
        with bar(name, run.config.train.num_rounds) as shown:
            shown.say(f"{name}: details in {files.log if swept_lr is None else layout.sweep_log(arm, seed)}")
            try:
                last = _rounds(run, tracker, shown)
            finally:
                run.let_go_of_teacher()
            accuracy = ledger.last_accuracy(run_dir)
            shown.say(f"{name}: greedy {accuracy:.3f} on validation prompts at the end")
            return last


def _rounds(run: Run, tracker: Tracker, shown: Bar) -> Path:
    run_dir, num_rounds = run.files.root, run.config.train.num_rounds
    ledger.tidy(run_dir)
    tell_recorded(tracker, run)
    if not ledger.run_is_finished(run_dir):
        meet_teacher(run)
    note = ""
    for round_ in range(num_rounds):
        if not ledger.round_is_complete(run_dir, round_):
            accuracy = _one_round(run, round_)
            tell_round(tracker, run, round_)
            if accuracy is not None:
                note = f"greedy {accuracy:.3f} on validation prompts"
        shown.update(round_ + 1, note)
    if not ledger.run_is_finished(run_dir):
        tasks.finish(run_dir, tasks.validate(run_dir, num_rounds))
        tell_round(tracker, run, num_rounds)
    ledger.tidy(run_dir)
    tracker.finish()
    return run.files.checkpoint(num_rounds)


def _one_round(run: Run, round_: int) -> float | None:
    """Roll out, schedule, find out what the method needs, train. Returns the accuracy where it was measured."""
    run_dir, num_shards = run.files.root, run.config.rollout.num_shards
    accuracy = tasks.validate(run_dir, round_) if round_ % run.config.train.validate_every == 0 else None
    tasks.schedule(run_dir, round_, _sharded(tasks.roll_out, run_dir, round_, num_shards))
    for need in sorted(run.config.method.needs & ANNOTATORS.keys()):
        ANNOTATORS[need](run_dir, round_, num_shards)
    metrics = tasks.train(run_dir, round_, accuracy)
    log.info("round %d: %s", round_, metrics)
    return accuracy


def _sharded(step: Task[[Path, int, int], Path], run_dir: Path, round_: int, num_shards: int) -> list[Path]:
    """Run a task once a shard, side by side where there are several, and return the paths in order."""
    if num_shards == 1:
        return [step(run_dir, round_, 0)]
    futures = [step.submit(run_dir, round_, index) for index in range(num_shards)]
    return [future.result() for future in futures]
