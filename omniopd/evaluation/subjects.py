"""Whom benchmarks measure: the student of a run before and after it, or any model by its path."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from omniopd.config import Params
from omniopd.data.layout import Layout
from omniopd.data.receipts import work_key
from omniopd.evaluation.suites import Subject
from omniopd.inputs.base import model_digest
from omniopd.models.loading import (
    check_model_dir,
    check_weights,
    context_len,
    load_config,
    load_model,
    load_tokenizer,
)
from omniopd.rounds.run import Run
from omniopd.sampling.samplers import InProcessSampler, Sampler, Student, vllm_student

FOLDER_LEN = 200  # bytes; file systems allow 255


def student_of(run: Run, round_: int) -> Subject:
    """The student before that round, whose checkpoint is there, on what wrote its rollouts."""
    path = run.saved(round_)
    assert path is not None, "a run is measured at its start and at its end"
    base = run.model_path("student")
    weights = (
        model_digest(Path(base)) if path == base else work_key(*map(model_digest, map(Path, (base, path))))
    )

    @contextmanager
    def sampler() -> Iterator[Sampler]:
        student = Student(run.load_student(path), run.tokenizer, weights)
        with run.sampler(student) as found:
            yield found

    config = run.config
    engine = {
        "engine": config.rollout.engine, "precision": config.train.precision, **config.compute.determining,
    }  # fmt: skip
    return Subject(
        weights,
        run.tokenizer,
        sampler,
        engine,
        config.rollout.batch_size,
        context_len(load_config(base)),
        config.seed,
    )


def model_at(name: str, params: Params, layout: Layout) -> Subject:
    """The model of a directory or of the hub, on the engine of rollouts.

    Raises:
        ModelError: there is none, or it cannot be used.
    """
    path = layout.named_model(name)
    check_model_dir(path) if params.rollout.engine == "vllm" else check_weights(path)
    tokenizer, weights = load_tokenizer(path), model_digest(Path(path))
    rollout, precision, batch_size = params.rollout, params.train.precision, params.evaluation.batch_size

    @contextmanager
    def sampler() -> Iterator[Sampler]:
        if rollout.engine == "transformers":
            model = load_model(path, precision=precision, trained=False)
            yield InProcessSampler(Student(model, tokenizer, weights), batch_size=batch_size)
            return
        engine = vllm_student()(
            path, batch_size=batch_size, precision=precision, settings=rollout.engine_settings
        )
        try:
            yield engine.as_loaded(weights)
        finally:
            engine.close()

    made = {"engine": rollout.engine, "precision": precision, **params.compute.determining}
    return Subject(weights, tokenizer, sampler, made, batch_size, context_len(load_config(path)))


def folder_of(name: str) -> str:
    """The name of a model as a folder's: `Qwen--Qwen3-1.7B`; of a long path a hash and the end."""
    joined = "--".join(part for part in Path(name).parts if part not in ("/", ".", ".."))
    if len(joined.encode()) <= FOLDER_LEN:
        return joined
    return f"{work_key(joined)}--{joined[-FOLDER_LEN // 4 :]}"
