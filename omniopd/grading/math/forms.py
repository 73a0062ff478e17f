"""What an answer may be: the records that `structures.form` makes of a text."""

from dataclasses import dataclass

from omniopd.grading.math.quantities import Quantity


@dataclass(frozen=True)
class Expression:
    r"""What is left to a computer algebra system, and its unit: of `5\pi \text{ cm}` Expression(r"5\pi", "cm")."""

    text: str
    unit: str = ""


@dataclass(frozen=True)
class Words:
    """An answer in words, in lower case: Words("no solution")."""

    text: str


@dataclass(frozen=True)
class Choice:
    """One of several that were offered, and what is written after it: of "(B) 15" Choice("B", Quantity(15))."""

    letter: str
    rest: "Form | None" = None


@dataclass(frozen=True)
class Numeral:
    """Digits in a base: of `1010_2` Numeral("1010", 2)."""

    digits: str
    base: int


@dataclass(frozen=True)
class Many:
    r"""A set, a list or a union, whose order means nothing: `\{1, 2\}`, "1 and 2", `\pm 3`, `[0,1] \cup [2,3]`."""

    items: "tuple[Form, ...]"


@dataclass(frozen=True)
class Row:
    """A tuple, a point, an interval or a ratio: order and brackets matter. Of x > 3 Row("(", (3, ∞), ")", "x")."""

    opening: str
    items: "tuple[Form, ...]"
    closing: str
    name: str = ""  # of the variable, where the interval was written as inequalities


@dataclass(frozen=True)
class Grid:
    """A matrix, row by row."""

    rows: "tuple[tuple[Form, ...], ...]"


@dataclass(frozen=True)
class Named:
    """What an equation gives a name to: of `x = 5` Named("x", Quantity(5), "x = 5"). Words and sums are no names."""

    name: str
    value: "Form"
    text: str


@dataclass(frozen=True)
class Relation:
    """Any other equation or inequality."""

    text: str


Form = Quantity | Expression | Words | Choice | Numeral | Many | Row | Grid | Named | Relation
