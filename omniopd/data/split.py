"""A stream of prompts → the splits of seeds: drawn by hash, so that memory holds what is kept and 16 bytes a text.

A prompt's place is a hash of the seed and its text. Held-out and validation prompts are those of lowest hash that can
be measured, training prompts the next of all: neither the order of the rows nor repeated ones change a split.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeVar

from omniopd.data.columns import Columns, value_at
from omniopd.data.decontaminate import EvaluationItems
from omniopd.data.dedup import Digests, text_digest
from omniopd.data.prompts import (
    MAX_MISTAKES,
    Prompt,
    Reference,
    check_ids,
    no_prompts,
    prompt_of,
    told_at_once,
)
from omniopd.data.smallest import Smallest
from omniopd.data.sources import Row, Source, missing_column, stream
from omniopd.errors import DataError

MAX_LISTED = 1000  # of a kind, in a report
BATCH = 1024  # prompts whose tokens are counted at once
Splits = dict[str, list[Prompt]]
T = TypeVar("T")


@dataclass(frozen=True)
class Rules:
    """How rows become prompts, which of them are kept, and how many a split has."""

    columns: Columns
    num_train: int
    num_validation: int
    num_heldout: int
    answer_pattern: re.Pattern[str] | None = None
    measured_by: Reference = "answer"
    max_tokens: int | None = None
    count_tokens: Callable[[Sequence[str]], Sequence[int]] | None = None  # needed where there is a most

    @property
    def num_measured(self) -> int:
        """Prompts that are held out or watched."""
        return self.num_heldout + self.num_validation


class Listed:
    """How many there were of a kind, and the first MAX_LISTED of them in the order of their keys."""

    def __init__(self) -> None:
        self.count = 0
        self._entries: Smallest[dict[str, Any]] = Smallest(MAX_LISTED)

    def add(self, key: int, entry: dict[str, Any]) -> None:
        """One more."""
        self.count += 1
        self._entries.offer(key, entry)

    def as_record(self) -> dict[str, Any]:
        """The count and the list, for JSON."""
        return {"count": self.count, "listed": [entry for _, entry in self._entries]}


@dataclass
class Findings:
    """What was found in a source on the way to its splits."""

    source: Source
    num_rows: int = 0
    num_repeated: int = 0
    unusable: Listed = field(default_factory=Listed)
    without_answer: Listed = field(default_factory=Listed)
    too_long: Listed = field(default_factory=Listed)
    contaminated: dict[int, Listed] = field(default_factory=dict)  # by seed
    num_items: int | None = None  # evaluation items from elsewhere; None: nothing was compared

    def report(self, seed: int, splits: Splits) -> dict[str, Any]:
        """The record of a seed, for JSON. Rows without an answer are counted with those that repeat a text."""
        found: dict[str, Any] = {
            "source": self.source.name,
            "subset": self.source.subset,
            "split": None if self.source.path else self.source.split,
            "rows": self.num_rows,
            "repeated": self.num_repeated,
            "unusable": self.unusable.as_record(),
            "without_answer": self.without_answer.as_record(),
            "too_long": self.too_long.as_record(),
            "splits": {name: len(prompts) for name, prompts in splits.items()},
        }
        if self.num_items is not None:
            found["contaminated"] = self.contaminated[seed].as_record()
            found["evaluation_items"] = self.num_items
        return found


def draw(
    source: Source, rules: Rules, seeds: Sequence[int], *, evaluation: EvaluationItems | None = None
) -> tuple[dict[int, Splits], Findings]:
    """The splits of each seed, and what was found on the way; no text stands in two splits of a seed.

    Of rows with one text that is kept which can be measured, and of those the one of lowest id. Where there are
    evaluation items, no training prompt overlaps with one of them, or with a prompt that its seed measures on; the
    source is then read twice.

    Raises:
        DataError: the source cannot be used, or holds too few prompts.
    """
    findings = Findings(source, num_items=None if evaluation is None else len(evaluation))
    drawn = {seed: _Seed(seed, rules) for seed in dict.fromkeys(seeds)}
    too_long = _read_all(source, rules, drawn.values(), findings, trains=evaluation is None)
    for own in drawn.values():
        own.check_measured(findings)
    if evaluation is not None:
        findings.contaminated = {seed: Listed() for seed in drawn}
        _read_train(source, rules, drawn.values(), findings, evaluation, too_long)
    return {seed: own.splits(source, findings) for seed, own in drawn.items()}, findings


def read_rows(
    source: Source,
    columns: Columns,
    findings: Findings,
    answer_pattern: re.Pattern[str] | None = None,
    *,
    reshape: Callable[[Row], Row] | None = None,
) -> Iterator[tuple[Row, Prompt, str]]:
    """(row, prompt, why it has no answer) of every row that can be used; the others are noted.

    A prompt is made of what `reshape`, where there is one, makes of the row.

    Raises:
        DataError: no row can be used, none has a mapped column, or, of JSON lines, some cannot be used: those are the
            user's own to fix.
    """
    mistakes: list[str] = []
    unseen = columns.own_names() if source.kind in ("jsonl", "json") else {}
    fields: dict[str, None] = {}
    for row in stream(source, columns):
        findings.num_rows += 1
        try:
            prompt, reason = prompt_of(reshape(row) if reshape else row, columns, answer_pattern)
            if unseen:
                values = row.values()
                fields |= dict.fromkeys(values)
                unseen = {
                    thing: path for thing, path in unseen.items() if value_at(values, path) is None
                }  # fmt: skip
        except DataError as error:
            said = str(error).removeprefix(f"{row.place}: ")
            findings.unusable.add(row.number, {"row": row.number, "reason": said})
            if len(mistakes) < MAX_MISTAKES:
                mistakes.append(str(error))
            continue
        yield row, prompt, reason
    num_unusable = findings.unusable.count
    if mistakes and (source.kind == "jsonl" or num_unusable == findings.num_rows):
        raise told_at_once(mistakes, num_unusable, source)
    if not findings.num_rows:
        raise no_prompts(source)
    for thing, path in unseen.items():
        raise missing_column(source, thing, path, fields)


class _Seed:
    """What a seed keeps."""

    def __init__(self, seed: int, rules: Rules) -> None:
        self.seed, self._rules = seed, rules
        self._salt = f"prepare/{seed}".encode()
        self.train: Smallest[Prompt] = Smallest(rules.num_train + rules.num_measured)
        self.measured: Smallest[Prompt] = Smallest(rules.num_measured)

    def key(self, digest: bytes) -> int:
        """The place of a text in the seed's order."""
        return int.from_bytes(hashlib.blake2b(digest, digest_size=16, key=self._salt).digest(), "big")

    def check_measured(self, findings: Findings) -> None:
        """Raise where too few prompts can be measured."""
        rules, without = self._rules, findings.without_answer.as_record()
        if len(self.measured) < rules.num_measured:
            first = without["listed"][0] if without["count"] else {}
            why = (
                f" ({without['count']:,} rows without, such as {first['id']!r}: {first['reason']})"
                if first
                else ""
            )
            raise DataError(
                f"{findings.source.name}: {len(self.measured)} prompts have an answer, and {rules.num_measured} are to "
                f"be measured on{why}; add answers, or lower prompts.num_heldout and prompts.num_validation"
            )

    def splits(self, source: Source, findings: Findings) -> Splits:
        """The prompts by split, in the seed's order."""
        rules = self._rules
        keys = {key for key, _ in self.measured}
        measured = [prompt for _, prompt in self.measured]
        train = [prompt for key, prompt in self.train if key not in keys]
        if len(train) < rules.num_train:
            left_out = findings.contaminated[self.seed].count if findings.contaminated else 0
            overlap = f", {left_out} that overlap with those left out" if left_out else ""
            raise DataError(
                f"{source.name}: {len(train)} prompts are left to train on after {rules.num_measured} to measure on"
                f"{overlap}, and prompts.num_train is {rules.num_train}; add prompts or lower it"
            )
        train = train[: rules.num_train]
        check_ids([*measured, *train], source)
        return {
            "heldout": measured[: rules.num_heldout],
            "validation": measured[rules.num_heldout :],
            "train": train,
        }


def _read_all(
    source: Source, rules: Rules, seeds: Iterable[_Seed], findings: Findings, *, trains: bool
) -> Digests:
    """Read the source once: note what is found and what is measured on, and, where it trains, what is trained on.

    Returns the texts that are too long.
    """
    seen, too_long = Digests(), Digests()
    for batch in _batches(read_rows(source, rules.columns, findings, rules.answer_pattern)):
        digests = [text_digest(prompt.prompt) for _, prompt, _ in batch]
        is_new = [seen.add(digest) for digest in digests]
        findings.num_repeated += len(batch) - sum(is_new)
        firsts = [(item[1], digest) for item, digest, new in zip(batch, digests, is_new, strict=True) if new]
        _drop_long(firsts, rules, findings, too_long)
        for (_, prompt, reason), digest in zip(batch, digests, strict=True):
            if reason:
                entry = {"id": prompt.id, "reason": reason}
                findings.without_answer.add(int.from_bytes(digest, "big"), entry)
            if too_long and digest in too_long:
                continue
            for own in seeds:
                key = own.key(digest)
                if trains:
                    _keep(own.train, key, prompt, rules)
                if prompt.has(rules.measured_by):
                    _keep(own.measured, key, prompt, rules)
    return too_long


def _read_train(
    source: Source,
    rules: Rules,
    seeds: Iterable[_Seed],
    findings: Findings,
    evaluation: EvaluationItems,
    too_long: Digests,
) -> None:
    """Read the source again for what is trained on: what overlaps with nothing that is measured on."""
    of_seeds = []
    for own in seeds:
        items = evaluation.like()
        for _, prompt in own.measured:
            items.add(f"{prompt.id} of this set", prompt.prompt)
        of_seeds.append((own, items, {key for key, _ in own.measured}))
    dropped = {own.seed: Digests() for own in seeds}
    seen = Digests()
    for _, prompt, _ in read_rows(source, rules.columns, Findings(source), rules.answer_pattern):
        digest = text_digest(prompt.prompt)
        if digest in too_long:
            continue
        is_new = seen.add(digest)
        everywhere = evaluation.overlap(prompt.prompt) if is_new else None
        for own, items, measured in of_seeds:
            key = own.key(digest)
            if key in measured or (not is_new and digest in dropped[own.seed]):
                continue
            overlap = (everywhere or items.overlap(prompt.prompt)) if is_new else None
            if overlap is None:
                _keep(own.train, key, prompt, rules)
                continue
            dropped[own.seed].add(digest)
            entry = {"id": prompt.id, "with": overlap.item, "words": overlap.words}
            findings.contaminated[own.seed].add(key, entry)


def _drop_long(
    prompts: Sequence[tuple[Prompt, bytes]], rules: Rules, findings: Findings, too_long: Digests
) -> None:
    if rules.max_tokens is None or not prompts:
        return
    assert rules.count_tokens is not None
    lengths = rules.count_tokens([prompt.prompt for prompt, _ in prompts])
    for (prompt, digest), length in zip(prompts, lengths, strict=True):
        if length > rules.max_tokens:
            too_long.add(digest)
            findings.too_long.add(int.from_bytes(digest, "big"), {"id": prompt.id, "tokens": length})


def _keep(kept: Smallest[Prompt], key: int, prompt: Prompt, rules: Rules) -> None:
    """Offer a prompt; of two of one text that stays which comes first by `_rank`."""
    other = kept.get(key)
    if other is None or _rank(prompt, rules) < _rank(other, rules):
        kept.offer(key, prompt)


def _rank(prompt: Prompt, rules: Rules) -> tuple[bool, str, str, str, str]:
    mute = not prompt.has(rules.measured_by)
    return (
        mute, prompt.id, prompt.answer or "", prompt.tests or "", prompt.prompt
    )  # fmt: skip


def _batches(items: Iterable[T]) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, BATCH)):
        yield batch
