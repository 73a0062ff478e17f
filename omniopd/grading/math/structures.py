r"""Reading what an answer is: a number, a list or set, a tuple or interval, a matrix, an equation, a choice, words.

Texts are in plain notation (`notation.plain`). What cannot be taken apart further is an Expression, of which only a
computer algebra system can say more.
"""

import re
from dataclasses import replace
from itertools import pairwise

from omniopd.grading.math.forms import (
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
from omniopd.grading.math.notation import enclosed, split_at, squeezed, tokens
from omniopd.grading.math.quantities import Quantity, quantity
from omniopd.grading.math.units import split_unit

MAX_DEPTH = 8  # of structures within structures; what is deeper is one Expression
NAME = re.compile(  # x, x_1', f(x), \theta, \text{the area}, area of it
    r"(?:[A-Za-z]|\\(?!pi|infty)[a-z]+)'*(?:_(?:\{ ?\w+ ?\}|\w))? ?'*(?: ?\([^()=<>]*\))?"
    r"|\\text\{[^{}]*\}|[A-Za-z][a-z]+(?: [A-Za-z]+){0,5}|(?:\\(?:angle|triangle|overline) ?)?\{?[A-Z]{2,3}\}?"
    r"|\\angle ?[A-Z](?: [A-Z](?:_\{\w\})?){0,2}"
)
_MATRIX = re.compile(
    r"\\begin ?\{(?P<kind>[pb]?matrix|smallmatrix|array)\}(?: ?\{[lcr| ]*\})?(?P<rows>.*)\\end ?\{(?P=kind)\}",
    re.DOTALL,
)
_NUMERAL = re.compile(r"([0-9A-F]+)_\{(?:([0-9]{1,2})|\\text\{ ?([a-z]+) ?\})\}")
_BASE_NAMES = """two three four five six seven eight nine ten"""
_BASES = {name: base for base, name in enumerate(_BASE_NAMES.split(), start=2)}
_OPTION = r"(?:[Oo]ption|[Cc]hoice)? ?"
_CHOICE = re.compile(
    rf"{_OPTION}(?:\\text\{{ ?)?(?:\(([A-J])\)|([A-J])[.):]) ?\}}? ?(.*)"
    rf"|{_OPTION}(?:\\text\{{ ?)?{_OPTION}([A-J]) ?\}}?",
    re.DOTALL,
)
_ANOTHER_CHOICE = re.compile(  # but an article is none
    r"(?<![A-Za-z\\])(?:or|and|A(?! [a-z]{2})|[B-J])(?![A-Za-z])"
)
_REAL = r"\\mathbb ?\{?R\}?"
_REAL_WITHOUT = re.compile(rf"{_REAL} ?(?:\\setminus|\\backslash|-|\\) ?(\\\{{.*\\\}})", re.DOTALL)
_REMARK = re.compile(r"(.*?\S),? (?:of which|which|because|since|where) (.*)", re.DOTALL)
_BARE_WORD = re.compile(r"(?<![A-Za-z\\])[A-Za-z]{2,}")
UNDECIDED = re.compile(  # words that leave open what the answer is
    r"\b(?:or|nor|not|than|between|least|most|either|if|unless|except|maybe|but)\b|n't\b", re.IGNORECASE
)
_SAME_WORDS = {"dne": "doe not exist", "doesn't exist": "doe not exist"}  # without the s of a plural
_AND = re.compile(r"\\text\{ ?,? ?(?:and|or) ?\}|(?<![A-Za-z\\])(?:and|or)(?![A-Za-z])")
_GROUPED = re.compile(r"[0-9]{1,3}(?:,[0-9]{3})+")
_ANGLE = re.compile(r"\\(?:sin|cos|tan|sec|csc|cot)(?![A-Za-z])")
_INEQUALITIES = {"<": (False, True), r"\le": (False, False), ">": (True, True), r"\ge": (True, False)}
_WORD = re.compile(r"(?<![A-Za-z\\])[A-Za-z]{4,}|(?<![A-Za-z\\])[A-Za-z]{2,}'? +[A-Za-z]{2,}|\\text")

_LABEL = re.compile(r"[A-Za-z]{3,}(?: [A-Za-z0-9]+)+")  # Rug B


def form(text: str, depth: int = 0) -> Form:
    r"""What a text in plain notation is.

    >>> form(r"\{1, 2\}")
    Many(items=(Quantity(value=Fraction(1, 1), unit='', places=0, num_digits=1), ...))
    """
    text = text.strip()
    if depth > MAX_DEPTH:
        return Expression(text)
    for read in (
        _quantity, _in_text, _choice, _remarked, _grid, _numeral, _list, _real_without, _union, _relation, _bracketed,
        _ratio,
    ):  # fmt: skip
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


def _remarked(text: str, depth: int) -> Form | None:
    """What is written before a remark on it: "3 bushels, of which 1 is imported" is 3 bushels."""
    match = _REMARK.fullmatch(text)
    if match is None or UNDECIDED.search(match[2]):
        return None
    if quantity(match[1]) is None and _BARE_WORD.search(match[1]):
        return None
    return form(match[1], depth + 1)


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
    return _many(_solutions(items))


def _solutions(items: list[Form]) -> list[Form]:
    """Of x = 1, y = 2 or x = 2, y = 1 the points (1, 2) and (2, 1)."""
    names = [item.name for item in items if isinstance(item, Named)]
    size = names.index(names[0], 1) if names[1:].count(names[0] if names else "") else 0
    if size < 2 or len(names) != len(items) or names != names[:size] * (len(names) // size):
        return items
    values = [item.value for item in items if isinstance(item, Named)]
    return [
        Row("(", tuple(values[begin : begin + size]), ")", name=",".join(names[:size]))
        for begin in range(0, len(values), size)
    ]


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


def _real_without(text: str, depth: int) -> Form | None:
    """The real numbers without some of them, as a union of intervals."""
    match = _REAL_WITHOUT.fullmatch(text)
    inside = enclosed(match[1]) if match else None
    points = [form(piece, depth + 1) for piece in _pieces(inside[1])] if inside else []
    numbers = [point for point in points if isinstance(point, Quantity)]
    if not points or (len(points) > 1 and len(numbers) < len(points)):
        return None
    points = sorted(numbers, key=lambda number: number.value) or points
    ends = [Expression(r"-\infty"), *points, Expression(r"\infty")]
    return _many([Row("(", pair, ")") for pair in pairwise(ends)])


def _union(text: str, depth: int) -> Form | None:
    pieces = split_at(text, frozenset([r"\cup"]))
    return _many([form(piece, depth + 1) for piece in pieces]) if len(pieces) > 1 else None


def _relation(text: str, depth: int) -> Form | None:
    own = {token for token, _, level in tokens(text) if level == 0}
    if own & {"<", ">", r"\le", r"\ge"}:
        return _interval(text, depth) or Relation(text)
    if r"\in" in own:
        name, _, values = text.partition(r"\in")
        value = form(values, depth + 1)
        names = _names_of_point(name)
        return _point_called(names, value) if names else Named(squeezed(name), value, text)
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
    if names := _names_of_point(sides[0]):
        is_point = len(sides) == 2 and _has_coordinates(value, names.count(",") + 1)
        return _point_called(names, value) if is_point else Relation(text)
    is_sum = not re.search(r"(?<![A-Za-z\\])[A-Za-z]", sides[0]) and quantity(sides[0]) is None
    if any(found.value != value.value for found in others if isinstance(value, Quantity)):
        return Relation(text)
    if not is_sum and not NAME.fullmatch(sides[0]):
        return Relation(text)
    return Named("" if is_sum or _WORD.search(sides[0]) else squeezed(sides[0]), value, text)


def _names_of_point(text: str) -> str:
    """Of (x, y) "x,y"; empty where a text is no such list of names."""
    inside = enclosed(text)
    names = split_at(inside[1], frozenset(",")) if inside and inside[0] == "(" else []
    is_point = len(names) > 1 and all(NAME.fullmatch(name) for name in names)
    return ",".join(map(squeezed, names)) if is_point else ""


def _has_coordinates(value: Form, num_names: int) -> bool:
    """Whether a value is a point with that many coordinates, or several such points."""
    if isinstance(value, Many):
        return all(_has_coordinates(item, num_names) for item in value.items)
    return isinstance(value, Row) and len(value.items) == num_names


def _point_called(names: str, value: Form) -> Form:
    """A point, or each of several, with the names of its coordinates."""
    if isinstance(value, Many):
        return Many(tuple(_point_called(names, item) for item in value.items))
    return replace(value, name=names) if isinstance(value, Row) else value


def _bracketed(text: str, depth: int) -> Form | None:
    if re.fullmatch(rf"{_REAL}|all real numbers", text):
        return Row("(", (Expression(r"-\infty"), Expression(r"\infty")), ")")
    if text.strip() == r"\emptyset":
        return Many(())
    found = enclosed(text)
    if found is None:
        return None
    opening, inside, closing = found
    if opening == r"\{":
        condition = split_at(inside, frozenset(["|", ":"]))
        if len(condition) == 2:
            return form(condition[-1], depth + 1)
        return list_form(inside) or _many([form(inside, depth + 1)])
    pieces = _pieces(inside)
    if len(pieces) < 2 or (_GROUPED.fullmatch(inside) and list_form(inside) is None):  # (1,080)
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
    is_word = _WORD.search(text) or (len(text) > 1 and text.isalpha()) or _LABEL.fullmatch(text)
    return _words(text) if is_word else Expression(text)


def _words(text: str) -> Words:
    text = re.sub(r"\\text\{([^{}]*)\}", r" \1 ", text).lower()
    text = " ".join(re.sub(r"\b(?:the|a|an)\b|[.,;:!\"]", " ", text).split())
    text = re.sub(r"(?<=\w{3})s\b", "", text)  # of a plural
    return Words(_SAME_WORDS.get(text, text))
