r"""Rational numbers with their units, in the ways in which people write them: `1,080`, `$18.00`, `2\frac{1}{2} cm`."""

import re
from dataclasses import dataclass, replace
from fractions import Fraction

from omniopd.grading.math.units import split_unit, units_agree

MAX_DIGITS = 200  # of a number; one of more is compared to the character
MAX_EXPONENT = 4000
MIN_DIGITS = 6  # significant ones, which a decimal must show to stand for a number that no decimal writes out
_UNSIGNED = r"(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]{1,3}(?: [0-9]{3})+|[0-9]+)(?:\.[0-9]*)?|\.[0-9]+"
_DECIMAL = re.compile(rf"(?P<number>{_UNSIGNED})(?P<bar>\\overline\{{[0-9]+\}})?")
_SIGNED = rf"[-+]? ?(?:{_UNSIGNED})"
_FRACTION = re.compile(
    rf"(?:(?P<whole>[0-9]+) ?)?\\frac\{{ ?(?P<top>{_SIGNED}) ?\}} ?\{{ ?(?P<bottom>{_SIGNED}) ?\}}"
    rf"|(?:(?P<whole2>[0-9]+) )?(?P<top2>{_UNSIGNED}) ?/ ?(?P<bottom2>{_UNSIGNED})"
)
_SCIENTIFIC = re.compile(
    rf"(?:(?P<number>{_UNSIGNED}) ?\\cdot ?)?10\^\{{ ?(?P<power>[-+]?[0-9]{{1,4}}) ?\}}"
    rf"|(?P<number2>{_UNSIGNED})[eE](?P<power2>[-+]?[0-9]{{1,4}})"
)
_SIGNS = re.compile(r"[-+ ]*")
_TIMES = {
    "dozen": 12, "hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12,
}  # fmt: skip


@dataclass(frozen=True)
class Quantity:
    """A number with its unit, and the decimal places and significant digits that it was written with.

    >>> Quantity(Fraction(37, 2), unit="$", places=2, num_digits=4)  # $18.50
    Quantity(value=Fraction(37, 2), unit='$', places=2, num_digits=4)
    """

    value: Fraction
    unit: str = ""
    places: int | None = None  # None: not written as a decimal
    num_digits: int = 0


def quantity(text: str) -> Quantity | None:
    """The quantity that a text in plain notation is, or None where it is anything else.

    Signs in a row are taken together. "5 million" is a number, and so is "2 1/2".
    """
    if len(text) > MAX_DIGITS:
        return None
    if (bare := _number(text)) is not None:
        return bare
    rest, unit = split_unit(text)
    return _with_unit(rest, unit) if rest != text else _multiplied(text)


def same_quantity(own: Quantity, reference: Quantity) -> bool:
    """Whether an answer is the reference: the same number exactly, and no other unit.

    A percentage stands for its number, and of a reference below 1 without the sign for its hundredth: 50% is 50, and
    0.5. A decimal of MIN_DIGITS digits stands for a fraction that it is rounded from, where no decimal writes that out.
    """
    if own.unit == "%" and not reference.unit and abs(reference.value) < 1:
        return own.value == 100 * reference.value
    if not units_agree(own.unit, reference.unit):
        return False
    return own.value == reference.value or (
        reference.places is None and not _is_decimal(reference.value) and is_rounded(own, reference.value)
    )


def is_rounded(own: Quantity, value: Fraction) -> bool:
    """Whether a decimal of MIN_DIGITS significant digits or more is the value, rounded to its places."""
    if own.places is None or own.num_digits < MIN_DIGITS:
        return False
    return abs(own.value - value) <= Fraction(1, 2 * 10**own.places)


def _is_decimal(value: Fraction) -> bool:
    """Whether finitely many decimals write it out."""
    return 10 ** value.denominator.bit_length() % value.denominator == 0


def _with_unit(rest: str, unit: str) -> Quantity | None:
    found = _number(rest) or _multiplied(rest)
    return found and replace(found, unit=unit)


def _multiplied(text: str) -> Quantity | None:
    """The number of "5 million", with what unit follows."""
    words = re.fullmatch(
        r"(.*?) ?(?:\\text\{ ?)?(dozen|hundred|thousand|million|billion|trillion)\b ?(.*?)\}?", text
    )
    if words is None or (found := _number(words[1])) is None:
        return None
    unit = split_unit("1 " + words[3])[1] if words[3] else ""
    if words[3] and not unit:
        return None
    return Quantity(found.value * _TIMES[words[2]], unit)


def _number(text: str) -> Quantity | None:
    """The number that the whole text is, without a unit."""
    text = text.strip()
    while (
        text.startswith("(") and text.endswith(")") and not re.search("[(,]", text[1:])
    ):  # (1,080) may be a tuple
        text = text[1:-1].strip()
    signs = _SIGNS.match(text)
    rest = text[signs.end() :] if signs else text
    sign = -1 if signs and signs[0].count("-") % 2 else 1
    if rest.startswith("("):
        is_one = rest.endswith(")") and not re.search("[(,]", rest[1:])
        inner = _number(rest[1:-1]) if is_one else None
        return inner and replace(inner, value=sign * inner.value)
    for read in (_decimal, _fraction, _scientific):
        if (found := read(rest)) is not None:
            return replace(found, value=sign * found.value)
    return None


def _decimal(text: str) -> Quantity | None:
    match = _DECIMAL.fullmatch(text)
    if match is None:
        return None
    whole, _, decimals = re.sub("[, ]", "", match["number"]).partition(".")
    value = Fraction(int(whole or "0")) + Fraction(int(decimals or "0"), 10 ** len(decimals))
    if bar := match["bar"]:
        repeated = bar[10:-1]
        value += Fraction(int(repeated), (10 ** len(repeated) - 1) * 10 ** len(decimals))
        return Quantity(value)
    return Quantity(value, places=len(decimals), num_digits=len((whole + decimals).lstrip("0")))


def _fraction(text: str) -> Quantity | None:
    match = _FRACTION.fullmatch(text)
    if match is None:
        return None
    whole = match["whole"] or match["whole2"]
    top, bottom = (_signed(match[name] or match[name + "2"]) for name in ("top", "bottom"))
    if bottom == 0 or (whole and not 0 < top < bottom):
        return None
    return Quantity(int(whole or "0") + top / bottom)


def _scientific(text: str) -> Quantity | None:
    match = _SCIENTIFIC.fullmatch(text)
    if match is None:
        return None
    power = int(match["power"] or match["power2"])
    if abs(power) > MAX_EXPONENT:
        return None
    return Quantity(_signed(match["number"] or match["number2"] or "1") * Fraction(10) ** power)


def _signed(text: str) -> Fraction:
    digits = re.sub("[, +-]", "", text)
    return -Fraction(digits) if "-" in text else Fraction(digits)
