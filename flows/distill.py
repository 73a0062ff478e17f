"""The distill flow: the loop over rounds of one (arm, seed)."""

import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.context import FlowRunContext

from flows import tasks
from flows.runtime.artifacts import Pages
from flows.runtime.checks import checked
from flows.runtime.hooks import end_in_mlflow
from flows.runtime.logs import logged_to
from flows.runtime.outcome import leave_soon
from flows.runtime.prefetch import Begin, ahead
from flows.runtime.processes import end_children
from flows.runtime.shards import Sharded, sharded
from omniopd.command import warn
from omniopd.config import Params, load_params, resolve, variant_of
from omniopd.data.layout import Layout, RunLayout
from omniopd.data.lock import only_writer
from omniopd.errors import OmniOPDError
from omniopd.garbage import freezable
from omniopd.inputs.stages import record
from omniopd.progress import Bar, bar
from omniopd.report.gather import write_report
from omniopd.report.run import run_summary
from omniopd.rounds import alarms, ledger
from omniopd.rounds import steps as rounds
from omniopd.rounds.run import Run, open_run
from omniopd.rounds.start import start_run
from omniopd.rounds.sweep import chosen_rate
from omniopd.rounds.teacher_probe import probe_teacher
from omniopd.tracking import Tracker
from omniopd.tracking.track import tell_recorded, tell_round, tracker_of

log = logging.getLogger(__name__)

PARAMS_FILE = Path("params.yaml")


def annotate_verdicts(run_dir: Path, round_: int, shards: Sharded) -> None:
    """Ask the teacher about the round, in shards."""
    paths = shards(tasks.verify, run_dir, round_)
    rounds.merge_verdicts(run_dir, round_, paths)  # a file from files: quicker than a task begins


def annotate_rewards(run_dir: Path, round_: int, shards: Sharded) -> None:
    """Verify the answers of the round; too little work to be sharded."""
    del shards
    tasks.called(tasks.reward)(run_dir, round_)


# What a method may need of a trajectory, and the tasks that find it out. The distributions of the
# reference and of the teacher need none: the trainer reads them.
ANNOTATORS: dict[str, Callable[[Path, int, Sharded], None]] = {
    "verdicts": annotate_verdicts,
    "rewards": annotate_rewards,
}


@flow(
    name="distill",
    flow_run_name="{arm}-{seed}",
    persist_result=False,
    on_cancellation=[end_in_mlflow],
    on_crashed=[end_in_mlflow],
)
def distill(
    arm: str, seed: int = 0, overrides: dict[str, Any] | None = None, params_file: Path = PARAMS_FILE
) -> Path:
    """Distil one arm with one seed, from where its files say that it stands. Returns the last checkpoint.

    Args:
        arm: One of `arms` or `ablations` in params.yaml.
        seed: Which prompts, models and random streams.
        overrides: Settings that this run has otherwise, by their path, such as {"train.num_rounds": 20}. Its results
            lie beside those of the run without them, and DVC does not version them.
        params_file: The file of settings; results lie beside it.
    """
    params, layout = checked(params_file, overrides), Layout(params_file.parent)
    variant = variant_of(overrides or {})
    resolve(params, arm, seed, file=str(params_file))
    chosen_rate(params, arm, layout)
    files = layout.run(arm, seed, variant)
    with logged_to(files.log):
        # Shared by all runs of the seed, so made of params.yaml as it is.
        make_inputs(load_params(params_file), seed, layout)
        last = one_run(params, arm, seed, layout, files, overrides=overrides)
    if not variant:
        record_in_dvc(params, arm, seed, layout)
    return last


def make_inputs(params: Params, seed: int, layout: Layout) -> None:
    """The prompts and models of a seed, made where they are not there; under `dvc repro` DVC has made them."""
    if "DVC_STAGE" not in os.environ:
        tasks.called(tasks.prepare)(params, seed, layout.root)
        tasks.called(tasks.base)(params, seed, layout.root)


def record_in_dvc(params: Params, arm: str, seed: int, layout: Layout) -> None:
    """Have DVC version what a run made that it did not start."""
    distil = "distill" if arm in params.arms else "ablate"
    if seed not in (params.seeds if distil == "distill" else params.ablation_seeds):
        return
    complaint = record(params, layout, [f"prepare@{seed}", f"base@{seed}", f"{distil}@{arm}-{seed}"])
    warn([complaint] if complaint else [])


def one_run(
    params: Params,
    arm: str,
    seed: int,
    layout: Layout,
    files: RunLayout,
    *,
    swept_lr: float | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Path:
    """All rounds of a run that are not done yet. Returns the last checkpoint."""
    name = f"{arm}, seed {seed}" + (f", lr {swept_lr:g}" if swept_lr is not None else "")
    with only_writer(files.lock, of=str(files.root)), _ending_soon():
        run_dir = start_run(params, arm, seed, layout, swept_lr=swept_lr, variant=variant_of(overrides or {}))
        run = open_run(run_dir)
        tracker = tracker_of(run, warn=lambda line: warn([line]))
        if overrides:
            tracker.tag({"omniopd.overrides": json.dumps(overrides, sort_keys=True)})
        pages = Pages(files.root.name)
        with (
            bar(name, run.config.train.num_rounds) as shown,
            sharded(run.config) as shards,
            ahead() as begin,
        ):
            shown.say(f"{name}: details in {files.log if swept_lr is None else layout.sweep_log(arm, seed)}")
            try:
                last = _rounds(run, tracker, shown, pages, shards, begin)
            except BaseException as error:
                tracker.stop("FAILED" if isinstance(error, Exception) else "KILLED")
                raise
            finally:
                run.models.release("teacher", "engine")
                tracker.close()
            accuracy = ledger.last_accuracy(run_dir)
            shown.say(f"{name}: greedy {accuracy:.3f} on validation prompts at the end")
            return last


def _rounds(run: Run, tracker: Tracker, shown: Bar, pages: Pages, shards: Sharded, begin: Begin) -> Path:
    run_dir, num_rounds = run.files.root, run.config.train.num_rounds
    ledger.tidy(run_dir)
    tell_recorded(tracker, run)
    pages.link(tracker.page)
    if not ledger.run_is_finished(run_dir):
        probe_teacher(run)
    note, written = "", None
    with freezable() as freeze:
        for round_ in range(num_rounds):
            if ledger.round_is_complete(run_dir, round_):
                shown.skip_to(round_ + 1)
                written = None
            else:
                accuracy, written = _one_round(run, round_, shards, written, begin)
                freeze()
                tell_round(tracker, run, round_)
                _sound(alarms.begun_in(run_dir, round_))
                if accuracy is not None:
                    note = f"greedy {accuracy:.3f} on validation prompts"
                    pages.accuracies(ledger.accuracies(run_dir))
                shown.update(round_ + 1, note)
            pages.progress(round_ + 1, num_rounds)
    if not ledger.run_is_finished(run_dir):
        tasks.limited(tasks.finish, run)(run_dir, tasks.limited(tasks.validate, run)(run_dir, num_rounds))
        tell_round(tracker, run, num_rounds)
        _sound(alarms.begun_in(run_dir, num_rounds))
    ledger.tidy(run_dir)
    report = _report(run, tracker)
    tracker.finish()
    if report is not None:
        pages.report(tracker.report_page or report.resolve().as_uri())
    pages.accuracies(ledger.accuracies(run_dir))
    pages.summary(run_summary(run.config, ledger.recorded_metrics(run_dir), page=tracker.page))
    return run.files.checkpoint(num_rounds)


def _report(run: Run, tracker: Tracker) -> Path | None:
    """Write the run's report, for MLflow too. One that cannot be written stops no run: `omniopd report` tells why."""
    try:
        path = write_report(run.files.root)
    except OmniOPDError as error:
        warn([f"{run.files.root.name}: its report is not written: {error}"])
        return None
    tracker.report_done(path)
    return path


def _sound(lines: list[str]) -> None:
    """Say in the terminal and in the log which alarms begin."""
    warn(lines)
    for line in lines:
        log.warning(line)


def _one_round(
    run: Run, round_: int, shards: Sharded, written: Future[list[Path]] | None, begin: Begin
) -> tuple[float | None, Future[list[Path]] | None]:
    """Roll out, schedule, find out what the method needs, train.

    `written` are the round's responses where they were begun before it. Returns the accuracy where it was measured, and
    the responses of the next round where they are begun in this one.
    """
    run_dir = run.files.root
    if run.config.compute.num_processes > 1:
        for before in sorted({run.config.rollout.weights_of(round_), round_}):
            if run.saved(before) is None:
                tasks.limited(tasks.rebuild, run)(run_dir, before)  # one process alone would round otherwise
    is_due = round_ % run.config.train.validate_every == 0
    accuracy = tasks.limited(tasks.validate, run)(run_dir, round_) if is_due else None
    responses = written.result() if written else shards(tasks.roll_out, run_dir, round_)
    tasks.limited(tasks.schedule, run)(run_dir, round_, responses)
    following = None
    if run.config.rollout.overlap and round_ + 1 < run.config.train.num_rounds:
        following = begin(lambda: shards(tasks.roll_out, run_dir, round_ + 1))
    for need in sorted(run.config.method.needs & ANNOTATORS.keys()):
        ANNOTATORS[need](run_dir, round_, shards)
    metrics = tasks.limited(tasks.train, run)(run_dir, round_, accuracy)
    log.info("round %d: %s", round_, metrics)
    return accuracy, following


@contextmanager
def _ending_soon() -> Iterator[None]:
    """Where the block is interrupted, end the processes that it started, and before long this one."""
    try:
        yield
    except Exception:
        raise
    except BaseException:
        end_children()
        if FlowRunContext.get() is not None:  # the process is the flow's
            leave_soon()
        raise
