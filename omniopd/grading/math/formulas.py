r"""Formulas in a text, as LaTeX delimits them: `$...$`, `$$...$$`, `\(...\)`, `\[...\]` and displayed environments."""

import re
from dataclasses import dataclass

_ENVIRONMENT = r"\{(?:equation|align|gather|multline|eqnarray|displaymath|math)\*?\}"
_TOKEN = re.compile(rf"\\[\[\]()]|\\(?:begin|end){_ENVIRONMENT}|\\.|\$\$|\$|\n[ \t]*+\n", re.DOTALL)
_CLOSING = {"$": "$", "$$": "$$", r"\(": r"\)", r"\[": r"\]"}
_ROWS = re.compile(r"\\begin\{(align|gather|split|eqnarray)(ed|at|)(\*?)\}(.*)\\end\{\1\2\3\}", re.DOTALL)
MASK = "\0"  # stands for each character of a formula


@dataclass(frozen=True)
class Formula:
    """A formula and where it begins and ends in a text, with its delimiters.

    >>> formulas("So $x = 5$.")
    [Formula(text='x = 5', begin=3, end=10)]
    """

    text: str
    begin: int
    end: int


def formulas(text: str) -> list[Formula]:
    r"""The formulas of a text, in order. Linear in its length.

    A `$` is money if the formula that it closes would be followed by a digit, or have white space at one end alone:
    "$5 and $6" holds no formula. `$` opens a formula within its paragraph; an unclosed display reaches to the end of
    the text.
    """
    found: list[Formula] = []
    opened: re.Match[str] | None = None
    for match in _TOKEN.finditer(text):
        if opened and _closes(text, opened, match):
            found.append(_formula(text, opened, match))
            opened = None
        elif opened and opened[0] == "$" and match[0].isspace():
            opened = None
        elif _may_open(match[0]) and (opened is None or opened[0] == "$" or match[0][0] == "\\"):
            opened = match
    if opened and opened[0] != "$":
        found.append(Formula(text[opened.end() :].strip(), opened.start(), len(text)))
    return found


def masked(text: str, its_formulas: list[Formula]) -> str:
    """The text with each character of its formulas masked, so that it is as long as before."""
    pieces, end = [], 0
    for formula in its_formulas:
        pieces += [text[end : formula.begin], MASK * (formula.end - formula.begin)]
        end = formula.end
    return "".join([*pieces, text[end:]])


def _may_open(token: str) -> bool:
    return token in _CLOSING or token.startswith(r"\begin")


def _closes(text: str, opened: re.Match[str], match: re.Match[str]) -> bool:
    token, content = match[0], text[opened.end() : match.start()]
    if token != (_CLOSING.get(opened[0]) or opened[0].replace("begin", "end")):
        return False
    if token != "$":
        return True
    is_even = content[:1].isspace() == content[-1:].isspace()
    return bool(content) and is_even and not text[match.end() : match.end() + 1].isdigit()


def _formula(text: str, opened: re.Match[str], closed: re.Match[str]) -> Formula:
    is_environment = opened[0].startswith(r"\begin")
    begin, end = (opened.start(), closed.end()) if is_environment else (opened.end(), closed.start())
    return Formula(_last_row(text[begin:end].strip()), opened.start(), closed.end())


def _last_row(text: str) -> str:
    """Of a calculation in several rows the last one."""
    match = _ROWS.fullmatch(text)
    rows = re.split(r"\\\\(?:\[[^\]]*\])?", match[4]) if match else [text]
    last = next((row for row in reversed(rows) if row.strip()), "")
    return last.replace("&", " ").strip().removeprefix("=").strip() if match else text
