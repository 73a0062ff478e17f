r"""Whether an answer is the reference: by its form first, and by a computer algebra system where that does not tell.

The reference decides what form an answer must have. Beside a number, an answer is a number: not a list that holds it,
not an interval around it, and not a sum that comes to it.
"""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

from omniopd.grading.math.expressions import is_readable, is_unfinished, variables
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
)
from omniopd.grading.math.notation import MAX_CHARS, plain, squeezed
from omniopd.grading.math.quantities import MIN_DIGITS, Quantity, same_quantity
from omniopd.grading.math.structures import form, list_form
from omniopd.grading.math.symbolic import TIMEOUT_S, same_expression
from omniopd.grading.math.units import units_agree

MAX_ITEMS = 50  # of a list or set that is compared item by item
MIN_ZEROS = 20  # at the end of a whole number, from which on they are written as a power of ten
Ask = Callable[[str, str], bool]  # whether an expression in plain notation is a reference, by algebra


def same_answer(answer: str, reference: str, *, timeout_s: float = TIMEOUT_S) -> bool:
    r"""Whether an answer is the reference, in whatever of many ways the two are written.

    False too where algebra takes more than timeout_s of the processor's time.

    >>> same_answer(r"\frac{1}{2}", "0.5"), same_answer("1 or 2", "2"), same_answer("(2,1)", "(1,2)")
    (True, False, False)
    """
    try:
        return compare(answer, reference, lambda own, other: same_expression(own, other, timeout_s=timeout_s))
    except TimeoutError:
        return False


def compare(answer: str, reference: str, ask: Ask) -> bool:
    """As same_answer, with algebra left to `ask`; what that raises passes through."""
    if answer.strip() == reference.strip():
        return bool(answer.strip())
    if max(len(answer), len(reference)) > MAX_CHARS:
        return False
    own_text, text = plain(answer), plain(reference)
    if not own_text or not text:
        return False
    if squeezed(own_text) == squeezed(text):
        return True
    own, wanted = form(own_text), form(text)
    if _same(own, wanted, ask):
        return True
    if isinstance(own, Many) and (as_list := list_form(text)):
        return _same(own, as_list, ask)
    if isinstance(wanted, Many) and (as_list := list_form(own_text)):
        return _same(as_list, wanted, ask)
    return _is_algebra(own, wanted) and bool(variables(text)) and _asked(own_text, text, ask)


def _is_algebra(own: Form, wanted: Form) -> bool:
    r"""Whether a letter that was taken for a unit may be a variable: `\frac{37 m}{4}` and `\frac{37}{4} m`."""
    leaves = [side for side in (own, wanted) if isinstance(side, Quantity | Expression)]
    return len(leaves) == 2 and any(side.unit for side in leaves)


def _same(own: Form, wanted: Form, ask: Ask) -> bool:
    if own == wanted:
        return True
    if isinstance(wanted, Choice) or isinstance(own, Choice):
        return _same_choice(own, wanted, ask)
    if isinstance(own, Row) != isinstance(wanted, Row):
        own, wanted = _as_point(own), _as_point(wanted)
    if isinstance(wanted, Named) or isinstance(own, Named):
        return _same_named(own, wanted, ask)
    if isinstance(wanted, Many) and isinstance(own, Many):
        return _same_items(own, wanted, ask)
    if isinstance(wanted, Row) and isinstance(own, Row):
        return _same_row(own, wanted, ask)
    if isinstance(wanted, Grid) and isinstance(own, Grid):
        return _same_grid(own, wanted, ask)
    if isinstance(wanted, Numeral) and isinstance(own, Quantity):  # the base may be left out
        return own.places == 0 and not own.unit and wanted.digits == str(own.value)
    if isinstance(wanted, Relation) and isinstance(own, Relation):
        return squeezed(own.text) == squeezed(wanted.text) or _asked(own.text, wanted.text, ask)
    return _same_leaf(own, wanted, ask)


def _same_leaf(own: Form, wanted: Form, ask: Ask) -> bool:
    """Numbers and expressions."""
    if isinstance(wanted, Quantity) and isinstance(own, Quantity):
        return same_quantity(own, wanted)
    if isinstance(wanted, Quantity) and isinstance(own, Expression):
        if is_unfinished(own.text) or not units_agree(own.unit, wanted.unit):
            return False
        return _asked(own.text, _written(wanted), ask)
    if isinstance(wanted, Expression) and isinstance(own, Quantity):
        if (own.places or 0) > 0 and "." not in wanted.text and own.num_digits < MIN_DIGITS:
            return False
        return units_agree(own.unit, wanted.unit) and _asked(_written(own), wanted.text, ask)
    if isinstance(wanted, Expression) and isinstance(own, Expression):
        mine, other = (squeezed(side.text).lstrip("+") for side in (own, wanted))
        return units_agree(own.unit, wanted.unit) and (mine == other or _asked(own.text, wanted.text, ask))
    return False


def _written(number: Quantity) -> str:
    """The number in plain notation: as a decimal where it was written as one."""
    value = number.value
    if number.places:
        digits = f"{abs(value.numerator) * 10**number.places // value.denominator:0{number.places + 1}d}"
        return f"{'-' if value < 0 else ''}{digits[: -number.places]}.{digits[-number.places :]}"
    sign, top = ("-" if value < 0 else ""), _whole(abs(value.numerator))
    return (
        f"{sign}{top}" if value.denominator == 1 else rf"{sign}\frac{{{top}}}{{{_whole(value.denominator)}}}"
    )


def _whole(value: int) -> str:
    r"""A whole number, with the zeros at its end as a power of ten if there are many: `12 \cdot 10^{400}`."""
    digits = str(value)
    zeros = len(digits) - len(digits.rstrip("0"))
    return digits if zeros < MIN_ZEROS else rf"{digits[:-zeros]} \cdot 10^{{{zeros}}}"


def _asked(own: str, wanted: str, ask: Ask) -> bool:
    """What algebra says of two expressions of the same variables, where both can be read."""
    if variables(own) != variables(wanted) or not is_readable(own) or not is_readable(wanted):
        return False
    return ask(own, wanted)


def _same_choice(own: Form, wanted: Form, ask: Ask) -> bool:
    """A letter against a letter; what is written after it counts where the other side has no letter."""
    if isinstance(own, Choice) and isinstance(wanted, Choice):
        return own.letter == wanted.letter
    if isinstance(own, Choice):
        return own.rest is not None and _same(own.rest, wanted, ask)
    if not isinstance(wanted, Choice):
        return False
    if isinstance(own, Expression) and own.text == wanted.letter.lower():
        return True
    return wanted.rest is not None and _same(own, wanted.rest, ask)


def _same_named(own: Form, wanted: Form, ask: Ask) -> bool:
    """Values, where not both have names that differ; or else one equation against the other."""
    if isinstance(own, Named) and isinstance(wanted, Named):
        if own.name == wanted.name or not own.name or not wanted.name:
            return _same(own.value, wanted.value, ask)
        return _asked(own.text, wanted.text, ask)
    if isinstance(own, Named) and isinstance(wanted, Relation):
        return _asked(own.text, wanted.text, ask)
    if isinstance(own, Relation) and isinstance(wanted, Named):
        return _asked(own.text, wanted.text, ask)
    own, wanted = (side.value if isinstance(side, Named) else side for side in (own, wanted))
    return _same(own, wanted, ask)


def _as_point(side: Form) -> Form:
    """Of x = 1, y = 2 the point (1, 2)."""
    items = side.items if isinstance(side, Many) else ()
    names = [item.name for item in items if isinstance(item, Named)]
    if len(items) < 2 or len(set(names)) < len(items):
        return side
    return Row("(", tuple(item.value for item in items if isinstance(item, Named)), ")", name=",".join(names))


def _in_order_of(own: Row, wanted: Row) -> Row | None:
    """A point with its coordinates in the order of another; None where their names differ or their order is open.

    Beside a point without names the order is as written, unless neighbours in the alphabet are swapped, as in (y, x).
    """
    names, others = own.name.split(","), wanted.name.split(",")
    if own.name == wanted.name or not own.name:
        return own
    if wanted.name:
        by_name = dict(zip(names, own.items, strict=False))
        is_same = len(names) == len(own.items) == len(by_name) and sorted(names) == sorted(others)
        return replace(own, items=tuple(by_name[name] for name in others)) if is_same else None
    is_swapped = any(len(one + next_) == 2 and ord(one) == ord(next_) + 1 for one, next_ in pairwise(names))
    return None if is_swapped else own


def _same_row(own: Row, wanted: Row, ask: Ask) -> bool:
    """Items in their order, between the same brackets; of three and more [1, 2, 3] is (1, 2, 3)."""
    ordered = _in_order_of(own, wanted)
    if ordered is None or len(own.items) != len(wanted.items):
        return False
    own = ordered
    ends = [(row.opening, row.closing) for row in (own, wanted)]
    if ends[0] != ends[1] and (len(own.items) == 2 or any("".join(end) not in ("()", "[]") for end in ends)):
        return False
    return all(_same(mine, other, ask) for mine, other in zip(own.items, wanted.items, strict=True))


def _same_grid(own: Grid, wanted: Grid, ask: Ask) -> bool:
    shapes = [[len(row) for row in grid.rows] for grid in (own, wanted)]
    return shapes[0] == shapes[1] and all(
        _same(mine, other, ask)
        for row, of_wanted in zip(own.rows, wanted.rows, strict=True)
        for mine, other in zip(row, of_wanted, strict=True)
    )


def _same_items(own: Many, wanted: Many, ask: Ask) -> bool:
    """The same items, each as often; in order if one side alone names different values, as in x = 1, y = 2."""
    if len(own.items) != len(wanted.items) or len(own.items) > MAX_ITEMS:
        return False
    if _has_names(own) != _has_names(wanted):
        one, other = (
            _as_point(side) if _has_names(side) else Row("(", side.items, ")") for side in (own, wanted)
        )
        return isinstance(one, Row) and isinstance(other, Row) and _same_row(one, other, ask)
    rest, missing = list(own.items), []
    for other in wanted.items:
        match = next((mine for mine in rest if _same(mine, other, _no)), None)
        if match is None:
            missing.append(other)
        else:
            rest.remove(match)
    for other in missing:
        match = next((mine for mine in rest if _same(mine, other, ask)), None)
        if match is None:
            return False
        rest.remove(match)
    return True


def _has_names(side: Many) -> bool:
    return any(isinstance(item, Named) and item.name for item in side.items)


def _no(own: str, wanted: str) -> bool:
    del own, wanted
    return False
