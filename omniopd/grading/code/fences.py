"""The fenced blocks of a text, in one pass over its lines, and what markers of a benchmark's examples enclose."""

import re
import textwrap
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

PYTHON = ("python", "python3", "py", "py3")
FIRST_LINE = re.compile(r"^(?:import |from \S+ import |(?:async )?def |class |@\w)", re.M)
MAX_BLOCKS = 32  # of a text, the last, which are looked at
_FENCE = re.compile(r"(`{3,}|~{3,})[ \t]*([\w+#.-]*)(.*)", re.S)
_BEFORE_A_FENCE = re.compile(r"[ \t]*(?:(?:[-*+>]|\d{1,9}[.)])[ \t]+)?")
_MARKS = (("[BEGIN]", "[DONE]"), ("[PYTHON]", "[/PYTHON]"))  # of MBPP's examples, and of CodeLlama


@dataclass(frozen=True)
class Block:
    """A fenced block: its language in small letters, empty where it names none, and what it holds.

    >>> blocks("```Python\\nprint(1)\\n```")
    [Block(language='python', code='print(1)\\n')]
    """

    language: str
    code: str


@dataclass(frozen=True)
class _Opening:
    fence: str
    language: str
    code: str  # what follows on the same line
    is_whole: bool  # whether the block ends on this line too


def blocks(text: str) -> list[Block]:
    """The last 32 blocks in order. The very last may have no end, where the response was cut.

    Code may follow the opening fence on its line, and a closing fence may follow code.
    """
    return [Block(language, _dedented(code)) for language, code in deque(_found(text), MAX_BLOCKS)]


def _found(text: str) -> Iterator[tuple[str, str]]:
    opening, kept = None, list[str]()
    for line in text.split("\n"):
        if opening is None:
            opening = _opening(line)
            if opening and opening.is_whole:
                yield opening.language, opening.code + "\n"
                opening = None
            elif opening:
                kept = [opening.code] if opening.code else []
            continue
        before = _closed(line, opening.fence) if opening.fence in line else None
        if before is None:
            kept.append(line)
            continue
        kept += [before] if before.strip() else []
        yield opening.language, "".join(f"{one}\n" for one in kept)
        opening = None
    if opening:
        yield opening.language, "\n".join(kept)


def _opening(line: str) -> _Opening | None:
    """How a line opens a block: with a fence at its beginning, or in a sentence with one that Python follows."""
    if "```" not in line and "~~~" not in line:
        return None
    begins = _BEFORE_A_FENCE.match(line)
    at_start = begins and line.startswith(("```", "~~~"), begins.end())
    place = begins.end() if begins and at_start else line.find("```")
    found = _FENCE.match(line, place) if place >= 0 else None
    if found is None:
        return None
    fence, word, rest = found[1], found[2], found[3].strip()
    is_python = word.lower() in PYTHON
    code = rest if is_python else (word + found[3]).strip()
    is_whole = len(code) > len(fence) and code.endswith(fence)
    code = code[: -len(fence)].strip() if is_whole else code
    is_code = FIRST_LINE.match(code) is not None
    if is_whole and (is_python or is_code or at_start):
        return _Opening(fence, word.lower() if is_python else "", code, is_whole=True)
    if is_code and not is_whole:
        return _Opening(fence, word.lower() if is_python else "", code, is_whole=False)
    return _Opening(fence, word.lower(), "", is_whole=False) if at_start or (is_python and not rest) else None


def _closed(line: str, fence: str) -> str | None:
    """What stands before the fence that closes the block on this line; None where none does."""
    text = line.rstrip()
    if text.strip().strip(fence[0]) == "":
        return "" if len(text.strip()) >= len(fence) else None
    if fence[0] == "`" and text.endswith(fence) and text.count("`") == len(fence):
        return text[: -len(fence)]
    return None


def _dedented(code: str) -> str:
    """A fence that is indented as a whole, as in a list, and holds more than a body, without its indent."""
    return textwrap.dedent(code) if FIRST_LINE.match(code.lstrip()) else code


def between_marks(text: str) -> str:
    """What the first pair of markers encloses, each at an end of a line; all of the text where there is none."""
    for opens, closes in _MARKS:
        begin = re.search(rf"^[ \t]*{re.escape(opens)}[ \t]*", text, re.M)
        alone = re.search(rf"^[ \t]*{re.escape(closes)}[ \t]*$", text, re.M)
        if alone and not (begin and begin.start() < alone.start()):
            return text[: alone.start()]  # the opening one is in the prompt
        if begin:
            end = re.compile(rf"{re.escape(closes)}[ \t]*$", re.M).search(text, begin.end())
            return text[begin.end() : end.start() if end else None]
    return text
