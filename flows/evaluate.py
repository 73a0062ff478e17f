"""The flows evaluate and compare: the commands of the same names, for starting them in Prefect."""

from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.runtime import flow_run

from flows.distill import PARAMS_FILE
from flows.runtime.artifacts import Pages
from flows.runtime.checks import checked
from flows.tasks import gpu
from omniopd.command import warn
from omniopd.config import Params, resolve, variant_of
from omniopd.config.benchmarks import measurements, with_suite
from omniopd.data.layout import Layout
from omniopd.errors import ConfigError
from omniopd.evaluation import evaluate as measuring
from omniopd.evaluation.subjects import folder_of, measure_model
from omniopd.inputs.stages import record
from omniopd.report.compare import compare as collect
from omniopd.tracking.track import track_comparison, track_evaluation


def _run_name() -> str:
    given = flow_run.get_parameters()
    return given["model"] or f"{given['arm']}-{given['seed']}"


@task(
    name="evaluate",
    task_run_name="evaluate · {arm}-{seed}{variant}",
    cache_policy=NO_CACHE,
    persist_result=False,
)
def measure(params: Params, arm: str, seed: int, root: Path, variant: str) -> dict[str, Any]:
    """Held-out accuracies and benchmarks before and after training, written to disk and logged to MLflow."""
    with gpu(params.compute):
        record = measuring.evaluate(arm, seed, Layout(root), variant, benchmarks=params.benchmarks)
    warn(*record["notes"])
    track_evaluation(record, Layout(root), variant=variant, warn=warn)
    return record


@task(name="benchmark", task_run_name="benchmark · {model}", cache_policy=NO_CACHE, persist_result=False)
def benchmark(params: Params, model: str, root: Path) -> dict[str, dict[str, Any]]:
    """The record of each benchmark of params, written to disk and logged to MLflow."""
    with gpu(params.compute):
        measured = measure_model(model, params, Layout(root), on_items=lambda *_: None, warn=warn)
    warn(*(note for benchmark in measured for note in benchmark.notes))
    return {benchmark.name: benchmark.record for benchmark in measured}


@flow(name="evaluate", flow_run_name=_run_name, persist_result=False)
def evaluate(
    arm: str | None = None,
    seed: int = 0,
    overrides: dict[str, Any] | None = None,
    params_file: Path = PARAMS_FILE,
    model: str | None = None,
    suite: list[str] | None = None,
) -> Path:
    """Measure a finished run before and after training, or any model on benchmarks.

    Returns the record of the run, or the directory of the model's benchmarks.

    Args:
        arm: The run to measure: one of `arms` or `ablations` in params.yaml.
        seed: The seed of the run.
        overrides: The overrides of the run, if any.
        params_file: The settings; results are written to its directory.
        model: The model to measure instead of a run: a directory or a hub name.
        suite: Benchmarks to use instead of those of params.yaml: packaged ones, or paths of YAML files relative to it.
    """
    params, layout = checked(params_file, overrides), Layout(params_file.parent)
    if suite is not None:
        benchmarks = with_suite(params.benchmarks, suite, layout.root)
        measurements(benchmarks, layout.root, place="suite")
        params = params.model_copy(update={"benchmarks": benchmarks})
    if (arm is None) == (model is None):
        raise ConfigError("give either arm, to measure its run, or model, a directory or a hub name")
    if model is not None:
        records = benchmark(params, model, layout.root)
        Pages(folder_of(model)).benchmarks({model: list(records.values())})
        return layout.benchmarks(folder_of(model))
    assert arm is not None
    variant = variant_of(overrides or {})
    resolve(params, arm, seed, file=str(params_file))
    measured = measure(params, arm, seed, layout.root, variant)
    pages = Pages(f"{arm}-{seed}{variant}")
    pages.evaluation(measured)
    pages.benchmarks({when: list(measured[when]["benchmarks"].values()) for when in ("before", "after")})
    if not variant:
        stage = "evaluate" if arm in params.arms else "evaluate-ablation"
        if complaint := record(params, layout, [f"{stage}@{arm}-{seed}"]):
            warn(complaint)
    return layout.evaluation(arm, seed, variant)


@flow(name="compare", persist_result=False)
def compare(
    arms: list[str] | None = None, seeds: list[int] | None = None, params_file: Path = PARAMS_FILE
) -> Path:
    """Compare evaluated arms in a table, plots and one comparison in MLflow. Returns the comparison.json.

    Args:
        arms: The arms to compare; by default all of params.yaml.
        seeds: The seeds to compare; by default all of params.yaml.
        params_file: The settings; results are written to its directory.
    """
    params, layout = checked(params_file), Layout(params_file.parent)
    evaluations, into = collect(params, layout, arms=arms or (), seeds=seeds or ())
    track_comparison(evaluations, layout, warn=warn)
    Pages("comparison").summary(into.table.read_text(encoding="utf-8"))
    if into == layout.compared and (complaint := record(params, layout, ["compare"])):
        warn(complaint)
    return into.records
