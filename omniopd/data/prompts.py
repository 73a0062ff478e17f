"""Prompts: read from the rows of a source, and JSONL files of {"id", "prompt"} with optional "answer" and "tests".

A prompt is a text, or a list of messages where there are others before the user's.
"""

import json
import random
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from omniopd.data.columns import PLAIN, Columns, quoted, value_at
from omniopd.data.conversation import Conversation, Message, conversation, parsed, plain_text
from omniopd.data.dedup import text_digest
from omniopd.data.sources import Row, Source, stream
from omniopd.errors import DataError

MAX_MISTAKES = 5  # lines of one error
SHOWN = 60  # characters of a value in a message

Reference = Literal["answer", "tests"]  # the field that a response is graded against


@dataclass(frozen=True, slots=True)
class Prompt:
    """One question for the student. Only prompts to measure on need an answer or tests.

    `history` are the messages before the question: a system message, worked examples, earlier turns.

    >>> Prompt(id="heldout-00000", prompt="4185+5874=", answer="10059").answer
    '10059'
    """

    id: str
    prompt: str
    answer: str | None = None
    tests: str | None = None  # of a program: code, or JSON
    history: Conversation = ()
    columns: Mapping[str, str] = field(default_factory=dict)  # of the source, for the teacher's hint

    @property
    def messages(self) -> Conversation:
        """What a model reads: the history and the question."""
        return (*self.history, Message("user", self.prompt))

    @property
    def text(self) -> str:
        """The text of all messages, which identifies a prompt."""
        return plain_text(self.messages)

    @property
    def turns(self) -> str:
        """The text without the system message, which many prompts share."""
        return plain_text([message for message in self.messages if message.role != "system"])

    def after(self, system: str | None, examples: Iterable[tuple[str, str]] = ()) -> "Prompt":
        """The prompt after a system message, unless it has one, and worked examples: prompts with their responses.

        >>> Prompt("p", "3+5=").after("Be brief.", [("2+2=", "4")]).text
        'Be brief.\\n\\n2+2=4\\n\\n3+5='
        """
        of_row = self.history[:1] if self.history and self.history[0].role == "system" else ()
        first = of_row or ((Message("system", system),) if system else ())
        turns = [
            message
            for prompt, response in examples
            for message in (Message("user", prompt), Message("assistant", response))
        ]
        return replace(self, history=(*first, *turns, *self.history[len(of_row) :]))

    def has(self, reference: Reference) -> bool:
        """Whether the prompt has this reference."""
        return getattr(self, reference) is not None

    def as_row(self) -> dict[str, Any]:
        """The prompt as a line of a JSONL file, without the fields that are None."""
        prompt = [message.as_row() for message in self.messages] if self.history else self.prompt
        columns = dict(self.columns) or None
        known = {
            "id": self.id,
            "prompt": prompt,
            "answer": self.answer,
            "tests": self.tests,
            "columns": columns,
        }
        return {name: value for name, value in known.items() if value is not None}


def prompt_of(
    row: Row, columns: Columns = PLAIN, answer_pattern: re.Pattern[str] | None = None
) -> tuple[Prompt, str]:
    """The prompt of a row, and why it has no answer: empty where it has one, or no column is mapped to it.

    A list of messages is read up to the last one of the user. A missing id is replaced by a hash of the text.

    Raises:
        DataError: the row has no usable prompt, or an id that is no text.
    """
    values = row.values()
    *history, question = _messages_of(values, columns.prompt, row)
    answer, reason = _answer_of(values, columns, answer_pattern)
    id_ = None if columns.id is None else value_at(values, columns.id)
    if id_ is None:
        id_ = text_digest(plain_text([*history, question])).hex()[:16]
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
    shown = {path: _hint_of(values, path, row) for path in columns.hint}
    return Prompt(id_, question.content, answer, tests, tuple(history), shown), reason


def _messages_of(values: Mapping[str, Any], path: str, row: Row) -> Conversation:
    value = value_at(values, path)
    if value is None:
        where = "" if path == "prompt" else " (prompts.columns.prompt)"
        raise DataError(f"{row.place}: has no field {path!r}{where}; it has {quoted(values)}")
    if isinstance(value, list | tuple):
        try:
            messages = parsed(value)
        except ValueError as error:
            raise DataError(f"{row.place}: field {path!r} {error}") from error
    elif not isinstance(value, str):
        raise DataError(f"{row.place}: field {path!r} is {value!r}, not a string; put it in quotes")
    elif not value or value.isspace():
        raise DataError(f"{row.place}: field {path!r} is empty; fill it or delete the line")
    else:
        messages = conversation(value)
    if not all(_is_unicode(message.content) for message in messages):
        raise DataError(f"{row.place}: field {path!r} holds half a character; save the file again as UTF-8")
    return messages


def _hint_of(values: Mapping[str, Any], path: str, row: Row) -> str:
    """The text of a column that the teacher's hint shows."""
    value = value_at(values, path)
    text = _whole_number(value) or (str(value) if isinstance(value, float) else value)
    if not isinstance(text, str) or not _is_unicode(text):
        raise DataError(
            f"{row.place}: field {path!r} is {repr(value)[:SHOWN]}, and teacher.hint shows it; give it some text, or "
            f"leave it out of the hint (the row has {quoted(values)})"
        )
    return text


def _answer_of(
    values: Mapping[str, Any], columns: Columns, pattern: re.Pattern[str] | None
) -> tuple[str | None, str]:
    """The answer, or why there is none."""
    if columns.answer is None:
        return None, ""
    value = value_at(values, columns.answer)
    if value is None:
        return None, f"no {columns.answer}"
    text = _whole_number(value) or value
    if not isinstance(text, str) or not _is_unicode(text):
        return None, f"{columns.answer} is {repr(text)[:SHOWN]}, neither text nor a whole number"
    if pattern is None:
        return (text, "") if text else (None, f"{columns.answer} is empty")
    matches = list(pattern.finditer(text))
    answer = (matches[-1][1] or "").strip() if matches else ""
    if not answer:
        return None, f"answer_pattern finds nothing in {columns.answer}, which ends with {text[-SHOWN:]!r}"
    return answer, ""


def _whole_number(value: Any) -> str | None:
    """The digits of a whole number, also of a float or decimal; None for any other value.

    >>> _whole_number(4.0), _whole_number(0.5)
    ('4', None)

    From 2^53 on a float may differ from the number that was written, so none is accepted.
    """
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    if isinstance(value, Decimal) and value.is_finite() and value == value.to_integral_value():
        return str(int(value))
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def bad_lines(mistakes: Sequence[str], num_mistakes: int, where: object) -> DataError:
    """One error for a file: its first mistakes, a line each, and how many more there are."""
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
            mistakes.append(f"{row.place}: id {prompt.id!r} is also on line {first}; make ids unique")
        columns = row.values().get("columns") or {}
        if not isinstance(columns, dict) or not all(isinstance(text, str) for text in columns.values()):
            mistakes.append(
                f"{row.place}: field 'columns' is {repr(columns)[:SHOWN]}, not texts by name; fix it"
            )
            continue
        prompts.append(replace(prompt, columns=columns))
    if mistakes:
        raise bad_lines(mistakes, len(mistakes), path)
    if not prompts:
        raise no_prompts(source)
    return prompts


def no_prompts(source: Source) -> DataError:
    """The error for a source without rows."""
    rows = "one JSON object a line with 'id' and 'prompt'" if source.kind == "jsonl" else "a row a prompt"
    return DataError(f"{source}: holds no prompts; write {rows}")


def check_ids(prompts: Iterable[Prompt], where: object) -> None:
    """Raise where two prompts have the same id.

    Raises:
        DataError: names the id and both texts.
    """
    by_id: dict[str, Prompt] = {}
    for prompt in prompts:
        other = by_id.setdefault(prompt.id, prompt)
        if other is not prompt:
            raise DataError(
                f"{where}: id {prompt.id!r} belongs to {other.text[:SHOWN]!r} and to {prompt.text[:SHOWN]!r}; make "
                "ids unique, or set prompts.columns.id: null to use hashes of the texts"
            )


def prompts_of_round(prompts: Sequence[Prompt], round_: int, *, count: int, seed: int) -> list[Prompt]:
    """The `count` prompts of one round, all different: the next part of a shuffle, which is redrawn every epoch.

    An incomplete part at the end of a shuffle is skipped. The prompts depend on the round alone, so a resumed run
    draws those of an uninterrupted one.
    """
    if not 0 < count <= len(prompts):
        raise ValueError(f"a round of {count} different prompts cannot be drawn from {len(prompts)}")
    epoch, index = divmod(round_, len(prompts) // count)
    order = list(range(len(prompts)))
    # A string seed is hashed with SHA-512: stable, unlike hash().
    random.Random(f"prompts/{seed}/{epoch}").shuffle(order)
    return [prompts[i] for i in order[index * count : (index + 1) * count]]
