r"""Reading what an answer is: a number, a list or set, a tuple or interval, a matrix, an equation, a choice, words.

Texts are in plain notation (`notation.plain`). What cannot be taken apart further is an Expression, of which only a
computer algebra system can say more.
"""

import re
from dataclasses import replace

from omniopd.evaluation.forms import (
    Choice,
    Expression,
    Form,
    Grid,
    Many,
    Named,
    Numeral,
    Relation,
    Row,
    Words,
)
from omniopd.evaluation.notation import enclosed, split_at, squeezed, tokens
from omniopd.evaluation.quantities import Quantity, quantity
from omniopd.evaluation.units import split_unit

MAX_DEPTH = 8  # of structures within structures; what is deeper is one Expression
NAME = re.compile(  # x, x_1', f(x), \theta, \text{the area}, area of it
    r"(?:[A-Za-z]|\\(?!pi|infty)[a-z]+)'*(?:_(?:\{ ?\w+ ?\}|\w))? ?'*(?: ?\([A-Za-z0-9, ]*\))?"
    r"|\\text\{[^{}]*\}|[A-Za-z][a-z]+(?: [A-Za-z]+){0,5}"
)
_MATRIX = re.compile(
    r"\\begin ?\{(?P<kind>[pb]?matrix|smallmatrix|array)\}(?: ?\{[lcr| ]*\})?(?P<rows>.*)\\end ?\{(?P=kind)\}",
    re.DOTALL,
)
_NUMERAL = re.compile(r"([0-9A-F]+)_\{(?:([0-9]{1,2})|\\text\{ ?([a-z]+) ?\})\}")
_BASE_NAMES = """two three four five six seven eight nine ten"""
_BASES = {name: base for base, name in enumerate(_BASE_NAMES.split(), start=2)}
_CHOICE = re.compile(
    r"(?:\\text\{ ?)?(?:\(([A-J])\)|([A-J])[.):]) ?\}? ?(.*)|(?:\\text\{ ?)?([A-J]) ?\}?", re.DOTALL
)
_ANOTHER_CHOICE = re.compile(r"(?<![A-Za-z\\])(?:[A-J]|or|and)(?![A-Za-z])")
_AND = re.compile(r"\\text\{ ?,? ?(?:and|or) ?\}|(?<![A-Za-z\\])(?:and|or)(?![A-Za-z])")
_GROUPED = re.compile(r"[0-9]{1,3}(?:,[0-9]{3})+")
_ANGLE = re.compile(r"\\(?:sin|cos|tan|sec|csc|cot)(?![A-Za-z])")
_INEQUALITIES = {"<": (False, True), r"\le": (False, False), ">": (True, True), r"\ge": (True, False)}
_WORD = re.compile(r"(?<![A-Za-z\\])[A-Za-z]{4,}|(?<![A-Za-z\\])[A-Za-z]{2,}'? +[A-Za-z]{2,}|\\text")


def form(text: str, depth: int = 0) -> Form:
    r"""What a text in plain notation is.

    >>> form(r"\{1, 2\}")
    Many(items=(Quantity(value=Fraction(1, 1), unit='', places=0, num_digits=1), ...))
    """
    text = text.strip()
    if depth > MAX_DEPTH:
        return Expression(text)
    for read in (_quantity, _in_text, _choice, _grid, _numeral, _list, _union, _relation, _bracketed, _ratio):
        if (found := read(text, depth)) is not None:
            return found
    if r"\pm" in text or r"\mp" in text:
        return _both_signs(text, depth)
    return _leaf(text)


def list_form(text: str) -> Form | None:
    """The list that a grouped number such as 100,200 may be instead; None where it can only be the number."""
    parts = text.split(",")
    if not _GROUPED.fullmatch(text) or any(part.startswith("0") for part in parts):
        return None
    return Many(tuple(map(form, parts)))


def _quantity(text: str, depth: int) -> Form | None:
    del depth
    return quantity(text)


def _in_text(text: str, depth: int) -> Form | None:
    inner = re.fullmatch(r"\\text\{([^{}]*)\}", text)
    if inner is None:
        return None
    found = form(inner[1], depth + 1)
    return _words(inner[1]) if isinstance(found, Expression) else found


def _choice(text: str, depth: int) -> Form | None:
    match = _CHOICE.fullmatch(text)
    if match is None:
        return None
    rest = (match[3] or "").strip()
    if _ANOTHER_CHOICE.search(rest):
        return None
    return Choice(match[1] or match[2] or match[4], form(rest, depth + 1) if rest else None)


def _grid(text: str, depth: int) -> Form | None:
    match = _MATRIX.fullmatch(text)
    if match is None or r"\begin" in match["rows"]:
        return None
    rows = [row for row in re.split(r"\\\\(?: ?\[[^\]]*\])?", match["rows"]) if row.strip()]
    return Grid(tuple(tuple(form(cell, depth + 1) for cell in row.split("&")) for row in rows))


def _numeral(text: str, depth: int) -> Form | None:
    del depth
    match = _NUMERAL.fullmatch(squeezed(text))
    base = match and (int(match[2]) if match[2] else _BASES.get(match[3], 0))
    if not match or not base or any(int(digit, 16) >= base for digit in match[1]):
        return None
    return quantity(match[1]) if base == 10 else Numeral(match[1].lstrip("0") or "0", base)


def _list(text: str, depth: int) -> Form | None:
    pieces = _pieces(text)
    if len(pieces) < 2:
        return None
    items = [form(piece, depth + 1) for piece in pieces]
    names = {item.name for item in items if isinstance(item, Named)}
    if len(names) == 1 and isinstance(items[0], Named):  # x = 1, x = 2, or x = 1, 2
        items = [item.value if isinstance(item, Named) else item for item in items]
    return _many(items)


def _pieces(text: str) -> list[str]:
    """What stands between commas, semicolons, "and" and "or" outside brackets; 1,000, 2,000 are two."""
    text = _AND.sub(" , ", text)
    pieces = split_at(text, frozenset(",;"))
    spaced = split_at(text.replace(", ", ";"), frozenset(";"))
    if 1 < len(spaced) < len(pieces) and all(quantity(piece) for piece in spaced):
        pieces = spaced
    return [piece for piece in pieces if piece]


def _many(items: list[Form]) -> Form:
    flat = [inner for item in items for inner in (item.items if isinstance(item, Many) else (item,))]
    return flat[0] if len(flat) == 1 else Many(tuple(flat))


def _union(text: str, depth: int) -> Form | None:
    pieces = split_at(text, frozenset([r"\cup"]))
    return _many([form(piece, depth + 1) for piece in pieces]) if len(pieces) > 1 else None


def _relation(text: str, depth: int) -> Form | None:
    own = {token for token, _, level in tokens(text) if level == 0}
    if own & {"<", ">", r"\le", r"\ge"}:
        return _interval(text, depth) or Relation(text)
    if r"\in" in own:
        name, _, values = text.partition(r"\in")
        return Named(squeezed(name), form(values, depth + 1), text)
    if own & {"=", r"\approx"}:
        return _equation(text, depth)
    return Relation(text) if r"\ne" in own else None


def _interval(text: str, depth: int) -> Form | None:
    """The interval that one inequality or two in one direction describe, of a variable alone."""
    signs = [token for token, _, level in tokens(text) if level == 0 and token in _INEQUALITIES]
    sides = split_at(text, frozenset(_INEQUALITIES))
    if signs and all(_INEQUALITIES[sign][0] for sign in signs):  # from right to left, then
        signs, sides = signs[::-1], sides[::-1]
    elif any(_INEQUALITIES[sign][0] for sign in signs):
        return None
    if len(sides) == 2:
        names_first = bool(NAME.fullmatch(sides[0]))
        sides = [r"-\infty", *sides] if names_first else [*sides, r"\infty"]
        signs = ["<", *signs] if names_first else [*signs, "<"]
    if len(sides) != 3 or not NAME.fullmatch(sides[1]):
        return None
    low, high = (_INEQUALITIES[sign][1] for sign in signs)
    items = (form(sides[0], depth + 1), form(sides[2], depth + 1))
    return Row("(" if low else "[", items, ")" if high else "]", name=squeezed(sides[1]))


def _equation(text: str, depth: int) -> Form:
    sides = split_at(text, frozenset(["=", r"\approx"]))
    if len(sides) == 2 and NAME.fullmatch(sides[1]) and not NAME.fullmatch(sides[0]):
        sides = sides[::-1]
    value = form(sides[-1], depth + 1)
    others = [found for side in sides[1:-1] if (found := quantity(side)) and isinstance(value, Quantity)]
    is_sum = not re.search(r"(?<![A-Za-z\\])[A-Za-z]", sides[0]) and quantity(sides[0]) is None
    if any(found.value != value.value for found in others if isinstance(value, Quantity)):
        return Relation(text)
    if not is_sum and not NAME.fullmatch(sides[0]):
        return Relation(text)
    return Named("" if is_sum or _WORD.search(sides[0]) else squeezed(sides[0]), value, text)


def _bracketed(text: str, depth: int) -> Form | None:
    if re.fullmatch(r"\\mathbb ?\{?R\}?|all real numbers", text):
        return Row("(", (Expression(r"-\infty"), Expression(r"\infty")), ")")
    if text.strip() == r"\emptyset":
        return Many(())
    found = enclosed(text)
    if found is None:
        return None
    opening, inside, closing = found
    if opening == r"\{":
        condition = split_at(inside, frozenset(["|", ":"]))
        return form(condition[-1], depth + 1) if len(condition) == 2 else _many([form(inside, depth + 1)])
    pieces = _pieces(inside)
    if len(pieces) < 2:
        return form(inside, depth + 1) if pieces else None
    items = tuple(form(piece, depth + 1) for piece in pieces)
    if opening in ("]", r"\langle"):  # ]0, 1[ and a vector
        opening, closing = "(", ")"
    return Row(opening, items, closing)


def _ratio(text: str, depth: int) -> Form | None:
    pieces = split_at(text, frozenset([":"]))
    return Row(":", tuple(form(piece, depth + 1) for piece in pieces), ":") if len(pieces) > 1 else None


def _both_signs(text: str, depth: int) -> Form:
    return _many(
        [
            form(re.sub(r"^ *\+", "", text.replace(r"\pm", first).replace(r"\mp", second)), depth + 1)
            for first, second in (("+", "-"), ("-", "+"))
        ]
    )


def _leaf(text: str) -> Form:
    rest, unit = split_unit(text, is_number=False)
    is_angle = unit == "°" and _ANGLE.search(rest)  # of \sin 30^\circ the sign is no unit
    if rest != text and not is_angle and not _WORD.search(rest):
        found = quantity(rest)
        return replace(found, unit=unit) if found else Expression(rest, unit)
    is_word = _WORD.search(text) or (len(text) > 1 and text.isalpha())
    return _words(text) if is_word else Expression(text)


def _words(text: str) -> Words:
    text = re.sub(r"\\text\{([^{}]*)\}", r" \1 ", text).lower()
    return Words(" ".join(re.sub(r"\b(?:the|a|an)\b|[.,;:!\"]", " ", text).split()))
