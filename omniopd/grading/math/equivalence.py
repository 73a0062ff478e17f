r"""Whether an answer equals the reference: decided by form where possible, else by a computer algebra system.

The reference decides what form an answer must have. If it is a number, the answer must be a number: not a list that
contains it, an interval around it, or a sum that evaluates to it.
"""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

from omniopd.grading.math.expressions import is_readable, is_unfinished, variables
from omniopd.grading.math.forms import Choice, Expression, Form, Grid, Many, Named, Numeral, Relation, Row
from omniopd.grading.math.notation import MAX_CHARS, plain, squeezed
from omniopd.grading.math.quantities import MIN_DIGITS, Quantity, same_quantity
from omniopd.grading.math.structures import form, list_form
from omniopd.grading.math.units import units_agree

MAX_ITEMS = 50  # of a list or set that is compared item by item
MIN_ZEROS = 20  # trailing zeros of a whole number from which they are written as a power of ten
Ask = Callable[[str, str], bool]  # whether an expression in plain notation equals a reference, by algebra


def compare(answer: str, reference: str, ask: Ask) -> bool:
    r"""Whether an answer equals the reference, however the two are written; `ask` decides by algebra.

    >>> compare(r"\frac{1}{2}", "0.5", ask=lambda *_: False), compare("1 or 2", "2", ask=lambda *_: False)
    (True, False)
    """
    if answer.strip() == reference.strip():
        return bool(answer.strip())
    if max(len(answer), len(reference)) > MAX_CHARS:
        return False
    answer, reference = plain(answer), plain(reference)
    if not answer or not reference:
        return False
    if squeezed(answer) == squeezed(reference):
        return True
    one, other = form(answer), form(reference)
    if _same(one, other, ask):
        return True
    if isinstance(one, Many) and (as_list := list_form(reference)):
        return _same(one, as_list, ask)
    if isinstance(other, Many) and (as_list := list_form(answer)):
        return _same(as_list, other, ask)
    # A letter that was read as a unit may be a variable: `\frac{37 m}{4}` and `\frac{37}{4} m`.
    leaves = [side for side in (one, other) if isinstance(side, Quantity | Expression)]
    has_unit = len(leaves) == 2 and any(side.unit for side in leaves)
    return has_unit and bool(variables(reference)) and _asked(answer, reference, ask)


def _same(answer: Form, reference: Form, ask: Ask) -> bool:
    if answer == reference:
        return True
    if isinstance(reference, Choice) or isinstance(answer, Choice):
        return _same_choice(answer, reference, ask)
    if isinstance(answer, Row) != isinstance(reference, Row):
        answer, reference = _as_point(answer), _as_point(reference)
    if isinstance(reference, Named) or isinstance(answer, Named):
        return _same_named(answer, reference, ask)
    if isinstance(reference, Many) and isinstance(answer, Many):
        return _same_items(answer, reference, ask)
    if isinstance(reference, Row) and isinstance(answer, Row):
        return _same_row(answer, reference, ask)
    if isinstance(reference, Grid) and isinstance(answer, Grid):
        shapes = [[len(row) for row in grid.rows] for grid in (answer, reference)]
        return shapes[0] == shapes[1] and all(
            _all_same(row, other, ask) for row, other in zip(answer.rows, reference.rows, strict=True)
        )
    if isinstance(reference, Numeral) and isinstance(answer, Quantity):  # the base may be left out
        return answer.places == 0 and not answer.unit and reference.digits == str(answer.value)
    if isinstance(reference, Relation) and isinstance(answer, Relation):
        is_equal = squeezed(answer.text) == squeezed(reference.text)
        return is_equal or _asked(answer.text, reference.text, ask)
    return _same_leaf(answer, reference, ask)


def _all_same(answers: tuple[Form, ...], references: tuple[Form, ...], ask: Ask) -> bool:
    return all(_same(one, other, ask) for one, other in zip(answers, references, strict=True))


def _same_leaf(answer: Form, reference: Form, ask: Ask) -> bool:
    """Numbers and expressions."""
    if isinstance(reference, Quantity) and isinstance(answer, Quantity):
        return same_quantity(answer, reference)
    if isinstance(reference, Quantity) and isinstance(answer, Expression):
        is_comparable = units_agree(answer.unit, reference.unit) and not is_unfinished(answer.text)
        return is_comparable and _asked(answer.text, _written(reference), ask)
    if isinstance(reference, Expression) and isinstance(answer, Quantity):
        is_rough = (answer.places or 0) > 0 and "." not in reference.text and answer.num_digits < MIN_DIGITS
        is_comparable = units_agree(answer.unit, reference.unit) and not is_rough
        return is_comparable and _asked(_written(answer), reference.text, ask)
    if isinstance(reference, Expression) and isinstance(answer, Expression):
        one, other = (squeezed(side.text).lstrip("+") for side in (answer, reference))
        same_unit = units_agree(answer.unit, reference.unit)
        return same_unit and (one == other or _asked(answer.text, reference.text, ask))
    return False


def _written(number: Quantity) -> str:
    """The number in plain notation, as a decimal if it was written as one."""
    value, sign = abs(number.value), "-" if number.value < 0 else ""
    if number.places:
        digits = f"{value.numerator * 10**number.places // value.denominator:0{number.places + 1}d}"
        return f"{sign}{digits[: -number.places]}.{digits[-number.places :]}"
    top, bottom = _whole(value.numerator), _whole(value.denominator)
    return f"{sign}{top}" if value.denominator == 1 else rf"{sign}\frac{{{top}}}{{{bottom}}}"


def _whole(value: int) -> str:
    r"""A whole number, with many trailing zeros as a power of ten: `12 \cdot 10^{400}`."""
    digits = str(value)
    zeros = len(digits) - len(digits.rstrip("0"))
    return digits if zeros < MIN_ZEROS else rf"{digits[:-zeros]} \cdot 10^{{{zeros}}}"


def _asked(answer: str, reference: str, ask: Ask) -> bool:
    """What algebra says of two readable expressions in the same variables."""
    if variables(answer) != variables(reference) or not is_readable(answer) or not is_readable(reference):
        return False
    return ask(answer, reference)


def _same_choice(answer: Form, reference: Form, ask: Ask) -> bool:
    """Compare letters; if only one side has a letter, the text after it counts."""
    if isinstance(answer, Choice) and isinstance(reference, Choice):
        return answer.letter == reference.letter
    if isinstance(answer, Choice):
        return answer.rest is not None and _same(answer.rest, reference, ask)
    if not isinstance(reference, Choice):
        return False
    if isinstance(answer, Expression) and answer.text == reference.letter.lower():
        return True
    return reference.rest is not None and _same(answer, reference.rest, ask)


def _same_named(answer: Form, reference: Form, ask: Ask) -> bool:
    """Compare values, or the equations if both sides are equations with different names."""
    if isinstance(answer, Named | Relation) and isinstance(reference, Named | Relation):
        names = {side.name for side in (answer, reference) if isinstance(side, Named)}
        has_relation = isinstance(answer, Relation) or isinstance(reference, Relation)
        if has_relation or len(names - {""}) > 1:
            return _asked(answer.text, reference.text, ask)
    answer, reference = (side.value if isinstance(side, Named) else side for side in (answer, reference))
    return _same(answer, reference, ask)


def _as_point(side: Form) -> Form:
    """The point (1, 2) for x = 1, y = 2; anything else as it is."""
    items = side.items if isinstance(side, Many) else ()
    names = [item.name for item in items if isinstance(item, Named)]
    if len(items) < 2 or len(set(names)) < len(items):
        return side
    return Row("(", tuple(item.value for item in items if isinstance(item, Named)), ")", name=",".join(names))


def _in_order_of(answer: Row, reference: Row) -> Row | None:
    """The answer with its coordinates in the reference's order; None if the names differ or the order is ambiguous.

    If only the answer has names, its order counts as written, unless neighbours in the alphabet are swapped: (y, x).
    """
    names, others = answer.name.split(","), reference.name.split(",")
    if answer.name == reference.name or not answer.name:
        return answer
    if reference.name:
        by_name = dict(zip(names, answer.items, strict=False))
        is_same = len(names) == len(answer.items) == len(by_name) and sorted(names) == sorted(others)
        return replace(answer, items=tuple(by_name[name] for name in others)) if is_same else None
    is_swapped = any(len(one + next_) == 2 and ord(one) == ord(next_) + 1 for one, next_ in pairwise(names))
    return None if is_swapped else answer


def _same_row(answer: Row, reference: Row, ask: Ask) -> bool:
    """Compare items in order and brackets; with three or more items [1, 2, 3] equals (1, 2, 3)."""
    ordered = _in_order_of(answer, reference)
    if ordered is None or len(ordered.items) != len(reference.items):
        return False
    ends = [row.opening + row.closing for row in (ordered, reference)]
    if ends[0] != ends[1] and (len(ordered.items) == 2 or not {*ends} <= {"()", "[]"}):
        return False
    return _all_same(ordered.items, reference.items, ask)


def _same_items(answer: Many, reference: Many, ask: Ask) -> bool:
    """Compare items in any order, each as often; in order if only one side has names, as in x = 1, y = 2."""
    if len(answer.items) != len(reference.items) or len(answer.items) > MAX_ITEMS:
        return False
    if _has_names(answer) != _has_names(reference):
        one, other = (
            _as_point(side) if _has_names(side) else Row("(", side.items, ")") for side in (answer, reference)
        )
        return isinstance(one, Row) and isinstance(other, Row) and _same_row(one, other, ask)
    rest = list(answer.items)
    undecided = [item for item in reference.items if not _removed(rest, item, lambda *_: False)]
    return all(_removed(rest, item, ask) for item in undecided)


def _removed(items: list[Form], reference: Form, ask: Ask) -> bool:
    """Remove the first item that equals the reference; False if none does."""
    match = next((item for item in items if _same(item, reference, ask)), None)
    if match is not None:
        items.remove(match)
    return match is not None


def _has_names(side: Many) -> bool:
    return any(isinstance(item, Named) and item.name for item in side.items)
