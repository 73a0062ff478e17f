r"""The unit that stands by a number: `$`, `%`, `\text{ cm}^2`, "miles per hour", "apples"."""

import re

MAX_WORDS = 6
_MONEY = re.compile(
    r"(?P<signs>[-+ ]*)(?:US ?|CA ?|A)?(?P<money>\\\$|€|£|¥|₹) ?(?P<rest>[-+0-9.\\].*)", re.DOTALL
)
_PERCENT = re.compile(r"(.*\S) ?(?:%|\\text\{ ?%? ?(?:percent|per cent|percentage)? ?\})", re.DOTALL)
_DEGREES = re.compile(r"(.*\S) ?\^\{\\circ\} ?(?:([CF])|\\text\{ ?([CF]) ?\})?", re.DOTALL)
_TEXT = re.compile(r"(.*[^\s\\]) ?\\text\{([^{}]*)\} ?(?:\^\{([23])\})?", re.DOTALL)
_POWER = re.compile(r"(.*[A-Za-z])\^\{([23])\}", re.DOTALL)
_TAIL = re.compile(r"[A-Za-z][A-Za-z ./]*$")
_ALIASES = {
    "$": "dollar buck usd",
    "€": "euro eur",
    "£": "gbp",
    "¢": "cent",
    "%": "percent percentage",
    "°": "degree deg",
    "rad": "radian",
    "mm": "millimeter millimetre",
    "cm": "centimeter centimetre",
    "m": "meter metre",
    "km": "kilometer kilometre",
    "inch": "in inches",
    "foot": "feet ft",
    "yard": "yd",
    "mile": "mi",
    "mg": "milligram",
    "g": "gram",
    "kg": "kilogram kilo",
    "pound": "lb",
    "ounce": "oz",
    "ml": "milliliter millilitre",
    "l": "liter litre",
    "gallon": "gal",
    "second": "sec s",
    "minute": "min",
    "hour": "hr h",
    "year": "yr",
    "person": "people",
    "child": "children",
    "mile/hour": "mph",
    "km/hour": "kph kmh",
    "": "unit the a an of",
}
_NAMES = {name: unit for unit, names in _ALIASES.items() for name in [unit, *names.split()] if name}
_KNOWN = frozenset(_NAMES) | {"am", "pm", "square", "cubic", "sq", "cu", "per", "cc", "mol", "hz", "ohm"}
_OTHER_WORDS = """
or and to not no if than then but either maybe nor plus minus times over factorial squared cubed half halves
third thirds fourth fourths quarter quarters fifth fifths tenth tenths hundredth hundredths thousandth thousandths
base mod choose between through except hundred thousand million billion trillion dozen negative positive
sin cos tan log ln exp sqrt pi infty any all none
"""
_NO_UNITS = frozenset(_OTHER_WORDS.split())  # words after a number that change what it says


def split_unit(text: str, *, is_number: bool = True) -> tuple[str, str]:
    r"""(the text without its unit, the unit in one form); the unit is empty where there is none.

    Of an expression (is_number=False) only what cannot be taken for variables is a unit: signs, `\text{...}`, and
    abbreviations of two letters and more.

    >>> split_unit(r"18 miles per hour"), split_unit(r"25 \text{ cm}^{2}")
    (('18', 'mile/hour'), ('25', 'cm^2'))
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
    """Whether two units may stand for one: equal, one of them left out, or all the words of one in the other."""
    words, of_other = (set(re.split(r"[ /]", unit)) for unit in (one, other))
    return not one or not other or words <= of_other or of_other <= words


def _split_words(text: str, *, is_number: bool) -> tuple[str, str]:
    if (in_text := _TEXT.fullmatch(text)) and (unit := _unit(in_text[2], in_text[3])) is not None:
        return in_text[1].strip(), unit
    raised = _POWER.fullmatch(text)
    body, power = (raised[1], raised[2]) if raised else (text, None)
    words = _last_words(body)
    before = body[: len(body) - len(words)]
    if not before.strip() or not _is_unit_after(before, words, is_number=is_number):
        return text, ""
    unit = _unit(words, power)
    return (text, "") if unit is None else (before.strip(), unit)


def _last_words(text: str) -> str:
    """The words at the end of a text, without a command before them."""
    tail = _TAIL.search(text)
    if tail is None:
        return ""
    is_command = text[: tail.start()].endswith("\\")
    return tail[0].partition(" ")[2] if is_command else tail[0]


def _is_unit_after(before: str, words: str, *, is_number: bool) -> bool:
    """Whether words stand after a number as a unit does, and not as variables: off it, or as a known abbreviation."""
    own = words.lower().split()
    if not own or not (is_number or all(_name(word) in _KNOWN and len(word) > 1 for word in own)):
        return False
    is_known = len(words) > 1 and words.lower() in _KNOWN
    return before.endswith(" ") or (before[-1:].isdigit() and is_known)


def _unit(words: str, power: str | None) -> str | None:
    """The unit that words name, in one form, or None where they say more than that."""
    text = re.sub(r"\bper\b", "/", re.sub(r"[.,]", "", words.lower()))
    own = re.findall(r"[a-z°%$¢]+", text)
    if re.search(r"[^a-z°%$¢/ ^²³'\-]", text) or len(own) > MAX_WORDS or not all(map(_may_be_unit, own)):
        return None
    parts = [_part(part) for part in text.split("/")]
    return "/".join(parts).strip() + (f"^{power}" if power and own else "")


def _may_be_unit(word: str) -> bool:
    is_word = len(word) > 2 and word not in _NO_UNITS and bool(re.search("[aeiou]", word))
    return is_word or word in _KNOWN or _name(word) in _KNOWN


def _part(words: str) -> str:
    own = words.split()
    for name, power in (("square", "^2"), ("sq", "^2"), ("cubic", "^3"), ("cu", "^3")):
        if own[:1] == [name] and len(own) > 1:
            return " ".join(filter(None, map(_name, own[1:]))) + power
    return " ".join(filter(None, map(_name, own)))


def _name(word: str) -> str:
    """One word of a unit: the singular, and of several names one."""
    for form in (word, word.removesuffix("s"), word.removesuffix("es")):
        if form in _NAMES:
            return _NAMES[form]
    return word.removesuffix("s") if len(word) > 3 and not word.endswith("ss") else word
