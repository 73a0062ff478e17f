"""The items of a benchmark, from the hub or from a file, as prompts.

A file has the columns that the benchmark names, or the plain ones: prompt, answer, id, tests. Rows that cannot be
measured are counted and listed with the reason.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from heapq import nsmallest
from typing import Any

from omniopd.config.benchmarks import Measurement
from omniopd.config.schema.benchmark import Benchmark
from omniopd.data.columns import PLAIN, Columns, quoted, value_at
from omniopd.data.dedup import text_digest
from omniopd.data.prompts import Prompt, Reference
from omniopd.data.sources import Row, fields_of
from omniopd.data.split import Findings, read_rows
from omniopd.errors import DataError
from omniopd.evaluation.benchmarks import judge_of
from omniopd.evaluation.templates import asked, fields_of_tests


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
            "expected_rows": self.benchmark.expected_rows,
            "measurable": self.num_measurable,
            "items": len(self.prompts),
        }

    def remarks(self) -> list[str]:
        """How these differ from the benchmark's items, a sentence for each difference."""
        findings, name, remarks = self.findings, self.benchmark.name, []
        expected = self.benchmark.expected_rows
        if expected not in (None, findings.num_rows):
            remarks.append(
                f"{findings.source}: {findings.num_rows:,} rows, but {name} has {expected:,} items; "
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


@dataclass(frozen=True)
class _Item:
    """An item before it is put into the template, and the values of its row that the template shows."""

    prompt: Prompt
    shown: dict[str, Any]


def read_items(measurement: Measurement) -> Items:
    """The items of the benchmark.

    With `num_items`, those of lowest hash of their text, so that fewer items are a subset of more.

    Raises:
        DataError: the source cannot be read, lacks a column, or has no item that can be measured.
    """
    path, num_items = measurement.source.path, measurement.num_items
    if path is not None and not path.is_file():
        remedy = ", or leave it out to take them from the hub" if not measurement.entry.is_file else ""
        raise DataError(f"{path}: no such file of items; fix {measurement.source.setting}{remedy}")
    findings = Findings(measurement.source)
    by_id = _measurable(measurement, findings)
    kept = set(by_id)
    if num_items is not None:
        kept = set(nsmallest(num_items, by_id, key=lambda id_: (text_digest(by_id[id_].prompt.text), id_)))
    benchmark = measurement.benchmark
    prompts = [asked(benchmark, item.prompt, item.shown) for id_, item in by_id.items() if id_ in kept]
    return Items(benchmark, prompts, len(by_id), findings)


def _measurable(measurement: Measurement, findings: Findings) -> dict[str, _Item]:
    """The items that can be measured, by id, in the order of the source; the others are listed in `findings`."""
    benchmark, source = measurement.benchmark, measurement.source
    form = _form(measurement)
    pattern = re.compile(benchmark.answer_pattern) if benchmark.answer_pattern and form.is_named else None
    reshape = partial(_of_dataset, benchmark) if form.is_named else _plain
    by_id: dict[str, _Item] = {}
    for row, prompt, reason in read_rows(source, form.columns, findings, pattern, reshape=reshape):
        reason = _why_not(benchmark, form, row, prompt, reason)
        if reason:
            findings.without_answer.add(row.number, {"id": prompt.id, "reason": reason})
            continue
        item = _Item(prompt, {name: value_at(row.values(), name) for name in form.shown})
        first = by_id.setdefault(prompt.id, item)
        if item != first:
            raise DataError(
                f"{row.place}: id {prompt.id!r} is the id of another item too, {first.prompt.prompt[:60]!r}; make ids "
                "unique, or leave them out: they are then made from the texts"
            )
        findings.num_repeated += item is not first
    if not by_id:
        entry = findings.without_answer.as_record()["listed"][0]
        raise DataError(
            f"{source}: none of its {findings.num_rows:,} rows can be measured, such as {entry['id']!r}: "
            f"{entry['reason']}; {_remedy(measurement)}"
        )
    return by_id


def _remedy(measurement: Measurement) -> str:
    if measurement.entry.is_file:
        return f"fix the rows, or columns and answer_pattern in {measurement.entry.name}"
    return f"give the items of {measurement.benchmark.name} as {measurement.benchmark.url} has them"


@dataclass(frozen=True)
class _Form:
    """The columns of a source, as the benchmark names them or PLAIN."""

    columns: Columns
    shown: list[str]  # by the template, besides those of the tests
    is_named: bool  # by the benchmark
    needs: Reference


def _form(measurement: Measurement) -> _Form:
    """The columns that the benchmark names where the source has them all, else PLAIN where it has the needed ones."""
    benchmark, source = measurement.benchmark, measurement.source
    fields, columns, needs = fields_of(source), benchmark.columns, judge_of(benchmark).needs
    shown = [name for name in benchmark.shown if name not in columns.record]
    needed, plain = [*columns.named, *shown], ["prompt", needs, *shown]
    missing = [name for name in needed if value_at(fields, name) is None]
    if not missing:
        id_ = columns.id if columns.id and value_at(fields, columns.id) is not None else None
        tests = "tests" if columns.record else columns.whole_tests
        more = (*columns.record, *shown)
        return _Form(Columns(columns.prompt, columns.answer, id_, tests, more), shown, True, needs)
    if all(value_at(fields, name) is not None for name in plain):
        return _Form(replace(PLAIN, more=tuple(shown)), shown, False, needs)
    remedy = f"name them {quoted(needed)} as the dataset does, or {quoted(plain)}"
    if measurement.entry.is_file:
        remedy = f"fix `columns`, or the names in braces of `template`, in {measurement.entry.name}"
    elif source.kind == "hub":
        remedy = f"its owner has changed it: give the items as a file, {source.setting}"
    raise DataError(f"{source}: has no column {missing[0]!r}; it has {quoted(fields)}; {remedy}")


def _plain(row: Row) -> Row:
    values = row.values()
    return row._replace(content={**values, "answer": _answer(values.get("answer"))})


def _of_dataset(benchmark: Benchmark, row: Row) -> Row:
    """The row with its answer as text and its tests as JSON, if they are several columns."""
    values, columns = dict(row.values()), benchmark.columns
    if _wrong_lists(benchmark, values):
        values |= {"tests": None} | ({columns.answer: None} if columns.answer else {})
        return row._replace(content=values)
    if columns.answer is not None:
        values[columns.answer] = _answer(value_at(values, columns.answer))
    if columns.record:
        tests = {name: value_at(values, name) for name in columns.record}
        values["tests"] = json.dumps(tests, ensure_ascii=False) if tests[columns.record[0]] else None
    return row._replace(content=values)


def _wrong_lists(benchmark: Benchmark, values: Mapping[str, Any]) -> list[str]:
    """The columns of lists that hold something else, such as a CSV's text of a list, whose format is unknown."""
    return [name for name in benchmark.columns.lists if not isinstance(value_at(values, name), list | None)]


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


def _why_not(benchmark: Benchmark, form: _Form, row: Row, prompt: Prompt, reason: str) -> str:
    """Why an item cannot be measured; empty where it can."""
    if form.is_named and (wrong := _wrong_lists(benchmark, row.values())):
        return f"{wrong[0]} is not a list"
    if form.needs == "answer":
        return reason or ("" if prompt.has("answer") else "no answer")
    if prompt.tests is None:
        record = benchmark.columns.record if form.is_named else []
        return f"no {record[0] if record else form.columns.tests}"
    in_tests = [name for name in benchmark.shown if name not in form.shown]
    missing = [name for name in in_tests if name not in fields_of_tests(prompt)]
    return f"tests has no {missing[0]!r}, which the prompt shows" if missing else ""
