r"""The unit of a number: `$`, `%`, `\text{ cm}^2`, "miles per hour", "apples"."""

import re
from collections import Counter

MAX_WORDS = 6
_MONEY = re.compile(
    r"(?P<signs>[-+ ]*)(?:US ?|CA ?|A)?(?P<money>\\\$|€|£|¥|₹) ?(?P<rest>[-+0-9.\\].*)", re.DOTALL
)
_PERCENT = re.compile(r"(.*\S) ?(?:%|\\text\{ ?%? ?(?:percent|per cent|percentage)? ?\})", re.DOTALL)
_DEGREES = re.compile(r"(.*\S) ?\^\{\\circ\} ?(?:([CF])|\\text\{ ?([CF]) ?\})?", re.DOTALL)
_UPRIGHT = r"\\text\{(?:[^{}]|\{[^{}]*\})*\}"
_RAISED = r"(?: ?[_^] ?\{ ?[-+]?[0-9]+ ?\})*"
_TOKEN = re.compile(
    rf"(?P<upright>(?:{_UPRIGHT}|\\(?:mu|Omega|AA)(?![A-Za-z])|[µμÅ]){_RAISED})"
    rf"|(?P<between>[ /.()\[\]]|\\cdot(?![A-Za-z]))"
    rf"|\\[A-Za-z]+|(?P<word>[A-Za-z]+(?:['-][A-Za-z]+)*){_RAISED}|.",
    re.DOTALL,
)
_BEFORE = re.compile(r"[ /(\[]*$")
_ALIASES = {
    "$": "dollar buck usd", "€": "euro eur", "£": "gbp", "¢": "cent", "%": "percent percentage",
    "°": "degree deg", "rad": "radian",
    "mm": "millimeter millimetre", "cm": "centimeter centimetre", "m": "meter metre", "km": "kilometer kilometre",
    "inch": "in inches", "foot": "feet ft", "yard": "yd", "mile": "mi",
    "mg": "milligram", "g": "gram", "kg": "kilogram kilo", "pound": "lb", "ounce": "oz", "mol": "mole",
    "ml": "milliliter millilitre", "l": "liter litre", "gallon": "gal",
    "second": "sec s", "minute": "min", "hour": "hr h", "year": "yr",
    "person": "people", "child": "children", "": "unit the a an of",
}  # fmt: skip
_NAMES = {name: unit for unit, names in _ALIASES.items() for name in [unit, *names.split()] if name}
_OTHER_UNITS = """am pm square cubic sq cu per cc hz khz mhz ghz ohm nm pa kpa mpa atm ev kev mev gev kj kw mw kwh mmol
ppm cal kcal mph kph kmh"""
_KNOWN = frozenset(_NAMES) | frozenset(_OTHER_UNITS.split())
_SPEED = {"km": 1, "hour": -1}
_WRITTEN_OUT = {"mph": {"mile": 1, "hour": -1}, "kph": _SPEED, "kmh": _SPEED, "cc": {"cm": 3}}
_RAISES = {"square": 2, "sq": 2, "cubic": 3, "cu": 3}
_OTHER_WORDS = """
or and to not no if than then but either maybe nor plus minus times over factorial squared cubed half halves
third thirds fourth fourths quarter quarters fifth fifths tenth tenths hundredth hundredths thousandth thousandths
base mod choose between through except hundred thousand million billion trillion dozen negative positive
sin cos tan log ln exp sqrt pi infty any all none for when where unless only even odd
"""
_NO_UNITS = frozenset(_OTHER_WORDS.split())  # words after a number that change its meaning
_VARIABLES = frozenset("xyznk")  # even in upright type
_MEGA = re.compile(r"M(?:W|Pa|Hz|eV|J|V|A|N|g|m|s|L)")  # mega, not milli


def split_unit(text: str, *, is_number: bool = True) -> tuple[str, str]:
    r"""(the text without its unit, the unit in canonical form); the unit is empty if there is none.

    Upright text is a unit, and so are names of known units and, after a number, other words. After an expression
    (is_number=False) a bare unit must be known and have at least two letters, as one letter may be a variable.

    >>> split_unit(r"18 miles per hour"), split_unit(r"25 \text{ cm}^{2}")
    (('18', 'hour^-1 mile'), ('25', 'cm^2'))
    """
    if money := _MONEY.fullmatch(text):
        rest, words = _split_words(money["rest"], is_number=is_number)
        return money["signs"] + rest, " ".join(filter(None, [money["money"].lstrip("\\"), words]))
    if percent := _PERCENT.fullmatch(text):
        return percent[1], "%"
    if degrees := _DEGREES.fullmatch(text):
        return degrees[1], "°" + (degrees[2] or degrees[3] or "").lower()
    return _split_words(text, is_number=is_number)


def units_agree(one: str, other: str) -> bool:
    """Whether two units may mean the same: equal, one left out, or one with extra words that are not known units."""
    words, others = set(one.split()), set(other.split())
    if not one or not other or words == others:
        return True
    extra = {factor.partition("^")[0] for factor in words ^ others}
    return (words < others or others < words) and not extra & _KNOWN


def _split_words(text: str, *, is_number: bool) -> tuple[str, str]:
    begin = _begin_of_unit(text, is_number=is_number)
    before = "" if begin is None else _BEFORE.sub("", text[:begin])
    tail = text[len(before) :]
    if not before or any(tail.count(pair[0]) != tail.count(pair[1]) for pair in ("()", "[]")):
        return text, ""
    unit = _unit(tail)
    return (text, "") if unit is None else (before, unit)


def _begin_of_unit(text: str, *, is_number: bool) -> int | None:
    """Where the units at the end of a text begin."""
    begin: int | None = None
    for token in _TOKEN.finditer(text):
        if token["between"]:
            continue
        is_unit = token["upright"] or (
            token["word"] and _is_bare_unit(text, token, is_number=is_number, is_first=begin is None)
        )
        begin = (token.start() if begin is None else begin) if is_unit else None
    return begin


def _is_bare_unit(text: str, token: re.Match[str], *, is_number: bool, is_first: bool) -> bool:
    """Whether a word that is not upright is a unit: a known one, or any word at a distance from a number."""
    word = token["word"].lower()
    is_known = word in _KNOWN or _name(word) in _KNOWN
    if is_known and len(word) > 1:
        return is_number or not is_first or text[token.start() - 1 : token.start()] != "\\"
    before = text[: token.start()]
    is_apart = not is_first or (before.endswith(" ") and not before.rstrip().endswith("/"))
    is_word = len(word) > 2 and word not in _NO_UNITS and bool(re.search("[aeiou]", word))
    return is_number and is_apart and (is_word or is_known)


def _unit(tail: str) -> str | None:
    """The unit that the end of a text names, in canonical form, or None if it says anything else."""
    text = re.sub(r"\\text\{((?:[^{}]|\{[^{}]*\})*)\}", r" \1", tail)
    for pattern, new in (
        (r"\\mu ?|[µμ] ?", "µ"), (r"µ +", "µ"), (r"\\Omega", " ohm"), (r"\\AA|Å", " angstrom"), (r"\\cdot", " "),
        (r" ?\^ ?\{? ?([-+]?[0-9]+) ?\}?", r"^\1"), (r" ?_ ?\{ ?([0-9]+) ?\}", r"\1"), (r"\bper\b", "/"),
        (r"[.,()\[\]]", " "),
    ):  # fmt: skip
        text = re.sub(pattern, new, text)
    above, *below = text.split("/")
    powers = [_powers(above, 1), *(_powers(part, -1) for part in below)]
    total = Counter[str]()
    for part in powers:
        if part is None:
            return None
        total.update(part)
    if len(total) > MAX_WORDS:
        return None
    return " ".join(sorted(name if power == 1 else f"{name}^{power}" for name, power in total.items()))


def _powers(words: str, sign: int) -> Counter[str] | None:
    """The power of each unit in the words; None if one of them is not a unit."""
    powers = Counter[str]()
    raised = 1
    for word in words.split():
        match = re.fullmatch(r"([A-Za-zµ°%$¢][A-Za-zµ0-9'-]*)(?:\^([-+]?[0-9]{1,3}))?", word)
        lower = match[1].lower() if match else ""
        if match is None or lower in _NO_UNITS or match[1] in _VARIABLES:
            return None
        if lower in _RAISES:
            raised = _RAISES[lower]
            continue
        if lower in _WRITTEN_OUT:
            for unit, power in _WRITTEN_OUT[lower].items():
                powers[unit] += sign * power
            continue
        if name := _name(match[1] if _MEGA.fullmatch(match[1]) else lower):
            powers[name] += sign * raised * int(match[2] or "1")
        raised = 1
    return powers


def _name(word: str) -> str:
    """The canonical name of a unit's word, in the singular."""
    for form in (word, word.removesuffix("s"), word.removesuffix("es")):
        if form in _NAMES:
            return _NAMES[form]
    return word.removesuffix("s") if len(word) > 3 and not word.endswith("ss") else word
