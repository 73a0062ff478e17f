"""benchmark: a model's responses to the items of benchmarks, graded, in parts that are never made twice."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from omniopd import __version__
from omniopd.config import Benchmarks
from omniopd.data.layout import Layout
from omniopd.data.lock import one_at_a_time
from omniopd.data.prompts import Prompt
from omniopd.data.receipts import valid_receipt, work_key, write_receipt
from omniopd.data.records import ItemResult
from omniopd.data.store import read_records, write_json, write_records
from omniopd.errors import ConfigError
from omniopd.evaluation.benchmarks import Benchmark, BenchmarkSettings, Sampling, benchmark_named
from omniopd.evaluation.items import Items, read_items
from omniopd.evaluation.pass_at import score
from omniopd.functional.seeds import stable_seed
from omniopd.grading import failure_counts
from omniopd.grading.accuracy import graded
from omniopd.models.chat import encode_prompts
from omniopd.sampling.responses import Writer, respond
from omniopd.sampling.samplers import batches

BATCHES_A_PART = 4  # of samples: what is lost, at most, where a measurement is killed

OnItems = Callable[
    [str, int, int], None
]  # told of a benchmark's name, the items done, and how many there are


@dataclass(frozen=True)
class Subject:
    """A model that is measured. It is loaded by `writer`, which is called only where responses are missing."""

    weights: str  # a digest
    tokenizer: PreTrainedTokenizerBase
    writer: Callable[[], Writer]
    engine: dict[str, Any]  # what rounding depends on besides the batch
    batch_size: int
    context: int | None  # tokens that it can read
    seed: int = 0


@dataclass(frozen=True)
class Measured:
    """What a benchmark came to: its record, the file of its responses, and what is to be known of it."""

    name: str
    record: dict[str, Any]
    results: Path
    notes: list[str] = field(default_factory=list)


def measure_suite(
    subject: Subject, suite: Benchmarks, layout: Layout, *, into: Path, on_items: OnItems
) -> list[Measured]:
    """Measure the subject on every benchmark of the suite, and write NAME.json and NAME.parquet for each.

    What a measurement that was stopped had done is found again, as is what another folder was measured with.

    Raises:
        ConfigError: a benchmark or a setting that there is not.
        DataError: items that cannot be had or used.
    """
    return [_measure(subject, name, suite, layout, into, on_items) for name in suite.suite]


def _measure(
    subject: Subject, name: str, suite: Benchmarks, layout: Layout, into: Path, on_items: OnItems
) -> Measured:  # fmt: skip
    benchmark = benchmark_named(name)
    settings = _settings(suite, name)
    items = read_items(benchmark, layout.root, settings)
    sampling, notes = _within_context(subject, benchmark, settings.sampling_of(benchmark), items.prompts)
    key = _key(subject, benchmark, sampling, items)
    with one_at_a_time(layout.benchmark_lock(key)):
        results = _results(subject, benchmark, sampling, items, layout.benchmark_work(key), key, on_items)
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


def _settings(suite: Benchmarks, name: str) -> BenchmarkSettings:
    return BenchmarkSettings(**suite.model_dump(exclude={"suite", "files"}), file=suite.files.get(name))


def _within_context(
    subject: Subject, benchmark: Benchmark, sampling: Sampling, prompts: Sequence[Prompt]
) -> tuple[Sampling, list[str]]:
    """The sampling, with no more new tokens than the model can read behind the longest prompt; and what was lowered."""
    if subject.context is None:
        return sampling, []
    texts = [prompt.prompt for prompt in prompts]
    encoded = encode_prompts(subject.tokenizer, texts)
    lengths = {prompt.id: len(ids) for prompt, ids in zip(prompts, encoded, strict=True)}
    longest = max(lengths, key=lengths.__getitem__)
    room = subject.context - lengths[longest]
    if room >= sampling.max_new_tokens:
        return sampling, []
    if room < 1:
        raise ConfigError(
            f"{benchmark.name}: item {longest!r} has {lengths[longest]} tokens, and the model reads {subject.context}; "
            "measure it on another benchmark"
        )
    note = (
        f"{benchmark.name}: {room} new tokens in place of {sampling.max_new_tokens}, which is what the model can read "
        f"({subject.context}) behind the longest prompt ({lengths[longest]})"
    )
    return sampling.model_copy(update={"max_new_tokens": room}), [note]


def _key(subject: Subject, benchmark: Benchmark, sampling: Sampling, items: Items) -> str:
    return work_key(
        "benchmark", __version__, subject.weights, subject.engine, subject.batch_size, subject.seed,
        benchmark.grader, sampling.model_dump(), [asdict(prompt) for prompt in items.prompts],
        subject.tokenizer.chat_template,
    )  # fmt: skip


def _results(
    subject: Subject, benchmark: Benchmark, sampling: Sampling, items: Items, work: Path, key: str, on_items: OnItems
) -> list[ItemResult]:  # fmt: skip
    """Every response, part by part; a part that is there is read."""
    num_items = max(1, BATCHES_A_PART * subject.batch_size // sampling.num_samples)
    results: list[ItemResult] = []
    for index, part in enumerate(batches(items.prompts, num_items)):
        path, receipt = work / f"part-{index:04d}.parquet", work / f"part-{index:04d}.json"
        if valid_receipt(receipt, key=key, base=work) is None:
            write_records(path, _answered(subject, benchmark, sampling, part), ItemResult)
            write_receipt(receipt, key=key, files=[path], base=work)
        results += read_records(path, ItemResult)
        on_items(benchmark.name, min((index + 1) * num_items, len(items.prompts)), len(items.prompts))
    return results


def _answered(
    subject: Subject, benchmark: Benchmark, sampling: Sampling, prompts: Sequence[Prompt]
) -> list[ItemResult]:
    """The responses to the prompts, written and graded."""
    responses = respond(
        subject.writer(),
        prompts,
        seeds=[
            [
                stable_seed("benchmark", benchmark.name, subject.seed, prompt.id, n)
                for n in range(sampling.num_samples)
            ]
            for prompt in prompts
        ],
        max_new_tokens=sampling.max_new_tokens,
        temperature=sampling.temperature,
        purpose=benchmark.name,
    )
    return graded(responses, benchmark.judge)


def keep_only(folder: Path, names: Sequence[str]) -> None:
    """Leave in a folder of results those of these benchmarks alone, and list them: so that DVC has what params say."""
    for path in folder.glob("*/*"):
        if path.stem not in names:
            path.unlink()
    write_json(folder / "suite.json", list(names))
