r"""What kind of answer a text is: a number, list, set, tuple, interval, matrix, equation, choice or words.

Texts are in plain notation (`notation.plain`). A text that cannot be taken apart further is an Expression, which only a
computer algebra system can compare.
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

MAX_DEPTH = 8  # of nested structures; anything deeper is one Expression
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
_BASES = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10}
_OPTION = r"(?:[Oo]ption|[Cc]hoice)? ?"
_CHOICE = re.compile(
    rf"{_OPTION}(?:\\text\{{ ?)?(?:\(([A-J])\)|([A-J])[.):]) ?\}}? ?(.*)"
    rf"|{_OPTION}(?:\\text\{{ ?)?{_OPTION}([A-J]) ?\}}?",
    re.DOTALL,
)
_ANOTHER_CHOICE = re.compile(  # but not an article
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
_INFINITY = Expression(r"\infty")
_MINUS_INFINITY = Expression(r"-\infty")


def form(text: str, depth: int = 0) -> Form:
    r"""What a text in plain notation is.

    >>> form(r"\{1, 2\}")
    Many(items=(Quantity(value=Fraction(1, 1), unit='', places=0, num_digits=1), ...))
    """
    text = text.strip()
    if depth > MAX_DEPTH:
        return Expression(text)
    if (number := quantity(text)) is not None:
        return number
    for read in (
        _in_text, _choice, _remarked, _grid, _numeral, _list, _real_without, _union, _relation, _bracketed, _ratio,
        _both_signs,
    ):  # fmt: skip
        if (structure := read(text, depth + 1)) is not None:
            return structure
    return _leaf(text)


def list_form(text: str) -> Form | None:
    """The list that a grouped number such as 100,200 may be; None if it can only be a number."""
    parts = text.split(",")
    if not _GROUPED.fullmatch(text) or any(part.startswith("0") for part in parts):
        return None
    return Many(tuple(map(form, parts)))


def _forms(texts: list[str], depth: int) -> tuple[Form, ...]:
    return tuple(form(text, depth) for text in texts)


def _in_text(text: str, depth: int) -> Form | None:
    inner = re.fullmatch(r"\\text\{([^{}]*)\}", text)
    if inner is None:
        return None
    content = form(inner[1], depth)
    return _words(inner[1]) if isinstance(content, Expression) else content


def _choice(text: str, depth: int) -> Form | None:
    match = _CHOICE.fullmatch(text)
    rest = (match[3] or "").strip() if match else ""
    if match is None or _ANOTHER_CHOICE.search(rest):
        return None
    return Choice(match[1] or match[2] or match[4], form(rest, depth) if rest else None)


def _remarked(text: str, depth: int) -> Form | None:
    """The answer before a remark: "3 bushels, of which 1 is imported" is 3 bushels."""
    match = _REMARK.fullmatch(text)
    if match is None or UNDECIDED.search(match[2]):
        return None
    if quantity(match[1]) is None and _BARE_WORD.search(match[1]):
        return None
    return form(match[1], depth)


def _grid(text: str, depth: int) -> Form | None:
    match = _MATRIX.fullmatch(text)
    if match is None or r"\begin" in match["rows"]:
        return None
    rows = [row for row in re.split(r"\\\\(?: ?\[[^\]]*\])?", match["rows"]) if row.strip()]
    return Grid(tuple(_forms(row.split("&"), depth) for row in rows))


def _numeral(text: str, _depth: int) -> Form | None:
    match = _NUMERAL.fullmatch(squeezed(text))
    base = match and (int(match[2]) if match[2] else _BASES.get(match[3], 0))
    if not match or not base or any(int(digit, 16) >= base for digit in match[1]):
        return None
    return quantity(match[1]) if base == 10 else Numeral(match[1].lstrip("0") or "0", base)


def _list(text: str, depth: int) -> Form | None:
    pieces = _pieces(text)
    if len(pieces) < 2:
        return None
    items = _forms(pieces, depth)
    names = {item.name for item in items if isinstance(item, Named)}
    if len(names) == 1 and isinstance(items[0], Named):  # x = 1, x = 2, or x = 1, 2
        items = tuple(item.value if isinstance(item, Named) else item for item in items)
    return _many(_solutions(items))


def _solutions(items: tuple[Form, ...]) -> tuple[Form, ...]:
    """The points (1, 2) and (2, 1) for x = 1, y = 2 or x = 2, y = 1; anything else as it is."""
    names = [item.name for item in items if isinstance(item, Named)]
    size = names.index(names[0], 1) if names[1:].count(names[0] if names else "") else 0
    if size < 2 or len(names) != len(items) or names != names[:size] * (len(names) // size):
        return items
    values = tuple(item.value for item in items if isinstance(item, Named))
    return tuple(
        Row("(", values[begin : begin + size], ")", name=",".join(names[:size]))
        for begin in range(0, len(values), size)
    )


def _pieces(text: str) -> list[str]:
    """The pieces between commas, semicolons, "and" and "or" outside brackets; 1,000, 2,000 are two."""
    text = _AND.sub(" , ", text)
    pieces = split_at(text, frozenset(",;"))
    spaced = split_at(text.replace(", ", ";"), frozenset(";"))
    if 1 < len(spaced) < len(pieces) and all(quantity(piece) for piece in spaced):
        pieces = spaced
    return [piece for piece in pieces if piece]


def _many(items: tuple[Form, ...]) -> Form:
    flat = [inner for item in items for inner in (item.items if isinstance(item, Many) else (item,))]
    return flat[0] if len(flat) == 1 else Many(tuple(flat))


def _real_without(text: str, depth: int) -> Form | None:
    """The real numbers except some, as a union of intervals."""
    match = _REAL_WITHOUT.fullmatch(text)
    inside = enclosed(match[1]) if match else None
    points = _forms(_pieces(inside[1]), depth) if inside else ()
    numbers = [point for point in points if isinstance(point, Quantity)]
    if not points or (len(points) > 1 and len(numbers) < len(points)):
        return None
    ends = [_MINUS_INFINITY, *(sorted(numbers, key=lambda number: number.value) or points), _INFINITY]
    return _many(tuple(Row("(", pair, ")") for pair in pairwise(ends)))


def _union(text: str, depth: int) -> Form | None:
    pieces = split_at(text, frozenset([r"\cup"]))
    return _many(_forms(pieces, depth)) if len(pieces) > 1 else None


def _relation(text: str, depth: int) -> Form | None:
    outside = {token for token, _, level in tokens(text) if level == 0}
    if outside & _INEQUALITIES.keys():
        return _interval(text, depth) or Relation(text)
    if r"\in" in outside:
        name, _, values = text.partition(r"\in")
        value = form(values, depth)
        names = _names_of_point(name)
        return _point_called(names, value) if names else Named(squeezed(name), value, text)
    if outside & {"=", r"\approx"}:
        return _equation(text, depth)
    return Relation(text) if r"\ne" in outside else None


def _interval(text: str, depth: int) -> Form | None:
    """The interval of one variable that one inequality, or two in the same direction, describe."""
    signs = [token for token, _, level in tokens(text) if level == 0 and token in _INEQUALITIES]
    sides = split_at(text, frozenset(_INEQUALITIES))
    if signs and all(_INEQUALITIES[sign][0] for sign in signs):  # then read from right to left
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
    ends = _forms([sides[0], sides[2]], depth)
    return Row("(" if low else "[", ends, ")" if high else "]", name=squeezed(sides[1]))


def _equation(text: str, depth: int) -> Form:
    sides = split_at(text, frozenset(["=", r"\approx"]))
    if len(sides) == 2 and NAME.fullmatch(sides[1]) and not NAME.fullmatch(sides[0]):
        sides = sides[::-1]
    name, *middle, last = sides
    value = form(last, depth)
    if names := _names_of_point(name):
        is_point = not middle and _has_coordinates(value, names.count(",") + 1)
        return _point_called(names, value) if is_point else Relation(text)
    is_sum = not re.search(r"(?<![A-Za-z\\])[A-Za-z]", name) and quantity(name) is None
    if isinstance(value, Quantity):
        steps = filter(None, map(quantity, middle))
        if any(step.value != value.value for step in steps):
            return Relation(text)
    if not is_sum and not NAME.fullmatch(name):
        return Relation(text)
    return Named("" if is_sum or _WORD.search(name) else squeezed(name), value, text)


def _names_of_point(text: str) -> str:
    """The names of (x, y), as "x,y"; empty if the text is not such a list."""
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
        return Row("(", (_MINUS_INFINITY, _INFINITY), ")")
    if text == r"\emptyset":
        return Many(())
    if (parts := enclosed(text)) is None:
        return None
    opening, inside, closing = parts
    if opening == r"\{":
        condition = split_at(inside, frozenset(["|", ":"]))
        if len(condition) == 2:
            return form(condition[-1], depth)
        return list_form(inside) or _many((form(inside, depth),))
    pieces = _pieces(inside)
    if len(pieces) < 2 or (_GROUPED.fullmatch(inside) and list_form(inside) is None):  # (1,080)
        return form(inside, depth) if pieces else None
    if opening in ("]", r"\langle"):  # ]0, 1[ and a vector
        opening, closing = "(", ")"
    return Row(opening, _forms(pieces, depth), closing)


def _ratio(text: str, depth: int) -> Form | None:
    pieces = split_at(text, frozenset([":"]))
    return Row(":", _forms(pieces, depth), ":") if len(pieces) > 1 else None


def _both_signs(text: str, depth: int) -> Form | None:
    if r"\pm" not in text and r"\mp" not in text:
        return None
    signed = [text.replace(r"\pm", pm).replace(r"\mp", mp) for pm, mp in (("+", "-"), ("-", "+"))]
    return _many(_forms([re.sub(r"^ *\+", "", one) for one in signed], depth))


def _leaf(text: str) -> Form:
    rest, unit = split_unit(text, is_number=False)
    is_angle = unit == "°" and _ANGLE.search(rest)  # in \sin 30^\circ the sign is not a unit
    if rest != text and not is_angle and not _WORD.search(rest):
        number = quantity(rest)
        return replace(number, unit=unit) if number else Expression(rest, unit)
    is_word = _WORD.search(text) or (len(text) > 1 and text.isalpha()) or _LABEL.fullmatch(text)
    return _words(text) if is_word else Expression(text)


def _words(text: str) -> Words:
    text = re.sub(r"\\text\{([^{}]*)\}", r" \1 ", text).lower()
    text = " ".join(re.sub(r"\b(?:the|a|an)\b|[.,;:!\"]", " ", text).split())
    text = re.sub(r"(?<=\w{3})s\b", "", text)  # of a plural
    return Words(_SAME_WORDS.get(text, text))
