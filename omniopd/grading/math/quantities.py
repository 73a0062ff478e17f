r"""Rational numbers with units, in the ways that people write them: `1,080`, `$18.00`, `2\frac{1}{2} cm`."""

import re
from dataclasses import dataclass, replace
from fractions import Fraction

from omniopd.grading.math.units import split_unit, units_agree

MAX_DIGITS = 200  # of a number; longer ones are compared character by character
MAX_EXPONENT = 4000
MIN_DIGITS = 6  # significant digits that a decimal needs to stand for a number that no decimal equals
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
_MULTIPLES = {
    "dozen": 12, "hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12,
}  # fmt: skip
_MULTIPLE = re.compile(rf"(.*?) ?(?:\\text\{{ ?)?({'|'.join(_MULTIPLES)})\b ?(.*?)\}}?")


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
    """The quantity that a text in plain notation is, or None if it is anything else.

    Several signs are multiplied. "5 million" and "2 1/2" are numbers.
    """
    if len(text) > MAX_DIGITS:
        return None
    if (bare := _number(text)) is not None:
        return bare
    rest, unit = split_unit(text)
    if rest == text:
        return _multiple(text)
    number = _number(rest) or _multiple(rest)
    return number and replace(number, unit=unit)


def same_quantity(answer: Quantity, reference: Quantity) -> bool:
    """Whether an answer is exactly the reference's number, and has no other unit.

    A percentage equals its number, or its hundredth if the reference is below 1 and has no percent sign: 50% equals
    50 and 0.5. A decimal of MIN_DIGITS digits equals a fraction that it is rounded from, unless some decimal equals it.
    """
    if answer.unit == "%" and not reference.unit and abs(reference.value) < 1:
        return answer.value == 100 * reference.value
    if not units_agree(answer.unit, reference.unit):
        return False
    if answer.value == reference.value:
        return True
    bottom = reference.value.denominator
    is_decimal = 10 ** bottom.bit_length() % bottom == 0
    if is_decimal or reference.places is not None or answer.places is None or answer.num_digits < MIN_DIGITS:
        return False
    return abs(answer.value - reference.value) <= Fraction(1, 2 * 10**answer.places)


def _multiple(text: str) -> Quantity | None:
    """The number of "5 million", with the unit that follows if any."""
    match = _MULTIPLE.fullmatch(text)
    if match is None or (number := _number(match[1])) is None:
        return None
    unit = split_unit("1 " + match[3])[1] if match[3] else ""
    return Quantity(number.value * _MULTIPLES[match[2]], unit) if unit or not match[3] else None


def _number(text: str) -> Quantity | None:
    """The number that the whole text is, without a unit."""
    text = text.strip()
    while text.startswith("(") and _is_enclosed(text):
        text = text[1:-1].strip()
    signs = _SIGNS.match(text)
    rest = text[signs.end() :] if signs else text
    sign = -1 if signs and signs[0].count("-") % 2 else 1
    if rest.startswith("("):
        number = _number(rest[1:-1]) if _is_enclosed(rest) else None
    else:
        number = _decimal(rest) or _fraction(rest) or _scientific(rest)
    return number and replace(number, value=sign * number.value)


def _is_enclosed(text: str) -> bool:
    """Whether one pair of brackets encloses the text after its first character; (1,080) may be a tuple."""
    return text.endswith(")") and not re.search("[(,]", text[1:])


def _decimal(text: str) -> Quantity | None:
    match = _DECIMAL.fullmatch(text)
    if match is None:
        return None
    whole, _, decimals = re.sub("[, ]", "", match["number"]).partition(".")
    value = Fraction(int(whole or "0")) + Fraction(int(decimals or "0"), 10 ** len(decimals))
    if bar := match["bar"]:
        repeated = bar[10:-1]
        return Quantity(value + Fraction(int(repeated), (10 ** len(repeated) - 1) * 10 ** len(decimals)))
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
    power = int(match["power"] or match["power2"]) if match else 0
    if match is None or abs(power) > MAX_EXPONENT:
        return None
    return Quantity(_signed(match["number"] or match["number2"] or "1") * Fraction(10) ** power)


def _signed(text: str) -> Fraction:
    digits = re.sub("[, +-]", "", text)
    return -Fraction(digits) if "-" in text else Fraction(digits)
