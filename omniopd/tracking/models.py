"""Benchmark scores of models that no run here made, on one LoggedModel for each set of weights."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric

from omniopd.config import Tracking
from omniopd.tracking.connection import experiment_id_of, logged_model, now_ms
from omniopd.tracking.origin import code_tags
from omniopd.tracking.store import client_of, no_answer
from omniopd.tracking.tracker import FAILURES

SHOWN = ("interval_low", "interval_high", "cut_share", "mean_tokens")
"""The fields of a score that are metrics, besides pass@k, whose first is the mean."""


@dataclass(frozen=True)
class MeasuredModel:
    """A model: the name of its folder of results, the digest of its weights, and its path or hub name.

    >>> MeasuredModel("Qwen--Qwen3-1.7B", "9f2c", "Qwen/Qwen3-1.7B").name
    'Qwen--Qwen3-1.7B'
    """

    name: str
    weights: str
    path: str


def score_metrics(benchmark: str, record: Mapping[str, Any]) -> dict[str, float]:
    """The figures of a benchmark's record as metrics of MLflow, which allows no @ in a name.

    >>> score_metrics("gsm8k", {"cut_share": 0.0, "pass_at": {"1": 0.5, "8": 0.75}, "num_items": 4})
    {'benchmark/gsm8k/cut_share': 0.0, 'benchmark/gsm8k/pass_at_1': 0.5, 'benchmark/gsm8k/pass_at_8': 0.75}
    """
    low, high = record.get("interval") or (None, None)
    values = {**record, "interval_low": low, "interval_high": high}
    figures = {name: float(values[name]) for name in SHOWN if values.get(name) is not None}
    figures |= {f"pass_at_{k}": float(value) for k, value in record.get("pass_at", {}).items()}
    return {f"benchmark/{benchmark}/{name}": value for name, value in figures.items()}


def log_scores(
    tracking: Tracking,
    model: MeasuredModel,
    records: Mapping[str, Mapping[str, Any]],
    files: Sequence[Path],
    *,
    root: Path,
    warn: Callable[[str], None],
    later: str,
) -> None:
    """Log benchmark scores, and the files of the responses, on the model, in a run of the model's name.

    One run and one LoggedModel for each set of weights: a model that is measured again gets only what is new. A
    failure of MLflow is a warning, which ends in `later`, and never raised.
    """
    scores = {
        name: value
        for benchmark, record in records.items()
        for name, value in score_metrics(benchmark, record).items()
    }
    try:
        client = client_of(tracking.uri)
        run_id, model_id = _run_and_model(client, experiment_id_of(client, tracking), model, root)
        logged = {metric.key: metric.value for metric in client.get_logged_model(model_id).metrics or []}
        new = {name: value for name, value in scores.items() if logged.get(name) != value}
        if new:  # a chart should not show a value twice
            metrics = [
                Metric(name, value, now_ms(), 0, model_id=model_id, run_id=run_id)
                for name, value in new.items()
            ]
            client.log_batch(run_id, metrics=metrics)
        for file in files:
            client.log_artifact(run_id, str(file), "benchmarks")
        client.set_terminated(run_id, status="FINISHED")
    except FAILURES as error:
        warn(f"{no_answer(error)}. {later}")


def _run_and_model(
    client: MlflowClient, experiment_id: str, model: MeasuredModel, root: Path
) -> tuple[str, str]:
    """The ids of the MLflow run and of the LoggedModel of these weights, created where they do not exist."""
    runs = client.search_runs([experiment_id], f"tags.`omniopd.measured` = '{model.weights}'")
    tags = {"omniopd.measured": model.weights, "omniopd.path": model.path, **code_tags(root)}
    run = runs[0] if runs else client.create_run(experiment_id, tags=tags, run_name=model.name)
    logged = logged_model(
        client,
        experiment_id,
        run.info.run_id,
        f"tags.`omniopd.weights` = '{model.weights}' AND tags.`omniopd.path` = '{model.path}'",
        step=0,
        name=model.name,
        tags={"omniopd.weights": model.weights, "omniopd.path": model.path},
        model_type="measured",
    )
    return run.info.run_id, logged.model_id
