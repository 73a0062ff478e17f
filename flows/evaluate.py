"""The flows evaluate and compare: what the commands of those names do, for those who start them in Prefect."""

from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows.artifacts import Pages
from flows.distill import PARAMS_FILE
from flows.ready import checked
from flows.tasks import gpu
from omniopd.config import Params, resolve, variant_of
from omniopd.console import warn
from omniopd.data.layout import Layout
from omniopd.stages import evaluate as measuring
from omniopd.stages.compare import compare as collect
from omniopd.stages.track import track_comparison, track_evaluation
from omniopd.versions import commit


@task(
    name="evaluate",
    task_run_name="evaluate · {arm}-{seed}{variant}",
    cache_policy=NO_CACHE,
    persist_result=False,
)
def measure(params: Params, arm: str, seed: int, root: Path, variant: str) -> dict[str, Any]:
    """Held-out accuracies before and after, written and told to MLflow."""
    with gpu(params.compute):
        record = measuring.evaluate(arm, seed, Layout(root), variant)
    track_evaluation(record, Layout(root), variant=variant, warn=lambda line: warn([line]))
    return record


@flow(name="evaluate", flow_run_name="{arm}-{seed}", persist_result=False)
def evaluate(
    arm: str, seed: int = 0, overrides: dict[str, Any] | None = None, params_file: Path = PARAMS_FILE
) -> Path:
    """Measure a finished run on the held-out prompts, before and after. Returns the record.

    Args:
        arm: One of `arms` or `ablations` in params.yaml.
        seed: The seed of the run.
        overrides: Those that the run was given, if any.
        params_file: The file of settings; results lie beside it.
    """
    params, layout, variant = (
        checked(params_file, overrides),
        Layout(params_file.parent),
        variant_of(overrides or {}),
    )
    resolve(params, arm, seed, file=str(params_file))
    record = measure(params, arm, seed, layout.root, variant)
    Pages(f"{arm}-{seed}{variant}").evaluation(record)
    if not variant:
        stage = "evaluate" if arm in params.arms else "evaluate-ablation"
        _record_in_dvc(layout.root, f"{stage}@{arm}-{seed}")
    return layout.evaluation(arm, seed, variant)


@flow(name="compare", persist_result=False)
def compare(
    arms: list[str] | None = None, seeds: list[int] | None = None, params_file: Path = PARAMS_FILE
) -> Path:
    """Put evaluated arms side by side: a table, plots, one comparison in MLflow. Returns metrics/comparison.json.

    Args:
        arms: Of these arms alone; all that params.yaml lists where it is empty.
        seeds: Of these seeds alone; likewise.
        params_file: The file of settings; results lie beside it.
    """
    params, layout = checked(params_file), Layout(params_file.parent)
    evaluations = collect(params, layout, arms=arms or (), seeds=seeds or ())
    track_comparison(evaluations, layout, warn=lambda line: warn([line]))
    Pages("comparison").summary(layout.comparison_table.read_text(encoding="utf-8"))
    if not arms and not seeds:
        _record_in_dvc(layout.root, "compare")
    return layout.comparison


def _record_in_dvc(root: Path, stage: str) -> None:
    complaint = commit(root, [stage])
    warn([complaint] if complaint else [])
