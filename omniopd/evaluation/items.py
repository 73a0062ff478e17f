"""The items of a benchmark, from the hub or from a file, as prompts.

A file has the columns of the dataset, or our own: prompt, answer, id, tests. Rows that cannot be measured are counted
and listed with the reason.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from heapq import nsmallest
from pathlib import Path
from typing import Any

from omniopd.config import Benchmarks
from omniopd.data.columns import PLAIN, Columns, quoted
from omniopd.data.dedup import text_digest
from omniopd.data.prompts import Prompt
from omniopd.data.sources import Row, Source, fields_of
from omniopd.data.split import Findings, read_rows
from omniopd.errors import DataError
from omniopd.evaluation.benchmarks import Benchmark

_PLACE = re.compile(r"\{(\w+)\}")  # of a template


@dataclass(frozen=True)
class Items:
    """The items that can be measured, in the order of the source, and the findings in the source."""

    benchmark: Benchmark
    prompts: list[Prompt]
    num_measurable: int  # before num_items took the first by hash
    findings: Findings

    def as_record(self) -> dict[str, Any]:
        """The source of the items and the rows left out, for JSON."""
        return self.findings.as_record() | {
            "revision": self.findings.source.revision,
            "expected_rows": self.benchmark.num_items,
            "measurable": self.num_measurable,
            "items": len(self.prompts),
        }

    def remarks(self) -> list[str]:
        """How these differ from the benchmark's items, a sentence for each difference."""
        findings, name, remarks = self.findings, self.benchmark.name, []
        if findings.num_rows != self.benchmark.num_items:
            remarks.append(
                f"{findings.source}: {findings.num_rows:,} rows, but {name} has {self.benchmark.num_items:,} items; "
                "scores are not comparable to published ones"
            )
        if findings.num_repeated:
            remarks.append(
                f"{findings.source}: {findings.num_repeated:,} rows repeat another and are left out"
            )
        for left_out in (findings.unusable.as_record(), findings.without_answer.as_record()):
            if left_out["count"]:
                first = left_out["listed"][0]
                remarks.append(
                    f"{findings.source}: {left_out['count']:,} rows cannot be measured and are left out, such as "
                    f"{first.get('id', first.get('row'))!r}: {first['reason']}"
                )
        if len(self.prompts) < self.num_measurable:
            remarks.append(
                f"{name}: the first {len(self.prompts):,} of {self.num_measurable:,} items by hash"
            )
        return remarks


def read_items(
    benchmark: Benchmark, root: Path, *, file: str | None = None, num_items: int | None = None
) -> Items:
    """The items of the benchmark, from `file`, relative to the folder `root`, or by default from the hub.

    With `num_items`, those of lowest hash of their text, so that fewer items are a subset of more.

    Raises:
        DataError: the source cannot be read, lacks a column, or has no item that can be measured.
    """
    source = _source(benchmark, root, file)
    findings = Findings(source)
    by_id = _measurable(benchmark, source, findings)
    kept = set(by_id)
    if num_items is not None:
        kept = set(nsmallest(num_items, by_id, key=lambda id_: (text_digest(by_id[id_].text), id_)))
    prompts = [_asked(benchmark, prompt) for id_, prompt in by_id.items() if id_ in kept]
    return Items(benchmark, prompts, len(by_id), findings)


def _measurable(benchmark: Benchmark, source: Source, findings: Findings) -> dict[str, Prompt]:
    """The items that can be measured, by id, in the order of the source; the others are listed in `findings`."""
    columns = _columns(benchmark, source)
    pattern, reshape = None, _plain
    if columns is not PLAIN:
        pattern = re.compile(benchmark.answer_pattern) if benchmark.answer_pattern else None
        reshape = partial(_of_dataset, benchmark)
    by_id: dict[str, Prompt] = {}
    for row, prompt, reason in read_rows(source, columns, findings, pattern, reshape=reshape):
        reason = _why_not(benchmark, columns, row, prompt, reason)
        if reason:
            findings.without_answer.add(row.number, {"id": prompt.id, "reason": reason})
            continue
        first = by_id.setdefault(prompt.id, prompt)
        if prompt != first:
            raise DataError(
                f"{row.place}: id {prompt.id!r} is the id of another item too, {first.prompt[:60]!r}; make ids unique, "
                "or leave them out: they are then made from the texts"
            )
        findings.num_repeated += prompt is not first
    if not by_id:
        entry = findings.without_answer.as_record()["listed"][0]
        raise DataError(
            f"{source}: none of its {findings.num_rows:,} rows can be measured, such as {entry['id']!r}: "
            f"{entry['reason']}; give the items of {benchmark.name} as {benchmark.url} has them"
        )
    return by_id


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
    """The dataset's own columns where the source has them all, else PLAIN where it has the needed ones."""
    fields, columns = fields_of(source), benchmark.columns
    needed = [name for name in (columns.prompt, columns.answer, *columns.tests) if name is not None]
    if all(name in fields for name in needed):
        id_ = columns.id if columns.id in fields else None
        tests = "tests" if columns.tests else None
        return Columns(columns.prompt, columns.answer, id_, tests, tuple(columns.tests))
    plain = ["prompt", benchmark.judge.needs]
    if all(name in fields for name in plain):
        return PLAIN
    missing = next(name for name in needed if name not in fields)
    remedy = f"name them {quoted(needed)} as the dataset does, or {quoted(plain)}"
    if source.kind == "hub":
        remedy = f"its owner has changed it: give the items as a file, {source.setting}"
    raise DataError(f"{source}: has no column {missing!r}; it has {quoted(fields)}; {remedy}")


def _plain(row: Row) -> Row:
    values = row.values()
    return row._replace(content={**values, "answer": _answer(values.get("answer"))})


def _of_dataset(benchmark: Benchmark, row: Row) -> Row:
    """The row with its answer as text and its tests as JSON."""
    values, columns = dict(row.values()), benchmark.columns
    if _wrong_lists(benchmark, values):
        values |= {"tests": None} | ({columns.answer: None} if columns.answer else {})
        return row._replace(content=values)
    if columns.answer is not None:
        values[columns.answer] = _answer(values.get(columns.answer))
    if columns.tests:
        tests = {name: values.get(name) for name in columns.tests}
        values["tests"] = json.dumps(tests, ensure_ascii=False) if tests[columns.tests[0]] else None
    return row._replace(content=values)


def _wrong_lists(benchmark: Benchmark, values: Mapping[str, Any]) -> list[str]:
    """The columns of lists that hold something else, such as a CSV's text of a list, whose format is unknown."""
    return [name for name in benchmark.columns.lists if not isinstance(values.get(name, []), list | None)]


def _answer(value: Any) -> Any:
    """A list of answers or a float as text; anything else unchanged.

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
        return f"{wrong[0]} is not a list"
    if benchmark.judge.needs == "answer":
        return reason
    if prompt.tests is None:
        return f"no {columns.more[0] if columns.more else 'tests'}"
    missing = [name for name in _shown(benchmark) if name not in _fields(prompt)]
    return f"tests has no {missing[0]!r}, which the prompt shows" if missing else ""


# --- templates


def _asked(benchmark: Benchmark, prompt: Prompt) -> Prompt:
    """The item in the benchmark's template."""
    fields = {"prompt": prompt.prompt, **(_fields(prompt) if _shown(benchmark) else {})}
    return replace(prompt, prompt=_in_template(benchmark, fields))


def worked_examples(benchmark: Benchmark, suite: Benchmarks) -> list[tuple[str, str]]:
    """The suite's examples for the benchmark: prompts in its template, and responses."""
    return [
        (_in_template(benchmark, {"prompt": example.prompt}), example.response)
        for example in suite.examples.get(benchmark.name, ())
    ]


def _in_template(benchmark: Benchmark, fields: Mapping[str, Any]) -> str:
    """The benchmark's template with the fields filled in, without white space around them; others are empty."""
    template = benchmark.template
    for name, other in benchmark.template_with.items():
        template = other if fields.get(name) else template
    return _PLACE.sub(lambda place: _text(fields.get(place[1])), template)


def _shown(benchmark: Benchmark) -> list[str]:
    """The columns of tests that the benchmark's templates show or depend on."""
    templates = (benchmark.template, *benchmark.template_with.values())
    filled = {name for template in templates for name in _PLACE.findall(template)}
    return sorted((filled | set(benchmark.template_with)) - {"prompt"})


def _fields(prompt: Prompt) -> dict[str, Any]:
    """The columns of the item's tests; none where they are code."""
    try:
        fields = json.loads(prompt.tests or "{}")
    except ValueError:
        return {}
    return fields if isinstance(fields, dict) else {}


def _text(value: Any) -> str:
    return ("\n".join(map(str, value)) if isinstance(value, list) else str(value or "")).strip()
