r"""The formulas in a text, as delimited in LaTeX: `$...$`, `$$...$$`, `\(...\)`, `\[...\]` and environments."""

import re
from dataclasses import dataclass

_ENVIRONMENT = r"\{(?:equation|align|gather|multline|eqnarray|displaymath|math)\*?\}"
_TOKEN = re.compile(rf"\\[\[\]()]|\\(?:begin|end){_ENVIRONMENT}|\\.|\$\$|\$|\n[ \t]*+\n", re.DOTALL)
_CLOSING = {"$": "$", "$$": "$$", r"\(": r"\)", r"\[": r"\]"}
_ROWS = re.compile(r"\\begin\{(align|gather|split|eqnarray)(ed|at|)(\*?)\}(.*)\\end\{\1\2\3\}", re.DOTALL)
MASK = "\0"  # replaces each character of a formula


@dataclass(frozen=True)
class Part:
    """The content of a formula or box, and where that begins and ends in its text, delimiters included.

    >>> formulas("So $x = 5$.")
    [Part(text='x = 5', begin=3, end=10)]
    """

    text: str
    begin: int
    end: int


def formulas(text: str) -> list[Part]:
    r"""The formulas of a text, in order. Linear in its length.

    A `$` is money if the formula that it closes would be followed by a digit, or have white space at only one end:
    "$5 and $6" has no formula. A `$` formula ends within its paragraph; an unclosed display extends to the end of the
    text.
    """
    complete: list[Part] = []
    opened: re.Match[str] | None = None
    for match in _TOKEN.finditer(text):
        may_open = match[0] in _CLOSING or match[0].startswith(r"\begin")
        if opened and _closes(text, opened, match):
            is_environment = opened[0].startswith(r"\begin")
            span = (opened.start(), match.end()) if is_environment else (opened.end(), match.start())
            complete.append(Part(_last_row(text[slice(*span)].strip()), opened.start(), match.end()))
            opened = None
        elif opened and opened[0] == "$" and match[0].isspace():
            opened = None
        elif may_open and (opened is None or opened[0] == "$" or match[0][0] == "\\"):
            opened = match
    if opened and opened[0] != "$":
        complete.append(Part(text[opened.end() :].strip(), opened.start(), len(text)))
    return complete


def masked(text: str, in_text: list[Part]) -> str:
    """The text, at its length, with each character of its formulas replaced by MASK."""
    pieces, end = [], 0
    for formula in in_text:
        pieces += [text[end : formula.begin], MASK * (formula.end - formula.begin)]
        end = formula.end
    return "".join([*pieces, text[end:]])


def _closes(text: str, opened: re.Match[str], match: re.Match[str]) -> bool:
    token, content = match[0], text[opened.end() : match.start()]
    if token != (_CLOSING.get(opened[0]) or opened[0].replace("begin", "end")):
        return False
    if token != "$":
        return True
    is_even = content[:1].isspace() == content[-1:].isspace()
    return bool(content) and is_even and not text[match.end() : match.end() + 1].isdigit()


def _last_row(text: str) -> str:
    """The last row of a calculation in aligned rows; any other formula as it is."""
    match = _ROWS.fullmatch(text)
    if match is None:
        return text
    rows = re.split(r"\\\\(?:\[[^\]]*\])?", match[4])
    last = next((row for row in reversed(rows) if row.strip()), "")
    return last.replace("&", " ").strip().removeprefix("=").strip()
