"""The items of a benchmark, from the hub or from a file, as the prompts that models are asked.

A file has the columns of the dataset, or our own: prompt, answer, id, tests. Rows that cannot be measured are counted
and listed with the reason.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omniopd.data.columns import PLAIN, Columns, quoted
from omniopd.data.dedup import text_digest
from omniopd.data.prompts import Prompt
from omniopd.data.sources import Row, Source, fields_of
from omniopd.data.split import Findings, read_rows
from omniopd.errors import DataError
from omniopd.evaluation.benchmarks import Benchmark, BenchmarkSettings

_PLACE = re.compile(r"\{(\w+)\}")  # of a template
_AS_IT_IS = BenchmarkSettings()


@dataclass(frozen=True)
class Items:
    """The items that can be measured, in the order of the source, and what was found on the way.

    `remarks()` says in sentences what of it anyone should know who reads the figures.
    """

    benchmark: Benchmark
    prompts: list[Prompt]
    num_measurable: int  # of which num_items may have taken the first by hash
    findings: Findings

    def as_record(self) -> dict[str, Any]:
        """Where the items come from and what was left out, for JSON."""
        found = self.findings
        return {
            "source": found.source.name,
            "subset": found.source.subset,
            "split": None if found.source.path else found.source.split,
            "revision": found.source.revision,
            "rows": found.num_rows,
            "expected_rows": self.benchmark.num_items,
            "repeated": found.num_repeated,
            "unusable": found.unusable.as_record(),
            "without_answer": found.without_answer.as_record(),
            "measurable": self.num_measurable,
            "items": len(self.prompts),
        }

    def remarks(self) -> list[str]:
        """What makes these other than the benchmark's items, a sentence each; nothing where nothing does."""
        found, name, said = self.findings, self.benchmark.name, []
        if found.num_rows != self.benchmark.num_items:
            said.append(
                f"{found.source}: {found.num_rows:,} rows, and {name} has {self.benchmark.num_items:,} items; figures "
                "of others do not compare with these"
            )
        if found.num_repeated:
            said.append(f"{found.source}: {found.num_repeated:,} rows repeat another and are left out")
        for listed in (found.unusable.as_record(), found.without_answer.as_record()):
            if listed["count"]:
                first = listed["listed"][0]
                said.append(
                    f"{found.source}: {listed['count']:,} rows cannot be measured and are left out, such as "
                    f"{first.get('id', first.get('row'))!r}: {first['reason']}"
                )
        if len(self.prompts) < self.num_measurable:
            said.append(f"{name}: the first {len(self.prompts):,} of {self.num_measurable:,} items by hash")
        return said


def read_items(benchmark: Benchmark, root: Path, settings: BenchmarkSettings = _AS_IT_IS) -> Items:
    """The items of the benchmark: of `settings.file`, from the folder `root`, where one is named, else of the hub.

    With `settings.num_items` those of lowest hash of their text, so that fewer are a part of more.

    Raises:
        DataError: the source cannot be had or read, lacks a column, or has no item that can be measured.
    """
    source = _source(benchmark, root, settings.file)
    columns = _columns(benchmark, source)
    findings = Findings(source)
    by_id: dict[str, Prompt] = {}
    for row, prompt, reason in _rows(benchmark, source, columns, findings):
        reason = _why_not(benchmark, columns, row, prompt, reason)
        if reason:
            findings.without_answer.add(row.number, {"id": prompt.id, "reason": reason})
        elif by_id.setdefault(prompt.id, prompt) is not prompt:
            _check_same(row, by_id[prompt.id], prompt)
            findings.num_repeated += 1
    if not by_id:
        raise _nothing_measurable(benchmark, findings)
    measurable = list(by_id.values())
    kept = _first_by_hash(measurable, settings.num_items)
    return Items(benchmark, [_asked(benchmark, prompt) for prompt in kept], len(measurable), findings)


def _source(benchmark: Benchmark, root: Path, file: str | None) -> Source:
    setting = f"--file {benchmark.name}=PATH"
    if file is None:
        place = (benchmark.source, None, benchmark.subset, benchmark.split)
        return Source(*place, setting=setting, revision=benchmark.revision)
    path = root / file
    if not path.is_file():
        raise DataError(
            f"{path}: no such file of items; fix {setting}, or leave it out to take them from the hub"
        )
    return Source(file, path, setting=setting)


def _columns(benchmark: Benchmark, source: Source) -> Columns:
    """The dataset's own columns where the source has them all, else PLAIN where it has what is needed of that."""
    fields, own = fields_of(source), benchmark.columns
    needed = [name for name in (own.prompt, own.answer, *own.tests) if name is not None]
    if all(name in fields for name in needed):
        id_ = own.id if own.id in fields else None
        return Columns(own.prompt, own.answer, id_, "tests" if own.tests else None, tuple(own.tests))
    plain = ["prompt", benchmark.judge.needs]
    if all(name in fields for name in plain):
        return PLAIN
    missing = next(name for name in needed if name not in fields)
    remedy = f"name them {quoted(needed)} as the dataset does, or {quoted(plain)}"
    if source.kind == "hub":
        remedy = f"its owner has changed it: give the items as a file, {source.setting}"
    raise DataError(f"{source}: has no column {missing!r}; it has {quoted(fields)}; {remedy}")


def _rows(
    benchmark: Benchmark, source: Source, columns: Columns, findings: Findings
) -> Iterator[tuple[Row, Prompt, str]]:
    if columns is PLAIN:
        return read_rows(source, PLAIN, findings, reshape=_plain)
    pattern = re.compile(benchmark.answer_pattern) if benchmark.answer_pattern else None
    return read_rows(source, columns, findings, pattern, reshape=lambda row: _of_dataset(benchmark, row))


def _plain(row: Row) -> Row:
    values = row.values()
    return row._replace(content={**values, "answer": _answer(values.get("answer"))})


def _of_dataset(benchmark: Benchmark, row: Row) -> Row:
    """The row with its answer as text and its tests as JSON."""
    values, own = dict(row.values()), benchmark.columns
    if _wrong_lists(benchmark, values):
        return row._replace(content={**values, "tests": None} | ({own.answer: None} if own.answer else {}))
    if own.answer is not None:
        values[own.answer] = _answer(values.get(own.answer))
    if own.tests:
        tests = {name: values.get(name) for name in own.tests}
        values["tests"] = json.dumps(tests, ensure_ascii=False) if tests[own.tests[0]] else None
    return row._replace(content=values)


def _wrong_lists(benchmark: Benchmark, values: Mapping[str, Any]) -> list[str]:
    """The columns of lists that hold something else: of a CSV the text of one, which nothing says how to read."""
    return [name for name in benchmark.columns.lists if not isinstance(values.get(name, []), list | None)]


def _answer(value: Any) -> Any:
    """An answer as text where it is a list of answers or a number with a point; anything else as it is.

    >>> [_answer(value) for value in (["2", "3"], 27.0, 2.5, "x", 7)]
    ['2, 3', '27', '2.5', 'x', 7]
    """
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else repr(value)
    return value


def _why_not(benchmark: Benchmark, columns: Columns, row: Row, prompt: Prompt, reason: str) -> str:
    """Why an item cannot be measured; empty where it can."""
    if columns is not PLAIN and (wrong := _wrong_lists(benchmark, row.values())):
        return f"{wrong[0]} is no list"
    if benchmark.judge.needs == "answer":
        return reason
    if prompt.tests is None:
        return f"no {columns.more[0] if columns.more else 'tests'}"
    missing = [name for name in _shown(benchmark) if name not in _fields(prompt)]
    return f"tests has no {missing[0]!r}, which the prompt shows" if missing else ""


def _check_same(row: Row, first: Prompt, other: Prompt) -> None:
    if first != other:
        raise DataError(
            f"{row.place}: id {other.id!r} is that of another item too, {first.prompt[:60]!r}; make ids unique, or "
            "leave them out where texts are, and they are made of these"
        )


def _nothing_measurable(benchmark: Benchmark, findings: Findings) -> DataError:
    first = findings.without_answer.as_record()["listed"][0]
    return DataError(
        f"{findings.source}: none of its {findings.num_rows:,} rows can be measured, such as {first['id']!r}: "
        f"{first['reason']}; give the items of {benchmark.name} as {benchmark.url} has them"
    )


def _first_by_hash(prompts: Sequence[Prompt], count: int | None) -> list[Prompt]:
    if count is None or count >= len(prompts):
        return list(prompts)
    by_hash = sorted(prompts, key=lambda prompt: (text_digest(prompt.prompt), prompt.id))
    kept = {prompt.id for prompt in by_hash[:count]}
    return [prompt for prompt in prompts if prompt.id in kept]


# --- how an item is asked


def _asked(benchmark: Benchmark, prompt: Prompt) -> Prompt:
    """The item within the benchmark's template; white space around what is filled in is left out."""
    fields = {"prompt": prompt.prompt, **(_fields(prompt) if _shown(benchmark) else {})}
    template = benchmark.template
    for name, other in benchmark.template_with.items():
        template = other if fields.get(name) else template
    return replace(prompt, prompt=_PLACE.sub(lambda place: _text(fields[place[1]]), template))


def _shown(benchmark: Benchmark) -> list[str]:
    """The columns of tests that a template of the benchmark shows, or depends on."""
    templates = (benchmark.template, *benchmark.template_with.values())
    found = {name for template in templates for name in _PLACE.findall(template)}
    return sorted((found | set(benchmark.template_with)) - {"prompt"})


def _fields(prompt: Prompt) -> dict[str, Any]:
    """The columns of the item's tests; none where they are code."""
    try:
        fields = json.loads(prompt.tests or "{}")
    except ValueError:
        return {}
    return fields if isinstance(fields, dict) else {}


def _text(value: Any) -> str:
    return ("\n".join(map(str, value)) if isinstance(value, list) else str(value or "")).strip()
