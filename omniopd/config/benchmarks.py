"""The benchmarks that are measured: packaged ones, and files of your own.

A setting of the command comes before that of an entry in `benchmarks.suite`, this before that of the block
`benchmarks`, and this before that of the benchmark's file.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from omniopd.config.files import read_settings
from omniopd.config.messages import nearest, validated
from omniopd.config.overrides import read_yaml
from omniopd.config.plugins import make_importable
from omniopd.config.schema.benchmark import Benchmark, Sampling
from omniopd.config.schema.evaluation import Benchmarks, SuiteEntry, names_a_file
from omniopd.data.receipts import work_key
from omniopd.data.sources import Source, source_of
from omniopd.errors import ConfigError

SUITE = files("omniopd") / "suite"


@dataclass(frozen=True)
class Measurement:
    """A benchmark under the settings of params and command, and the source of its items.

    >>> [aime] = measurements(Benchmarks.model_validate({"suite": [{"name": "aime24", "num_samples": 4}]}), Path())
    >>> aime.benchmark.name, aime.benchmark.sampling.num_samples, str(aime.source)
    ('aime24', 4, 'math-ai/aime24 (test)')
    """

    benchmark: Benchmark
    source: Source
    entry: SuiteEntry
    num_items: int | None = None  # that are measured; None: all


def names() -> list[str]:
    """The names of the packaged benchmarks, in alphabetical order."""
    return sorted(file.name.removesuffix(".yaml") for file in SUITE.iterdir() if file.name.endswith(".yaml"))


@cache
def benchmark_named(name: str) -> Benchmark:
    """The packaged benchmark of that name.

    Raises:
        ConfigError: there is none; the message has the nearest name.
    """
    if name not in (known := names()):
        raise ConfigError(f"{name}: no such benchmark{nearest(name, known)}")
    file = SUITE / f"{name}.yaml"
    raw = read_yaml(file.read_text(encoding="utf-8"), file.name)
    return validated(Benchmark, {"name": name, **raw}, file.name)


def read_benchmark(path: Path) -> Benchmark:
    """The benchmark in a file of your own. Modules next to the file become importable, for its grader.

    Raises:
        ConfigError: every mistake in the file, a line each.
    """
    raw = read_settings(path, where="fix the path in the suite", example=Benchmark.shown_in)
    make_importable(path.parent)
    benchmark: Benchmark = validated(Benchmark, {"name": path.stem, **raw}, str(path))
    if benchmark.name in names():
        raise ConfigError(
            f"{path}: name: {benchmark.name!r} is a packaged benchmark; rename the file, or write another `name`"
        )
    return benchmark


def measurements(
    benchmarks: Benchmarks, root: Path, *, system: str | None = None, place: str = "benchmarks.suite"
) -> list[Measurement]:
    """The benchmarks of the suite, whose paths are relative to the folder `root`.

    `system` is the system message of those that have none; `place` begins the messages.

    Raises:
        ConfigError: every mistake in the suite and its files, a line each.
    """
    measured: dict[str, Measurement] = {}
    mistakes = []
    for entry in benchmarks.suite:
        try:
            one = _measurement(entry, benchmarks, root, system, place)
        except ConfigError as error:
            mistakes.append(str(error))
            continue
        name = one.benchmark.name
        if (other := measured.setdefault(name, one)) is not one:
            mistakes.append(
                f"{place}: {other.entry.name} and {entry.name} are both named {name!r}; write another `name` into one"
            )
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    return list(measured.values())


def _measurement(
    entry: SuiteEntry, benchmarks: Benchmarks, root: Path, system: str | None, place: str
) -> Measurement:
    benchmark = read_benchmark(root / entry.name) if entry.is_file else _packaged(entry.name, place)
    changes = {**benchmarks.changed(), **entry.changed()}
    sampling = {name: value for name, value in changes.items() if name in Sampling.model_fields}
    systems = (changes.get("system"), benchmark.system, system)
    update = {
        "sampling": validated(
            Sampling, benchmark.sampling.model_dump() | sampling, f"{place}: {benchmark.name}"
        ),
        "system": next((text for text in systems if text is not None), None),
        "examples": benchmarks.examples.get(benchmark.name, benchmark.examples),
    }
    source = _source(benchmark, entry, root, benchmarks.files.get(benchmark.name))
    return Measurement(benchmark.model_copy(update=update), source, entry, changes.get("num_items"))


def _packaged(name: str, place: str) -> Benchmark:
    try:
        return benchmark_named(name)
    except ConfigError as error:
        raise ConfigError(f"{place}: {error}") from error


def _source(benchmark: Benchmark, entry: SuiteEntry, root: Path, file: str | None) -> Source:
    setting = f"--file {benchmark.name}=PATH"
    part = {"subset": benchmark.subset, "split": benchmark.split, "revision": benchmark.revision}
    if file is not None:
        return Source(file, root / file, setting=setting)
    if entry.is_file:
        path = root / entry.name
        return source_of(benchmark.source, path.parent, setting=f"{path}: source", **part)
    return Source(benchmark.source, None, setting=setting, **part)


def with_suite(
    benchmarks: Benchmarks, suite: Sequence[str] | None, root: Path, options: Mapping[str, Any] | None = None
) -> Benchmarks:
    """The benchmarks with another suite, if one is given, and with options that apply to each entry.

    An entry keeps the settings that `benchmarks` has for it.

    Raises:
        ConfigError: a benchmark is listed twice.
    """
    entries = {_place(entry.name, root): entry.model_dump() for entry in benchmarks.suite}
    if suite is None:
        suite = [entry.name for entry in benchmarks.suite]
    chosen = [{**entries.get(_place(name, root), {}), "name": name, **(options or {})} for name in suite]
    return validated(Benchmarks, {**benchmarks.model_dump(), "suite": chosen}, "--suite")


def _place(name: str, root: Path) -> str:
    """The name of a packaged benchmark, or the whole path of a file."""
    return os.path.abspath(root / name) if names_a_file(name) else name


def benchmark_mistakes(benchmarks: Benchmarks, root: Path, system: str | None, file: str) -> list[str]:
    """The mistakes in the block `benchmarks` of the params file, and in the files that it names, a line each."""
    try:
        measured = measurements(benchmarks, root, system=system, place=f"{file}: benchmarks.suite")
        mistakes, known = [], [one.benchmark.name for one in measured]
    except ConfigError as error:
        mistakes, known = [str(error)], [Path(entry.name).stem for entry in benchmarks.suite if entry.is_file]
    known += names()
    return mistakes + [
        f"{file}: benchmarks.{key}.{name}: no such benchmark{nearest(name, known)}"
        for key in ("files", "examples")
        for name in getattr(benchmarks, key)
        if name not in known
    ]


def digests_of_files(benchmarks: Benchmarks, root: Path) -> dict[str, str]:
    """By path, a digest of the settings in each benchmark of your own that decide its score."""
    paths = [entry.name for entry in benchmarks.suite if entry.is_file]
    return {path: work_key(read_benchmark(root / path).determining()) for path in paths}
