"""A stream of prompts → the splits of seeds, drawn by hash.

Memory holds at most twice the kept prompts, and a digest of each text.

A prompt's place is a hash of the seed and its text. Held-out and validation prompts are those of lowest hash that can
be measured on, training prompts the next of all: neither the order of the rows nor repeated ones change a split.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeVar

from omniopd.data.columns import Columns, missing_column, value_at
from omniopd.data.decontaminate import EvaluationItems, Overlap
from omniopd.data.dedup import text_digest
from omniopd.data.prompts import (
    MAX_MISTAKES,
    Prompt,
    Reference,
    bad_lines,
    check_ids,
    no_prompts,
    prompt_of,
)
from omniopd.data.sources import Row, Source, stream
from omniopd.errors import DataError

MAX_LISTED = 1000  # of a kind, in a report
BATCH = 1024  # prompts whose tokens are counted at once
Splits = dict[str, list[Prompt]]
T = TypeVar("T")


@dataclass(frozen=True)
class Rules:
    """How rows become prompts, which of them are kept, and the sizes of the splits."""

    columns: Columns
    num_train: int
    num_validation: int
    num_heldout: int
    answer_pattern: re.Pattern[str] | None = None
    measured_by: Reference = "answer"
    shown: Sequence[str] = ()  # questions of worked examples, which are neither trained nor measured on
    max_tokens: int | None = None
    count_tokens: Callable[[Sequence[Prompt]], Sequence[int]] | None = None  # required with max_tokens

    @property
    def num_measured(self) -> int:
        """Held-out and validation prompts."""
        return self.num_heldout + self.num_validation


class Listed:
    """The number of rows of a kind, and the MAX_LISTED of lowest key."""

    def __init__(self) -> None:
        self.count = 0
        self._entries: dict[int, dict[str, Any]] = {}

    def add(self, key: int, entry: dict[str, Any]) -> None:
        """Count one more; of two entries with the same key the later is listed."""
        self.count += 1
        _keep_lowest(self._entries, key, entry, size=MAX_LISTED)

    def as_record(self) -> dict[str, Any]:
        """The count and the list, for JSON."""
        return {"count": self.count, "listed": list(_lowest(self._entries, MAX_LISTED).values())}


@dataclass
class Findings:
    """What a source holds besides usable prompts, counted while its splits are drawn."""

    source: Source
    num_rows: int = 0
    num_repeated: int = 0
    unusable: Listed = field(default_factory=Listed)
    without_answer: Listed = field(default_factory=Listed)
    too_long: Listed = field(default_factory=Listed)
    contaminated: dict[int, Listed] = field(default_factory=dict)  # by seed
    num_items: int | None = None  # evaluation items from elsewhere; None: no decontamination

    def as_record(self) -> dict[str, Any]:
        """The source and the rows left out, for JSON."""
        return {
            "source": self.source.name,
            "subset": self.source.subset,
            "split": None if self.source.path else self.source.split,
            "rows": self.num_rows,
            "repeated": self.num_repeated,
            "unusable": self.unusable.as_record(),
            "without_answer": self.without_answer.as_record(),
        }

    def report(self, seed: int, splits: Splits) -> dict[str, Any]:
        """The record of a seed, for JSON. Rows without an answer are counted with those that repeat a text."""
        record = self.as_record() | {
            "too_long": self.too_long.as_record(),
            "splits": {name: len(prompts) for name, prompts in splits.items()},
        }
        if self.num_items is not None:
            record["contaminated"] = self.contaminated[seed].as_record()
            record["evaluation_items"] = self.num_items
        return record


def draw(
    source: Source, rules: Rules, seeds: Sequence[int], *, evaluation: EvaluationItems | None = None
) -> tuple[dict[int, Splits], Findings]:
    """The splits of each seed, and the findings; no text is in two splits of a seed.

    Rows that repeat a worked example are left out. Of rows with the same text one that can be measured on is kept, and
    of those the one of lowest id. With evaluation items the source is read twice, and no training prompt overlaps with
    one of them, or with a prompt that its seed measures on.

    Raises:
        DataError: the source cannot be used, or holds too few prompts.
    """
    findings = Findings(source, num_items=None if evaluation is None else len(evaluation))
    candidates = {seed: _Candidates(seed, rules) for seed in dict.fromkeys(seeds)}
    left_out = _read_all(source, rules, candidates.values(), findings, trains=evaluation is None)
    for of_seed in candidates.values():
        of_seed.choose_measured(findings)
    if evaluation is not None:
        findings.contaminated = {seed: Listed() for seed in candidates}
        _read_train(source, rules, candidates.values(), findings, evaluation, left_out)
    return {seed: of_seed.splits(findings) for seed, of_seed in candidates.items()}, findings


def read_rows(
    source: Source,
    columns: Columns,
    findings: Findings,
    answer_pattern: re.Pattern[str] | None = None,
    *,
    reshape: Callable[[Row], Row] | None = None,
) -> Iterator[tuple[Row, Prompt, str]]:
    """(row, prompt, why it has no answer) of every usable row; the others are added to the findings.

    `reshape` is applied to a row before its prompt is read.

    Raises:
        DataError: no row can be used, none has a mapped column, or some lines of a JSONL file cannot be used: the user
            can fix those.
    """
    mistakes: list[str] = []
    unseen = columns.renamed() if source.kind in ("jsonl", "json") else {}
    fields: dict[str, None] = {}
    for row in stream(source, columns):
        findings.num_rows += 1
        try:
            prompt, reason = prompt_of(reshape(row) if reshape else row, columns, answer_pattern)
            if unseen:
                values = row.values()
                fields |= dict.fromkeys(values)
                unseen = {part: path for part, path in unseen.items() if value_at(values, path) is None}
        except DataError as error:
            reason = str(error).removeprefix(f"{row.place}: ")
            findings.unusable.add(row.number, {"row": row.number, "reason": reason})
            if len(mistakes) < MAX_MISTAKES:
                mistakes.append(str(error))
            continue
        yield row, prompt, reason
    if mistakes and (source.kind == "jsonl" or findings.unusable.count == findings.num_rows):
        raise bad_lines(mistakes, findings.unusable.count, source)
    if not findings.num_rows:
        raise no_prompts(source)
    for part, path in unseen.items():
        raise missing_column(source, part, path, fields)


class _Candidates:
    """The prompts that may enter the splits of a seed, by their place in the seed's order."""

    def __init__(self, seed: int, rules: Rules) -> None:
        self.seed, self._rules = seed, rules
        self.train: dict[int, Prompt] = {}
        self.measured: dict[int, Prompt] = {}

    def place(self, digest: bytes) -> int:
        """The place of a text in the seed's order."""
        salt = f"prepare/{self.seed}".encode()
        return int.from_bytes(hashlib.blake2b(digest, digest_size=16, key=salt).digest(), "big")

    def add_train(self, place: int, prompt: Prompt) -> None:
        self._add(self.train, place, prompt, self._rules.num_train + self._rules.num_measured)

    def add_measured(self, place: int, prompt: Prompt) -> None:
        self._add(self.measured, place, prompt, self._rules.num_measured)

    def _add(self, prompts: dict[int, Prompt], place: int, prompt: Prompt, size: int) -> None:
        other = prompts.get(place)
        if other is None or self._preference(prompt) < self._preference(other):
            _keep_lowest(prompts, place, prompt, size=size)

    def _preference(self, prompt: Prompt) -> tuple[bool, str, str, str, str]:
        """Of rows with the same text the one of lowest value is kept."""
        lacks_reference = not prompt.has(self._rules.measured_by)
        return lacks_reference, prompt.id, prompt.answer or "", prompt.tests or "", prompt.text

    def choose_measured(self, findings: Findings) -> None:
        """Fix the prompts to measure on; raises where there are too few."""
        rules, without, why = self._rules, findings.without_answer.as_record(), ""
        self.measured = _lowest(self.measured, rules.num_measured)
        if len(self.measured) == rules.num_measured:
            return
        if without["count"]:
            first = without["listed"][0]
            why = f" ({without['count']:,} rows without, such as {first['id']!r}: {first['reason']})"
        raise DataError(
            f"{findings.source.name}: {len(self.measured)} prompts have an answer, and {rules.num_measured} are to "
            f"be measured on{why}; add answers, or lower prompts.num_heldout and prompts.num_validation"
        )

    def splits(self, findings: Findings) -> Splits:
        """The splits, each in the seed's order; raises where too few prompts are left to train on."""
        rules, source = self._rules, findings.source
        measured = list(self.measured.values())
        unmeasured = {place: prompt for place, prompt in self.train.items() if place not in self.measured}
        train = list(_lowest(unmeasured, rules.num_train).values())
        if len(train) < rules.num_train:
            num_overlapping = findings.contaminated[self.seed].count if findings.contaminated else 0
            overlap = f", {num_overlapping} that overlap with those left out" if num_overlapping else ""
            raise DataError(
                f"{source.name}: {len(train)} prompts are left to train on after {rules.num_measured} to measure on"
                f"{overlap}, and prompts.num_train is {rules.num_train}; add prompts or lower it"
            )
        check_ids([*measured, *train], source)
        return {
            "heldout": measured[: rules.num_heldout],
            "validation": measured[rules.num_heldout :],
            "train": train,
        }


def _read_all(
    source: Source, rules: Rules, candidates: Iterable[_Candidates], findings: Findings, *, trains: bool
) -> set[bytes]:
    """Read the source once, for the findings, the prompts to measure on and, if `trains`, those to train on.

    Returns the digests of the texts that are left out: worked examples, and those that are too long.
    """
    shown = set(map(text_digest, rules.shown))
    left_out: set[bytes] = set()
    seen: set[bytes] = set()
    rows = read_rows(source, rules.columns, findings, rules.answer_pattern)
    while batch := list(islice(rows, BATCH)):
        digests = [text_digest(prompt.text) for _, prompt, _ in batch]
        new: dict[bytes, Prompt] = {}
        for (_, prompt, _), digest in zip(batch, digests, strict=True):
            if shown and text_digest(prompt.prompt) in shown:  # whatever its history
                left_out.add(digest)
                seen.add(digest)
            if digest not in seen:
                new.setdefault(digest, prompt)
        seen.update(new)
        findings.num_repeated += len(batch) - len(new)
        left_out |= _long_ones(new, rules, findings)
        for (_, prompt, reason), digest in zip(batch, digests, strict=True):
            if reason:
                entry = {"id": prompt.id, "reason": reason}
                findings.without_answer.add(int.from_bytes(digest, "big"), entry)
            if digest in left_out:
                continue
            for of_seed in candidates:
                place = of_seed.place(digest)
                if trains:
                    of_seed.add_train(place, prompt)
                if prompt.has(rules.measured_by):
                    of_seed.add_measured(place, prompt)
    return left_out


def _long_ones(prompts: Mapping[bytes, Prompt], rules: Rules, findings: Findings) -> set[bytes]:
    if rules.max_tokens is None or not prompts:
        return set()
    assert rules.count_tokens is not None
    lengths = rules.count_tokens(list(prompts.values()))
    too_long = set()
    for (digest, prompt), length in zip(prompts.items(), lengths, strict=True):
        if length > rules.max_tokens:
            too_long.add(digest)
            findings.too_long.add(int.from_bytes(digest, "big"), {"id": prompt.id, "tokens": length})
    return too_long


def _read_train(
    source: Source,
    rules: Rules,
    candidates: Iterable[_Candidates],
    findings: Findings,
    evaluation: EvaluationItems,
    left_out: set[bytes],
) -> None:
    """Read the source again, for the prompts to train on: those that overlap with none to measure on."""
    seeds: list[tuple[_Candidates, EvaluationItems, set[bytes]]] = []  # with the digests of overlapping texts
    for of_seed in candidates:
        items = EvaluationItems(evaluation.ngram)
        for prompt in of_seed.measured.values():
            items.add(f"{prompt.id} of this set", prompt.turns)
        seeds.append((of_seed, items, set()))
    seen: set[bytes] = set()
    for _, prompt, _ in read_rows(source, rules.columns, Findings(source), rules.answer_pattern):
        digest = text_digest(prompt.text)
        if digest in left_out:
            continue
        is_new = digest not in seen
        seen.add(digest)
        with_evaluation = _overlap(evaluation, prompt) if is_new else None
        for of_seed, items, overlapping in seeds:
            place = of_seed.place(digest)
            if place in of_seed.measured or digest in overlapping:
                continue
            overlap = (with_evaluation or _overlap(items, prompt)) if is_new else None
            if overlap is None:
                of_seed.add_train(place, prompt)
                continue
            overlapping.add(digest)
            entry = {"id": prompt.id, "with": overlap.item, "words": overlap.words}
            findings.contaminated[of_seed.seed].add(place, entry)


def _overlap(items: EvaluationItems, prompt: Prompt) -> Overlap | None:
    """Of the whole conversation or, where that is longer, of the question alone."""
    overlap = items.overlap(prompt.turns)
    return items.overlap(prompt.prompt) if overlap is None and prompt.history else overlap


def _keep_lowest(entries: dict[int, T], key: int, value: T, *, size: int) -> None:
    """Set an entry; of more than twice as many entries as `size` keep those of lowest key."""
    entries[key] = value
    if len(entries) > 2 * size:
        for surplus in sorted(entries)[size:]:
            del entries[surplus]


def _lowest(entries: dict[int, T], size: int) -> dict[int, T]:
    """The `size` entries of lowest key, in order."""
    return dict(sorted(entries.items())[:size])
