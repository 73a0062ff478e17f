"""Prompts: a JSONL file with one {"id", "prompt"} a line, and an "answer" where one is known."""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omniopd.errors import DataError

MAX_MISTAKES = 5  # told at once


@dataclass(frozen=True)
class Prompt:
    """One question for the student; `answer` is known for prompts that measure, never needed to train.

    >>> Prompt(id="heldout-00000", prompt="4185+5874=", answer="10059").answer
    '10059'
    """

    id: str
    prompt: str
    answer: str | None = None

    def as_row(self) -> dict[str, str]:
        """The prompt as it stands in a JSONL file; an unknown answer is left out."""
        row = {"id": self.id, "prompt": self.prompt}
        return row if self.answer is None else {**row, "answer": self.answer}


def read_prompts(path: Path) -> list[Prompt]:
    """The prompts of a JSONL file, in its order.

    Raises:
        DataError: missing, empty, or lines that are broken, lack a field, hold one of another type or repeat an
            id: the first MAX_MISTAKES of them, a line each.
    """
    prompts: list[Prompt] = []
    line_of_id: dict[str, int] = {}
    mistakes: list[str] = []
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        try:
            prompt = _prompt(_parsed(line, f"{path}:{number}"), f"{path}:{number}")
        except DataError as error:
            mistakes.append(str(error))
            continue
        first = line_of_id.setdefault(prompt.id, number)
        if first != number:
            mistakes.append(f"{path}:{number}: id {prompt.id!r} stands on line {first} too; make ids unique")
        prompts.append(prompt)
    if len(mistakes) > MAX_MISTAKES:
        mistakes[MAX_MISTAKES:] = [
            f"{path}: {len(mistakes) - MAX_MISTAKES} more lines cannot be used; mend these first"
        ]
    if mistakes:
        raise DataError("\n".join(mistakes))
    if not prompts:
        raise DataError(f"{path}: holds no prompts; write one JSON object a line with 'id' and 'prompt'")
    return prompts


def _lines(path: Path) -> list[bytes]:
    try:
        return path.read_bytes().splitlines()
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file of prompts; check prompts.source in params.yaml") from error
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}); name a JSONL file in prompts.source"
        ) from error


def _parsed(line: bytes, where: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not a JSON object ({error}); mend or delete the line") from error


def _prompt(row: Any, where: str) -> Prompt:
    if not isinstance(row, dict):
        raise DataError(f"{where}: found {type(row).__name__}, not a JSON object with 'id' and 'prompt'")
    for name in ("id", "prompt"):
        if name not in row:
            raise DataError(f"{where}: has no field {name!r}; it has {', '.join(map(repr, row)) or 'none'}")
    for name in ("id", "prompt", "answer"):
        if name in row and not isinstance(row[name], str):
            raise DataError(f"{where}: field {name!r} is {row[name]!r}, not a string; put it in quotes")
    for name in ("id", "prompt"):
        if not row[name]:
            raise DataError(f"{where}: field {name!r} is empty; fill it or delete the line")
    for name in ("id", "prompt", "answer"):
        if not _is_unicode(row.get(name, "")):
            raise DataError(f"{where}: field {name!r} holds half a character; write the file anew as UTF-8")
    return Prompt(id=row["id"], prompt=row["prompt"], answer=row.get("answer"))


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


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
