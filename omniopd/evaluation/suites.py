"""benchmark: a model's graded responses to the items of benchmarks, made in parts, each only once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omniopd import RESULTS_VERSION
from omniopd.config.benchmarks import Measurement
from omniopd.config.schema.benchmark import Benchmark, Sampling
from omniopd.data.dedup import text_digest
from omniopd.data.layout import Layout
from omniopd.data.lock import one_at_a_time
from omniopd.data.prompts import Prompt
from omniopd.data.receipts import valid_receipt, work_key, write_receipt
from omniopd.data.records import ItemResult
from omniopd.data.store import read_records, write_json, write_records
from omniopd.errors import ConfigError
from omniopd.evaluation.benchmarks import grader_key, judge_of, keeps_grades
from omniopd.evaluation.items import read_items
from omniopd.evaluation.pass_at import score
from omniopd.evaluation.templates import worked_examples
from omniopd.functional.seeds import stable_seed
from omniopd.grading import failure_counts
from omniopd.grading.accuracy import graded, regraded
from omniopd.models.chat import Chat
from omniopd.sampling.responses import Writer, respond
from omniopd.sampling.samplers import batches

BATCHES_A_PART = 4  # of samples: the most that is lost when a measurement is killed

OnItems = Callable[[str, int, int], None]  # a benchmark's name, the items done, and all its items


@dataclass(frozen=True)
class Subject:
    """A model that is measured. `writer` loads it, and is called only if responses are missing."""

    weights: str  # a digest
    chat: Chat
    writer: Callable[[], Writer]
    engine: dict[str, Any]  # settings that rounding depends on, besides the batch
    batch_size: int
    context: int | None  # tokens
    seed: int = 0


@dataclass(frozen=True)
class Measured:
    """The result of a benchmark: its record, the file of its responses, and remarks."""

    name: str
    record: dict[str, Any]
    results: Path
    notes: list[str] = field(default_factory=list)


def measure_suite(
    subject: Subject, measurements: Sequence[Measurement], layout: Layout, *, into: Path, on_items: OnItems
) -> list[Measured]:
    """Measure the subject on every benchmark, and write NAME.json and NAME.parquet for each.

    An interrupted measurement is resumed, and results that were measured for another folder are reused.

    Raises:
        ConfigError: a grader does not exist, or an item does not fit into the context.
        DataError: items are not available or cannot be used.
    """
    return [_measure(subject, one, layout, into, on_items) for one in measurements]


def _measure(
    subject: Subject, measurement: Measurement, layout: Layout, into: Path, on_items: OnItems
) -> Measured:
    benchmark = measurement.benchmark
    name, sampling = benchmark.name, benchmark.sampling
    items = read_items(measurement)
    examples = worked_examples(benchmark)
    prompts = [prompt.after(benchmark.system, examples) for prompt in items.prompts]
    sampling, notes = _within_context(subject, benchmark, sampling, prompts)
    shown = {text_digest(text) for text, _ in examples}
    notes += [
        f"{name}: its item {prompt.id!r} is also a worked example, so that its answer is shown; take another example"
        for prompt in items.prompts
        if text_digest(prompt.prompt) in shown
    ]
    key = work_key(
        "benchmark", RESULTS_VERSION, subject.weights, subject.engine, subject.batch_size, subject.seed,
        grader_key(benchmark), sampling.determining(), [prompt.as_row() for prompt in prompts],
        subject.chat.tokenizer.chat_template, dict(subject.chat.template_kwargs), subject.chat.stop_ids,
    )  # fmt: skip
    with one_at_a_time(layout.benchmark_lock(key)):
        results = _results(subject, benchmark, sampling, prompts, layout.benchmark_work(key), key, on_items)
    record = {
        "benchmark": name,
        "key": key,
        "weights": subject.weights,
        "seed": subject.seed,
        "sampling": sampling.model_dump(),
        "items": items.as_record(),
        **score(results).as_record(),
        **failure_counts(item.reason for item in results),
    }
    path = into / f"{name}.parquet"
    write_records(path, results, ItemResult)
    write_json(into / f"{name}.json", record)
    return Measured(name, record, path, [*notes, *items.remarks()])


def _within_context(
    subject: Subject, benchmark: Benchmark, sampling: Sampling, prompts: Sequence[Prompt]
) -> tuple[Sampling, list[str]]:
    """The sampling, with no more new tokens than fit after the longest prompt, and a remark if that lowered them."""
    if subject.context is None:
        return sampling, []
    encoded = subject.chat.encode([prompt.messages for prompt in prompts])
    lengths = [len(ids) for ids in encoded]
    longest = max(lengths)
    room = subject.context - longest
    if room >= sampling.max_new_tokens:
        return sampling, []
    if room < 1:
        item = prompts[lengths.index(longest)]
        raise ConfigError(
            f"{benchmark.name}: item {item.id!r} has {longest} tokens, but the model reads only {subject.context}; "
            "measure it on another benchmark"
        )
    note = (
        f"{benchmark.name}: {room} new tokens instead of {sampling.max_new_tokens}: the model reads "
        f"{subject.context}, and the longest prompt has {longest}"
    )
    return sampling.model_copy(update={"max_new_tokens": room}), [note]


def _results(
    subject: Subject,
    benchmark: Benchmark,
    sampling: Sampling,
    prompts: Sequence[Prompt],
    work: Path,
    key: str,
    on_items: OnItems,
) -> list[ItemResult]:
    """Every response, part by part; a part that is already there is read, and graded again if its grades may be old."""
    num_items = max(1, BATCHES_A_PART * subject.batch_size // sampling.num_samples)
    results: list[ItemResult] = []
    for index, part in enumerate(batches(prompts, num_items)):
        path, receipt = work / f"part-{index:04d}.parquet", work / f"part-{index:04d}.json"
        if is_new := valid_receipt(receipt, key=key, base=work) is None:
            write_records(path, _answered(subject, benchmark, sampling, part), ItemResult)
            write_receipt(receipt, key=key, files=[path], base=work)
        kept = read_records(path, ItemResult)
        results += kept if is_new or keeps_grades(benchmark) else regraded(kept, part, judge_of(benchmark))
        on_items(benchmark.name, min((index + 1) * num_items, len(prompts)), len(prompts))
    return results


def _answered(
    subject: Subject, benchmark: Benchmark, sampling: Sampling, prompts: Sequence[Prompt]
) -> list[ItemResult]:
    samples = range(sampling.num_samples)
    seeds = [
        [stable_seed("benchmark", benchmark.name, subject.seed, prompt.id, n) for n in samples]
        for prompt in prompts
    ]
    responses = respond(
        subject.writer(),
        prompts,
        seeds=seeds,
        max_new_tokens=sampling.max_new_tokens,
        decoding=sampling.decoding,
        purpose=benchmark.name,
    )
    return graded(responses, judge_of(benchmark))


def keep_only(folder: Path, names: Sequence[str]) -> None:
    """Remove the results of other benchmarks from a folder, and list these, so that DVC has what params say."""
    for path in folder.glob("*/*"):
        if path.stem not in names:
            path.unlink()
    write_json(folder / "suite.json", list(names))
