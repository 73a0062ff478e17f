"""The models that are measured: the student of a run before and after it, or any model by its path."""

import functools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from omniopd.config import Params, RunConfig
from omniopd.config.benchmarks import measurements
from omniopd.data.layout import Layout
from omniopd.data.receipts import work_key
from omniopd.evaluation.suites import Measured, OnItems, Subject, measure_suite
from omniopd.inputs.base import model_digest
from omniopd.models.chat import template_warning
from omniopd.models.loading import (
    check_model_dir,
    check_weights,
    context_len,
    load_chat,
    load_config,
    load_model,
)
from omniopd.models.threads import use_threads
from omniopd.models.trust import allow_code
from omniopd.rounds.run import Run
from omniopd.sampling.responses import Writer, in_process
from omniopd.sampling.samplers import Student, vllm_student
from omniopd.tracking.models import MeasuredModel, log_scores

FOLDER_LEN = 200  # bytes; file systems allow 255


def saved_student(run: Run, round_: int) -> Student:
    """The student before that round, loaded from its files; its digest is that of the files."""
    base, path = run.model_path("student"), run.saved(round_)
    assert path is not None, "a run is measured at its start and at its end"
    digests = [model_digest(Path(folder)) for folder in dict.fromkeys((base, path))]
    models, digest = run.models, digests[0] if path == base else work_key(*digests)
    return Student(models.load_student(path), models.chat, digest)


def engine_of(config: RunConfig) -> dict[str, Any]:
    """The settings that the rounding of a run's samples depends on, besides the batch."""
    engine = {
        "engine": config.rollout.engine, "precision": config.train.precision, **config.compute.determining(),
    }  # fmt: skip
    if config.rollout.engine != "transformers":
        engine["engine_settings"] = config.rollout.engine_settings
    if config.train.lora is not None:
        engine["has_adapter"] = True
    return engine


def student_of(run: Run, writer: Writer) -> Subject:
    """A student of the run for benchmarks, on the engine of the run's rollouts."""
    config = run.config
    return Subject(
        writer.weights,
        writer.chat,
        lambda: writer,
        engine_of(config),
        config.rollout.batch_size,
        context_len(load_config(run.model_path("student"))),
        config.seed,
    )


def measure_model(
    name: str, params: Params, layout: Layout, *, on_items: OnItems, warn: Callable[[str], None]
) -> list[Measured]:
    """Measure a model of a directory or of the hub on `benchmarks.suite`: metrics/benchmarks/NAME/BENCHMARK.json.

    Raises:
        ModelError: there is no such model, or it cannot be used.
        ConfigError: a benchmark or a setting does not exist.
        DataError: items are not available or cannot be used.
    """
    measured_on = measurements(params.benchmarks, layout.root, system=params.prompts.system)
    allow_code(params.models.trust_remote_code)
    use_threads(params.compute.num_threads)
    folder = folder_of(name)
    into = layout.benchmarks(folder)
    with model_at(name, params, layout) as subject:
        for line in template_warning(name, subject.chat):
            warn(line)
        measured = measure_suite(subject, measured_on, layout, into=into, on_items=on_items)
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


@contextmanager
def model_at(name: str, params: Params, layout: Layout) -> Iterator[Subject]:
    """The model of a directory or of the hub, on the engine of `rollout`, for the duration of the block.

    Raises:
        ModelError: there is none, or it cannot be used.
    """
    path = layout.named_model(name)
    check_model_dir(path) if params.rollout.engine == "vllm" else check_weights(path)
    chat, weights = load_chat(path, params.models.chat_template_kwargs), model_digest(Path(path))
    rollout, precision, batch_size = params.rollout, params.train.precision, params.evaluation.batch_size
    with ExitStack() as stack:

        @functools.cache
        def writer() -> Writer:
            if rollout.engine == "transformers":
                model = load_model(path, precision=precision, trained=False)
                return in_process(Student(model, chat, weights), batch_size=batch_size)
            engine = vllm_student()(
                path, batch_size=batch_size, precision=precision, settings=rollout.engine_settings
            )
            stack.callback(engine.close)
            return Writer(engine.as_loaded(weights), chat, weights)

        determining = {"engine": rollout.engine, "precision": precision, **params.compute.determining()}
        yield Subject(weights, chat, writer, determining, batch_size, context_len(load_config(path)))


def folder_of(name: str) -> str:
    """The folder name of a model, such as `Qwen--Qwen3-1.7B`; for a long path a hash and the end."""
    joined = "--".join(part for part in Path(name).parts if part not in ("/", ".", ".."))
    if len(joined.encode()) <= FOLDER_LEN:
        return joined
    return f"{work_key(joined)}--{joined[-FOLDER_LEN // 4 :]}"
