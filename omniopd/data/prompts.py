"""Prompts: what a row of a source says, and JSONL files of {"id", "prompt"}, with "answer" and "tests" where known."""

import json
import random
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from omniopd.data.columns import PLAIN, Columns, quoted, value_at
from omniopd.data.dedup import text_digest
from omniopd.data.sources import Row, Source, stream
from omniopd.errors import DataError

MAX_MISTAKES = 5  # told at once
SHOWN = 60  # characters of an answer that cannot be read


Reference = Literal["answer", "tests"]  # what a response is measured by


@dataclass(frozen=True, slots=True)
class Prompt:
    """One question for the student; what it is measured by is known for prompts that measure, never needed to train.

    >>> Prompt(id="heldout-00000", prompt="4185+5874=", answer="10059").answer
    '10059'
    """

    id: str
    prompt: str
    answer: str | None = None
    tests: str | None = None  # of a program: code, or JSON

    def has(self, reference: Reference) -> bool:
        """Whether a response can be measured by that."""
        return getattr(self, reference) is not None

    def as_row(self) -> dict[str, str]:
        """The prompt as it stands in a JSONL file; what is unknown is left out."""
        known = {"id": self.id, "prompt": self.prompt, "answer": self.answer, "tests": self.tests}
        return {name: value for name, value in known.items() if value is not None}


def prompt_of(
    row: Row, columns: Columns = PLAIN, answer_pattern: re.Pattern[str] | None = None
) -> tuple[Prompt, str]:
    """The prompt of a row, and why it has no answer; the latter is empty where it has one, or is not mapped to one.

    Of a list of messages the prompt is the last that a user wrote. An id that is missing is made of the text.

    Raises:
        DataError: the row has no prompt that can be asked, or an id that is no text.
    """
    values = row.values()
    text = _text_of(values, columns.prompt, row)
    answer, reason = _answer_of(values, columns, answer_pattern)
    id_ = None if columns.id is None else value_at(values, columns.id)
    if id_ is None:
        id_ = text_digest(text).hex()[:16]
    elif (number := _whole_number(id_)) is not None:
        id_ = number
    elif not isinstance(id_, str) or not id_ or not _is_unicode(id_):
        raise DataError(
            f"{row.place}: field {columns.id!r} is {id_!r}, and an id is some text or a number; fix it, or set "
            "prompts.columns.id: null"
        )
    tests = None if columns.tests is None else value_at(values, columns.tests)
    if tests is not None and not isinstance(tests, str):
        tests = json.dumps(tests, ensure_ascii=False)
    return Prompt(id_, text, answer, tests), reason


def _text_of(values: Mapping[str, Any], path: str, row: Row) -> str:
    found = value_at(values, path)
    if isinstance(found, list | tuple):
        found = next(
            (message.get("content") for message in reversed(found) if _is_of_user(message)), None
        )  # fmt: skip
        if found is None:
            raise DataError(
                f"{row.place}: field {path!r} holds no message of a user; fix or leave out the row"
            )
    if found is None:
        where = "" if path == "prompt" else " (prompts.columns.prompt)"
        raise DataError(f"{row.place}: has no field {path!r}{where}; it has {quoted(values)}")
    if not isinstance(found, str):
        raise DataError(f"{row.place}: field {path!r} is {found!r}, not a string; put it in quotes")
    if not found or found.isspace():
        raise DataError(f"{row.place}: field {path!r} is empty; fill it or delete the line")
    if not _is_unicode(found):
        raise DataError(f"{row.place}: field {path!r} holds half a character; write the file anew as UTF-8")
    return found


def _is_of_user(message: Any) -> bool:
    return isinstance(message, Mapping) and message.get("role") == "user"


def _answer_of(
    values: Mapping[str, Any], columns: Columns, pattern: re.Pattern[str] | None
) -> tuple[str | None, str]:
    """The answer, or why there is none."""
    if columns.answer is None:
        return None, ""
    found = value_at(values, columns.answer)
    if found is None:
        return None, f"no {columns.answer}"
    found = _whole_number(found) or found
    if not isinstance(found, str) or not _is_unicode(found):
        return None, f"{columns.answer} is {repr(found)[:SHOWN]}, neither text nor a whole number"
    if pattern is None:
        return (found, "") if found else (None, f"{columns.answer} is empty")
    matches = list(pattern.finditer(found))
    answer = matches[-1][1] if matches else None
    if answer is None or not answer.strip():
        return None, f"answer_pattern finds nothing in {columns.answer}, which ends with {found[-SHOWN:]!r}"
    return answer.strip(), ""


def _whole_number(value: Any) -> str | None:
    """The digits of a whole number, also where a column of floats or decimals holds it; None of anything else.

    >>> _whole_number(4.0), _whole_number(0.5)
    ('4', None)

    From 2^53 on not every whole number is a float, so that one is not known to be the number that was meant.
    """
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    if isinstance(value, Decimal) and value.is_finite() and value == value.to_integral_value():
        return str(int(value))
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def _is_unicode(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def told_at_once(mistakes: Sequence[str], num_mistakes: int, where: object) -> DataError:
    """The first mistakes of a file, a line each, and how many there are besides."""
    lines = list(mistakes[:MAX_MISTAKES])
    if num_mistakes > len(lines):
        lines.append(f"{where}: {num_mistakes - len(lines)} more lines cannot be used; fix these first")
    return DataError("\n".join(lines))


def read_prompts(path: Path) -> list[Prompt]:
    """The prompts of a JSONL file, in its order.

    Raises:
        DataError: missing, empty, or lines that are broken, lack a field, hold one of another type or repeat an
            id: the first MAX_MISTAKES of them, a line each.
    """
    source = Source(str(path), path)
    prompts: list[Prompt] = []
    line_of_id: dict[str, int] = {}
    mistakes: list[str] = []
    for row in stream(source, PLAIN):
        try:
            prompt, _ = prompt_of(row)
        except DataError as error:
            mistakes.append(str(error))
            continue
        first = line_of_id.setdefault(prompt.id, row.number)
        if first != row.number:
            mistakes.append(f"{row.place}: id {prompt.id!r} stands on line {first} too; make ids unique")
        prompts.append(prompt)
    if mistakes:
        raise told_at_once(mistakes, len(mistakes), path)
    if not prompts:
        raise no_prompts(source)
    return prompts


def no_prompts(source: Source) -> DataError:
    """The sentence for a source without rows."""
    rows = "one JSON object a line with 'id' and 'prompt'" if source.kind == "jsonl" else "a row a prompt"
    return DataError(f"{source}: holds no prompts; write {rows}")


def check_ids(prompts: Iterable[Prompt], where: object) -> None:
    """Raise where two of different text have one id.

    Raises:
        DataError: naming the id and both texts.
    """
    by_id: dict[str, Prompt] = {}
    for prompt in prompts:
        other = by_id.setdefault(prompt.id, prompt)
        if other is not prompt:
            raise DataError(
                f"{where}: id {prompt.id!r} is that of {other.prompt[:SHOWN]!r} and of {prompt.prompt[:SHOWN]!r}; make "
                "ids unique, or set prompts.columns.id: null, and they are made of the texts"
            )


def prompts_of_round(prompts: Sequence[Prompt], round_: int, *, count: int, seed: int) -> list[Prompt]:
    """The `count` prompts of one round, no two the same: the next run of a shuffle, a new one every epoch.

    What is left of a shuffle and fills no round stands back until the next one. A function of the round
    alone, so a resumed run asks what an undisturbed one would have.
    """
    if not 0 < count <= len(prompts):
        raise ValueError(f"a round of {count} different prompts cannot be had of {len(prompts)}")
    epoch, index = divmod(round_, len(prompts) // count)
    order = list(range(len(prompts)))
    # A string seed is hashed with SHA-512: stable, unlike hash().
    random.Random(f"prompts/{seed}/{epoch}").shuffle(order)
    return [prompts[i] for i in order[index * count : (index + 1) * count]]
