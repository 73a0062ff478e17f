"""benchmark: a model's responses to the items of benchmarks, graded, in parts that are never made twice."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
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
from omniopd.errors import ConfigError, RunError
from omniopd.evaluation.benchmarks import Benchmark, BenchmarkSettings, Sampling, benchmark_named
from omniopd.evaluation.items import Items, read_items
from omniopd.evaluation.pass_at import score
from omniopd.functional.seeds import stable_seed
from omniopd.grading import Case, failure_counts, grade
from omniopd.models.loading import encode_prompts, end_token
from omniopd.models.text import TextDecoder
from omniopd.sampling.samplers import Sample, Sampler, batches

BATCHES_A_PART = 4  # of samples: what is lost, at most, where a measurement is killed

OnItems = Callable[
    [str, int, int], None
]  # told of a benchmark's name, the items done, and how many there are


@dataclass(frozen=True)
class Subject:
    """A model that is measured, and how what writes its responses is had: it is loaded only where it must write."""

    weights: str  # a digest
    tokenizer: PreTrainedTokenizerBase
    sampler: Callable[[], AbstractContextManager[Sampler]]
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
    with _opened_once(subject) as sampler:
        return [_measure(subject, name, suite, layout, sampler, into, on_items) for name in suite.suite]


@contextmanager
def _opened_once(subject: Subject) -> Iterator[Callable[[], Sampler]]:
    """What gives the sampler when it is first asked for, and closes it at the end if it was."""
    with ExitStack() as stack:
        opened: list[Sampler] = []

        def sampler() -> Sampler:
            if not opened:
                opened.append(stack.enter_context(subject.sampler()))
            return opened[0]

        yield sampler


def _measure(
    subject: Subject, name: str, suite: Benchmarks, layout: Layout, sampler: Callable[[], Sampler], into: Path,
    on_items: OnItems,
) -> Measured:  # fmt: skip
    benchmark = benchmark_named(name)
    settings = _settings(suite, name)
    items = read_items(benchmark, layout.root, settings)
    sampling, notes = _within_context(subject, benchmark, settings.sampling_of(benchmark), items.prompts)
    key = _key(subject, benchmark, sampling, items)
    with one_at_a_time(layout.benchmark_lock(key)):
        results = _results(
            subject, benchmark, sampling, items, layout.benchmark_work(key), key, sampler, on_items
        )
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
    subject: Subject, benchmark: Benchmark, sampling: Sampling, items: Items, work: Path, key: str,
    sampler: Callable[[], Sampler], on_items: OnItems,
) -> list[ItemResult]:  # fmt: skip
    """Every response, part by part; a part that is there is read."""
    num_items = max(1, BATCHES_A_PART * subject.batch_size // sampling.num_samples)
    results: list[ItemResult] = []
    for index, part in enumerate(batches(items.prompts, num_items)):
        path, receipt = work / f"part-{index:04d}.parquet", work / f"part-{index:04d}.json"
        if valid_receipt(receipt, key=key, base=work) is None:
            write_records(path, _answered(subject, benchmark, sampling, part, sampler()), ItemResult)
            write_receipt(receipt, key=key, files=[path], base=work)
        results += read_records(path, ItemResult)
        on_items(benchmark.name, min((index + 1) * num_items, len(items.prompts)), len(items.prompts))
    return results


def _answered(
    subject: Subject, benchmark: Benchmark, sampling: Sampling, prompts: Sequence[Prompt], sampler: Sampler
) -> list[ItemResult]:
    """The responses to the prompts, written and graded."""
    decoder = TextDecoder(subject.tokenizer)
    written = [
        (prompt, n, seed, sample, decoder.text(sample.generation.token_ids))
        for prompt, n, seed, sample in _written(subject, benchmark.name, sampling, prompts, sampler)
    ]
    cases = [
        Case(prompt, text, finished=sample.generation.finish_reason == "stop")
        for prompt, _, _, sample, text in written
    ]
    return [
        ItemResult(
            id=prompt.id,
            sample=n,
            prompt=prompt.prompt,
            response=text,
            answer=found.answer,
            reference=prompt.answer,
            is_right=found.is_right,
            reason=found.reason,
            num_tokens=len(sample.generation.token_ids),
            finish_reason=sample.generation.finish_reason,
            seed=seed,
        )
        for (prompt, n, seed, sample, text), found in zip(
            written, grade(cases, benchmark.grader), strict=True
        )
    ]


def _written(
    subject: Subject, name: str, sampling: Sampling, prompts: Sequence[Prompt], sampler: Sampler
) -> list[tuple[Prompt, int, int, Sample]]:
    """Every sample of every prompt, in order; a prompt of more samples than a batch holds is asked several times."""
    numbers = range(sampling.num_samples)
    found: dict[tuple[str, int], tuple[int, Sample]] = {}
    for own in batches(numbers, subject.batch_size):
        seeds = [[stable_seed("benchmark", name, subject.seed, p.id, n) for n in own] for p in prompts]
        samples = sampler.sample(
            encode_prompts(subject.tokenizer, [prompt.prompt for prompt in prompts]),
            seeds=seeds,
            max_new_tokens=sampling.max_new_tokens,
            temperature=sampling.temperature,
            end_id=end_token(subject.tokenizer),
        )
        for prompt, own_seeds, of_prompt in zip(prompts, seeds, samples, strict=True):
            for n, seed, sample in zip(own, own_seeds, of_prompt, strict=True):
                if sample.weights != subject.weights:
                    raise RunError(
                        f"{name}: the engine wrote a response with weights {sample.weights or 'unknown'}, and those "
                        f"measured are {subject.weights}; start it again, or take rollout.engine: transformers"
                    )
                found[prompt.id, n] = (seed, sample)
    return [(prompt, n, *found[prompt.id, n]) for prompt in prompts for n in numbers]


def keep_only(folder: Path, names: Sequence[str]) -> None:
    """Leave in a folder of results those of these benchmarks alone, and list them: so that DVC has what params say."""
    for path in folder.glob("*/*"):
        if path.stem not in names:
            path.unlink()
    write_json(folder / "suite.json", list(names))
