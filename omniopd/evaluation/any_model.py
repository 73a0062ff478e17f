"""measure: any model on benchmarks, its results beside those of runs, and told to MLflow under its name."""

from collections.abc import Callable
from pathlib import Path

from omniopd.config import Params
from omniopd.data.layout import Layout
from omniopd.evaluation.subjects import folder_of, model_at
from omniopd.evaluation.suites import Measured, OnItems, measure_suite
from omniopd.models.chat import template_warning
from omniopd.models.threads import use_threads
from omniopd.models.trust import allow_code
from omniopd.tracking import MeasuredModel, log_scores


def measure_model(
    name: str, params: Params, layout: Layout, *, on_items: OnItems, warn: Callable[[str], None]
) -> list[Measured]:
    """Measure a model of a directory or of the hub on `benchmarks.suite`: metrics/benchmarks/NAME/BENCHMARK.json.

    Raises:
        ModelError: there is no such model, or it cannot be used.
        ConfigError: a benchmark or a setting that there is not.
        DataError: items that cannot be had or used.
    """
    allow_code(params.models.trust_remote_code)
    use_threads(params.compute.num_threads)
    folder = folder_of(name)
    with model_at(name, params, layout) as subject:
        for line in template_warning(name, subject.tokenizer):
            warn(line)
        measured = measure_suite(
            subject, params.benchmarks, layout, into=layout.benchmarks(folder), on_items=on_items
        )
    if params.tracking.enabled:
        model = MeasuredModel(folder, subject.weights, Path(layout.named_model(name)).as_posix())
        later = f"{layout.benchmarks(folder)} is written; the same command sends it when MLflow is back."
        log_scores(
            params.tracking, model, {found.name: found.record for found in measured},
            [found.results for found in measured], root=layout.root, warn=warn, later=later,
        )  # fmt: skip
    return measured
