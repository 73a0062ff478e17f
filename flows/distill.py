"""The distill flow: the loop over rounds of one (arm, seed)."""

import json
import logging
import os
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from prefect import Flow, flow
from prefect.client.schemas.objects import FlowRun, State
from prefect.context import FlowRunContext

from flows import tasks
from flows.runtime.artifacts import Pages
from flows.runtime.checks import checked
from flows.runtime.logs import logged_to
from flows.runtime.outcome import leave_soon, on_interruption
from flows.runtime.processes import end_children
from flows.runtime.shards import Prefetch, Sharded, prefetching, sharded
from omniopd.command import warn
from omniopd.config import Params, load_params, resolve, variant_of
from omniopd.data.layout import Layout, RunLayout
from omniopd.data.lock import holder, only_writer
from omniopd.errors import OmniOPDError
from omniopd.garbage import freezable
from omniopd.inputs.base import check_models
from omniopd.inputs.stages import record
from omniopd.progress import Bar, bar
from omniopd.report.gather import write_report
from omniopd.report.run import progress_note, run_summary
from omniopd.rounds import alarms, ledger
from omniopd.rounds import steps as rounds
from omniopd.rounds.run import Run, open_run
from omniopd.rounds.start import start_run
from omniopd.rounds.sweep import chosen_rate
from omniopd.rounds.teacher_probe import probe_teacher
from omniopd.tracking.track import end_abandoned, log_recorded, log_round, tracker_of
from omniopd.tracking.tracker import Tracker

log = logging.getLogger(__name__)

PARAMS_FILE = Path("params.yaml")


def end_in_mlflow(flow: Flow[Any, Any], flow_run: FlowRun, state: State) -> None:
    """Prefect's hook for a cancelled or crashed run: end its MLflow run, which still shows as running.

    Does nothing if the run's process has ended it already, or another process continues the run.
    """
    del flow
    given = flow_run.parameters
    layout = Layout(Path(given["params_file"]).parent)
    files = layout.run(given["arm"], given["seed"], variant_of(given["overrides"] or {}))
    if not files.config.is_file() or holder(files.lock).startswith(f"process {os.getpid()} on "):
        return
    try:
        with only_writer(files.lock, of=str(files.root)):
            end_abandoned(files.root, "KILLED" if state.is_cancelled() else "FAILED")
    except OmniOPDError as error:
        log.warning("MLflow still shows the run as running: %s", error)


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
    """Distil one arm with one seed; a stopped run is resumed from its files. Returns the last checkpoint.

    Args:
        arm: One of `arms` or `ablations` in params.yaml.
        seed: Selects prompts, models and random streams.
        overrides: Settings to change for this run, by path, such as {"train.num_rounds": 20}. Such a run has a
            separate directory, and DVC does not version it.
        params_file: The settings; results are written to its directory.
    """
    params, layout = checked(params_file, overrides), Layout(params_file.parent)
    variant = variant_of(overrides or {})
    resolve(params, arm, seed, file=str(params_file))
    chosen_rate(params, arm, layout)
    files = layout.run(arm, seed, variant)
    with logged_to(files.log):
        # All runs of the seed share them, so they are made without the overrides.
        make_inputs(load_params(params_file), seed, layout)
        last = one_run(params, arm, seed, layout, files, overrides=overrides)
    if not variant and (arm, seed) in params.runs:
        stage = "distill" if arm in params.arms else "ablate"
        if complaint := record(params, layout, [f"prepare@{seed}", f"base@{seed}", f"{stage}@{arm}-{seed}"]):
            warn(complaint)
    return last


def make_inputs(params: Params, seed: int, layout: Layout) -> None:
    """Make the prompts and models of a seed if they are missing; under `dvc repro` DVC has made them.

    Raises:
        ModelError: a model has changed since DVC recorded it.
    """
    if "DVC_STAGE" in os.environ:
        check_models(seed, layout, teacher_is_local=params.teacher.is_local)
        return
    tasks.called(tasks.prepare)(params, seed, layout.root)
    tasks.called(tasks.base)(params, seed, layout.root)


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
    """Do the rounds of a run that are not complete. Returns the last checkpoint."""
    name = f"{arm}, seed {seed}" + (f", lr {swept_lr:g}" if swept_lr is not None else "")
    with only_writer(files.lock, of=str(files.root)), on_interruption(_end_soon):
        run_dir = start_run(
            params, arm, seed, layout, swept_lr=swept_lr, variant=variant_of(overrides or {}),
            warn=_sound,
        )  # fmt: skip
        run = open_run(run_dir)
        tracker = tracker_of(run, warn=warn)
        if overrides:
            tracker.tag({"omniopd.overrides": json.dumps(overrides, sort_keys=True)})
        pages = Pages(files.root.name)
        with (
            bar(name, run.config.train.num_rounds) as shown,
            sharded(run.config) as shards,
            prefetching() as prefetch,
        ):
            shown.say(f"{name}: details in {files.log if swept_lr is None else layout.sweep_log(arm, seed)}")
            try:
                last = _rounds(run, tracker, shown, pages, shards, prefetch)
            except BaseException as error:
                tracker.stop("FAILED" if isinstance(error, Exception) else "KILLED")
                raise
            finally:
                run.models.release("teacher", "engine")
                tracker.close()
            accuracy = ledger.last_accuracy(run_dir)
            shown.say(f"{name}: greedy {accuracy:.3f} on validation prompts at the end")
            return last


def _rounds(
    run: Run, tracker: Tracker, shown: Bar, pages: Pages, shards: Sharded, prefetch: Prefetch
) -> Path:
    run_dir, num_rounds = run.files.root, run.config.train.num_rounds
    ledger.tidy(run_dir)
    log_recorded(tracker, run)
    pages.link(tracker.page)
    if not ledger.run_is_finished(run_dir):
        probe_teacher(run)
    prefetched = None
    with freezable() as freeze:
        for round_ in range(num_rounds):
            if ledger.round_is_complete(run_dir, round_):
                shown.skip_to(round_ + 1)
                prefetched = None
            else:
                accuracy, prefetched = _one_round(run, round_, shards, prefetched, prefetch)
                freeze()
                log_round(tracker, run, round_)
                _sound(*alarms.begun_in(run_dir, round_))
                metrics = ledger.recorded_metrics(run_dir)
                if accuracy is not None:
                    pages.accuracies(metrics)
                shown.update(round_ + 1, progress_note(metrics))
            pages.progress(round_ + 1, num_rounds)
    if not ledger.run_is_finished(run_dir):
        tasks.limited(tasks.finish, run)(run_dir, tasks.limited(tasks.validate, run)(run_dir, num_rounds))
        log_round(tracker, run, num_rounds)
        _sound(*alarms.begun_in(run_dir, num_rounds))
    ledger.tidy(run_dir)
    report = _report(run, tracker)
    tracker.finish()
    if report is not None:
        pages.report(tracker.report_page or report.resolve().as_uri())
    metrics = ledger.recorded_metrics(run_dir)
    pages.accuracies(metrics)
    pages.summary(run_summary(run.config, metrics, page=tracker.page))
    return run.files.checkpoint(num_rounds)


def _report(run: Run, tracker: Tracker) -> Path | None:
    """Write the run's report and log it to MLflow. A failure does not stop the run; `omniopd report` shows it."""
    try:
        path = write_report(run.files.root)
    except OmniOPDError as error:
        warn(f"{run.files.root.name}: its report was not written: {error}")
        return None
    tracker.report_done(path)
    return path


def _sound(*lines: str) -> None:
    """Print warnings, and log them."""
    warn(*lines)
    for line in lines:
        log.warning(line)


def _one_round(
    run: Run, round_: int, shards: Sharded, prefetched: Future[list[Path]] | None, prefetch: Prefetch
) -> tuple[float | None, Future[list[Path]] | None]:
    """Validate where it is due, roll out, schedule, get verdicts or rewards, train.

    `prefetched`: the round's responses if the round before started them. Returns the accuracy if it was measured, and
    the responses of the next round if this one started them.
    """
    run_dir = run.files.root
    if run.config.compute.num_processes > 1:  # rebuilt by all of them: one alone would round differently
        for before in sorted({run.config.rollout.weights_of(round_), round_}):
            if run.saved(before) is None:
                tasks.limited(tasks.rebuild, run)(run_dir, before)
    is_due = round_ % run.config.train.validate_every == 0
    accuracy = tasks.limited(tasks.validate, run)(run_dir, round_) if is_due else None
    responses = prefetched.result() if prefetched else shards(tasks.roll_out, run_dir, round_)
    tasks.limited(tasks.schedule, run)(run_dir, round_, responses)
    next_responses = None
    if run.config.rollout.overlap and round_ + 1 < run.config.train.num_rounds:
        next_responses = prefetch(lambda: shards(tasks.roll_out, run_dir, round_ + 1))
    if "rewards" in run.config.method.needs:
        tasks.called(tasks.reward)(run_dir, round_)  # too little work for shards
    if "verdicts" in run.config.method.needs:
        paths = shards(tasks.verify, run_dir, round_)
        rounds.merge_verdicts(run_dir, round_, paths)  # quicker than starting a task
    metrics = tasks.limited(tasks.train, run)(run_dir, round_, accuracy)
    log.info("round %d: %s", round_, metrics)
    return accuracy, next_responses


def _end_soon() -> None:
    """End the processes that steps run in, and in a flow run this process too, which is the flow's."""
    end_children()
    if FlowRunContext.get() is not None:
        leave_soon()
