"""The forms of an answer: records that `structures.form` makes of a text."""

from dataclasses import dataclass

from omniopd.grading.math.quantities import Quantity


@dataclass(frozen=True)
class Expression:
    r"""Text for the computer algebra system, and its unit: Expression(r"5\pi", "cm") for `5\pi \text{ cm}`."""

    text: str
    unit: str = ""


@dataclass(frozen=True)
class Words:
    """An answer in words, in lower case: Words("no solution")."""

    text: str


@dataclass(frozen=True)
class Choice:
    """A multiple-choice letter, and the text after it: Choice("B", Quantity(15)) for "(B) 15"."""

    letter: str
    rest: "Form | None" = None


@dataclass(frozen=True)
class Numeral:
    """Digits in a base: Numeral("1010", 2) for `1010_2`."""

    digits: str
    base: int


@dataclass(frozen=True)
class Many:
    r"""A set, list or union, in any order: `\{1, 2\}`, "1 and 2", `\pm 3`, `[0,1] \cup [2,3]`."""

    items: "tuple[Form, ...]"


@dataclass(frozen=True)
class Row:
    """A tuple, point, interval or ratio; order and brackets matter. Row("(", (3, ∞), ")", "x") for x > 3."""

    opening: str
    items: "tuple[Form, ...]"
    closing: str
    name: str = ""  # of the variable or the coordinates, if any


@dataclass(frozen=True)
class Grid:
    """A matrix, row by row."""

    rows: "tuple[tuple[Form, ...], ...]"


@dataclass(frozen=True)
class Named:
    """A value with a name: Named("x", Quantity(5), "x = 5") for `x = 5`. Words and sums are not names."""

    name: str
    value: "Form"
    text: str


@dataclass(frozen=True)
class Relation:
    """Any other equation or inequality."""

    text: str


Form = Quantity | Expression | Words | Choice | Numeral | Many | Row | Grid | Named | Relation
