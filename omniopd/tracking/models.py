"""Models that no run here made: what benchmarks came to, on one LoggedModel for each set of weights."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelOutput, LoggedModelStatus, Metric, Run

from omniopd.config import Tracking
from omniopd.tracking.connection import experiment_id_of
from omniopd.tracking.messages import now_ms
from omniopd.tracking.origin import code_tags
from omniopd.tracking.store import client_of, no_answer
from omniopd.tracking.tracker import FAILURES

SHOWN = ("interval_low", "interval_high", "cut_share", "mean_tokens")
"""What of a score is a metric besides pass@k, whose first is the mean."""


@dataclass(frozen=True)
class MeasuredModel:
    """A model by the name of its folder of results, the digest of its weights, and where it lies.

    >>> MeasuredModel("Qwen--Qwen3-1.7B", "9f2c", "Qwen/Qwen3-1.7B").name
    'Qwen--Qwen3-1.7B'
    """

    name: str
    weights: str
    path: str


def score_metrics(benchmark: str, record: Mapping[str, Any]) -> dict[str, float]:
    """The figures of a benchmark's record as metrics of MLflow, which knows no @ in a name.

    >>> score_metrics("gsm8k", {"cut_share": 0.0, "pass_at": {"1": 0.5, "8": 0.75}, "num_items": 4})
    {'benchmark/gsm8k/cut_share': 0.0, 'benchmark/gsm8k/pass_at_1': 0.5, 'benchmark/gsm8k/pass_at_8': 0.75}
    """
    low, high = record.get("interval") or (None, None)
    values = {**record, "interval_low": low, "interval_high": high}
    figures = {name: float(values[name]) for name in SHOWN if values.get(name) is not None}
    passes = {f"pass_at_{k}": float(value) for k, value in record.get("pass_at", {}).items()}
    return {f"benchmark/{benchmark}/{name}": value for name, value in (figures | passes).items()}


def log_scores(
    tracking: Tracking,
    model: MeasuredModel,
    records: Mapping[str, Mapping[str, Any]],
    files: Sequence[Path],
    *,
    root: Path,
    warn: Callable[[str], None],
    later: str,
) -> str:
    """Log what benchmarks came to under the model, in the run that is called after it; its run's id, or nothing.

    One run and one LoggedModel a set of weights: measured again, they are found and get what is new. A failure of
    MLflow is told, with `later` for what to do, and never raised.
    """
    try:
        client = client_of(tracking.uri)
        experiment_id = experiment_id_of(client, tracking)
        run = _run(client, experiment_id, model, root)
        logged = _logged_model(client, experiment_id, run, model)
        for benchmark, record in records.items():
            _log(client, run, logged, benchmark, record)
        for file in files:
            client.log_artifact(run.info.run_id, str(file), "benchmarks")
        client.set_terminated(run.info.run_id, status="FINISHED")
        return run.info.run_id
    except FAILURES as error:
        warn(f"{no_answer(error)}. {later}")
        return ""


def _run(client: MlflowClient, experiment_id: str, model: MeasuredModel, root: Path) -> Run:
    query = f"tags.`omniopd.measured` = '{model.weights}'"
    found = client.search_runs([experiment_id], query)
    if found:
        return found[0]
    tags = {"omniopd.measured": model.weights, "omniopd.path": model.path, **code_tags(root)}
    return client.create_run(experiment_id, tags=tags, run_name=model.name)


def _logged_model(client: MlflowClient, experiment_id: str, run: Run, model: MeasuredModel) -> LoggedModel:
    query = f"tags.`omniopd.weights` = '{model.weights}' AND tags.`omniopd.path` = '{model.path}'"
    found = client.search_logged_models([experiment_id], query)
    logged = (
        found[0]
        if found
        else client.create_logged_model(
            experiment_id,
            name=model.name,
            source_run_id=run.info.run_id,
            tags={"omniopd.weights": model.weights, "omniopd.path": model.path},
            model_type="measured",
        )
    )
    if logged.status != LoggedModelStatus.READY:
        client.log_outputs(run.info.run_id, [LoggedModelOutput(logged.model_id, step=0)])
        client.finalize_logged_model(logged.model_id, LoggedModelStatus.READY)
    return logged


def _log(
    client: MlflowClient, run: Run, logged: LoggedModel, benchmark: str, record: Mapping[str, Any]
) -> None:
    """The figures, unless the model has just these: a chart should not show what was told twice."""
    known = {own.key: own.value for own in client.get_logged_model(logged.model_id).metrics or []}
    now = now_ms()
    new = [
        Metric(name, value, now, 0, model_id=logged.model_id, run_id=run.info.run_id)
        for name, value in score_metrics(benchmark, record).items()
        if known.get(name) != value
    ]
    if new:
        client.log_batch(run.info.run_id, metrics=new)
