"""measure: any model on benchmarks; its results are stored like those of runs, and logged to MLflow."""

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
        ConfigError: a benchmark or a setting does not exist.
        DataError: items are not available or cannot be used.
    """
    allow_code(params.models.trust_remote_code)
    use_threads(params.compute.num_threads)
    folder = folder_of(name)
    into = layout.benchmarks(folder)
    with model_at(name, params, layout) as subject:
        for line in template_warning(name, subject.tokenizer):
            warn(line)
        measured = measure_suite(subject, params.benchmarks, layout, into=into, on_items=on_items)
    if params.tracking.enabled:
        model = MeasuredModel(folder, subject.weights, Path(layout.named_model(name)).as_posix())
        log_scores(
            params.tracking,
            model,
            {result.name: result.record for result in measured},
            [result.results for result in measured],
            root=layout.root,
            warn=warn,
            later=f"{into} is written; the same command sends it when MLflow is back.",
        )
    return measured
