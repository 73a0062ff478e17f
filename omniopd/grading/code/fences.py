"""The fenced blocks of a text, in one pass over its lines, and the answer between a benchmark's markers."""

import re
import textwrap
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

PYTHON = ("python", "python3", "py", "py3")
FIRST_LINE = re.compile(r"^(?:import |from \S+ import |(?:async )?def |class |@\w)", re.M)
MAX_BLOCKS = 32  # the last blocks of a text, which are used
_FENCE = re.compile(r"(`{3,}|~{3,})[ \t]*([\w+#.-]*)(.*)", re.S)
_BEFORE_A_FENCE = re.compile(r"[ \t]*(?:(?:[-*+>]|\d{1,9}[.)])[ \t]+)?")
_MARKS = (("[BEGIN]", "[DONE]"), ("[PYTHON]", "[/PYTHON]"))  # of MBPP's examples, and of CodeLlama


@dataclass(frozen=True)
class Block:
    """A fenced block: its language in lower case (empty if it names none), and its content.

    >>> blocks("```Python\\nprint(1)\\n```")
    [Block(language='python', code='print(1)\\n')]
    """

    language: str
    code: str


@dataclass(frozen=True)
class _Opening:
    fence: str
    language: str
    code: str  # after the fence, on the same line
    is_whole: bool  # whether the block ends on this line too


def blocks(text: str) -> list[Block]:
    """The last 32 blocks, in order. The last one may be unclosed, if the response was cut.

    Code may follow the opening fence on its line, and a closing fence may follow code. An indented fence, as in a list,
    is dedented if it has more than a function's body.
    """
    return [
        Block(language, textwrap.dedent(code) if FIRST_LINE.match(code.lstrip()) else code)
        for language, code in deque(_languages_and_codes(text), MAX_BLOCKS)
    ]


def _languages_and_codes(text: str) -> Iterator[tuple[str, str]]:
    opening, lines = None, list[str]()
    for line in text.split("\n"):
        if opening is None:
            opening = _opening(line)
            if opening and opening.is_whole:
                yield opening.language, opening.code + "\n"
                opening = None
            elif opening:
                lines = [opening.code] if opening.code else []
            continue
        before = _before_closing(line, opening.fence) if opening.fence in line else None
        if before is None:
            lines.append(line)
            continue
        lines += [before] if before.strip() else []
        yield opening.language, "".join(f"{one}\n" for one in lines)
        opening = None
    if opening:
        yield opening.language, "\n".join(lines)


def _opening(line: str) -> _Opening | None:
    """The block that a line opens: with a fence at its start, or with one in a sentence that Python follows."""
    if "```" not in line and "~~~" not in line:
        return None
    indent = _BEFORE_A_FENCE.match(line)
    at_start = indent and line.startswith(("```", "~~~"), indent.end())
    place = indent.end() if indent and at_start else line.find("```")
    match = _FENCE.match(line, place) if place >= 0 else None
    if match is None:
        return None
    fence, word, rest = match[1], match[2], match[3].strip()
    is_python = word.lower() in PYTHON
    language = word.lower() if is_python else ""
    code = rest if is_python else (word + match[3]).strip()
    is_whole = len(code) > len(fence) and code.endswith(fence)
    code = code[: -len(fence)].strip() if is_whole else code
    is_code = FIRST_LINE.match(code) is not None
    if is_code or (is_whole and (is_python or at_start)):
        return _Opening(fence, language, code, is_whole)
    return _Opening(fence, word.lower(), "", is_whole=False) if at_start or (is_python and not rest) else None


def _before_closing(line: str, fence: str) -> str | None:
    """The text before the fence that closes the block on this line; None if it is not closed there."""
    text = line.rstrip()
    if text.strip().strip(fence[0]) == "":
        return "" if len(text.strip()) >= len(fence) else None
    if fence[0] == "`" and text.endswith(fence) and text.count("`") == len(fence):
        return text[: -len(fence)]
    return None


def between_marks(text: str) -> str:
    """The text between the first pair of markers, each at an end of a line; all of it if there is none."""
    for opens, closes in _MARKS:
        begin = re.search(rf"^[ \t]*{re.escape(opens)}[ \t]*", text, re.M)
        alone = re.search(rf"^[ \t]*{re.escape(closes)}[ \t]*$", text, re.M)
        if alone and not (begin and begin.start() < alone.start()):
            return text[: alone.start()]  # the opening marker is in the prompt
        if begin:
            end = re.compile(rf"{re.escape(closes)}[ \t]*$", re.M).search(text, begin.end())
            return text[begin.end() : end.start() if end else None]
    return text
