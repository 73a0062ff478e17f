"""Values between the tests and the program, as JSON from which only plain data can be made.

What the program sends becomes numbers, texts and containers of the standard library, constructed here. So a value that
the tests compare never has a class of the program's, and its `==` is Python's own. All other objects stay in their
process; the other side knows them by number.

>>> encode({(1, 2): "a"}, number=id)
{'dict': [[{'tuple': [1, 2]}, 'a']]}
>>> decode({'dict': [[{'tuple': [1, 2]}, 'a']]}, theirs=print, ours=print)
{(1, 2): 'a'}
"""

from __future__ import annotations

import datetime
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction

from .annotations import Any

SMALL = 2**62  # larger whole numbers are sent as hexadecimal text, whose length is not limited

_LISTS = frozenset([tuple, set, frozenset, deque])
_PAIRS = frozenset([dict, OrderedDict, Counter, defaultdict])
_TEXTS: dict[type, tuple[Callable[[Any], str], Callable[[Any], Any]]] = {  # how each is written and read
    float: (float.hex, float.fromhex),
    bytes: (bytes.hex, bytes.fromhex),
    bytearray: (bytearray.hex, bytearray.fromhex),
    Decimal: (str, Decimal),
    datetime.date: (datetime.date.isoformat, datetime.date.fromisoformat),
    datetime.datetime: (datetime.datetime.isoformat, datetime.datetime.fromisoformat),
    datetime.time: (datetime.time.isoformat, datetime.time.fromisoformat),
}
_NUMBERS: dict[type, Callable[[Any], list[Any]]] = {
    complex: lambda z: [z.real.hex(), z.imag.hex()],
    range: lambda r: [r.start, r.stop, r.step],
    Fraction: lambda q: [q.numerator, q.denominator],
    datetime.timedelta: lambda t: [t.days, t.seconds, t.microseconds],
}
_VIEWS = (type({}.keys()), type({}.values()), type({}.items()))
_FROM_JSON: dict[str, Callable[[Any], Any]] = {  # called with anything that JSON can hold
    "int": lambda text: int(text, 16),
    "complex": lambda parts: complex(*map(float.fromhex, parts)),
    **{kind.__name__: read for kind, (_, read) in _TEXTS.items()},
}
_FROM_NUMBERS: dict[str, Callable[..., Any]] = {
    kind.__name__: kind for kind in (range, Fraction, datetime.timedelta)
}
_FROM_ITEMS: dict[str, Callable[[Any], Any]] = {kind.__name__: kind for kind in _LISTS}
_FROM_PAIRS: dict[str, Callable[[Any], Any]] = {
    "dict": dict,
    "OrderedDict": OrderedDict,
    "Counter": lambda pairs: Counter(dict(pairs)),
    "defaultdict": lambda pairs: defaultdict(None, pairs),
}


def encode(value: Any, number: Callable[[Any], Any]) -> Any:
    """The value as JSON; `number` gives what is sent for an object that stays here.

    A view of a dict is sent as a list. Only exact types are sent by value, not classes derived from them.

    Raises:
        RecursionError: the value contains itself, or is nested too deep.
    """
    kind = type(value)
    if value is None or kind is bool or kind is str:
        return value
    if kind is int:
        return value if abs(value) < SMALL else {"int": hex(value)}
    if kind is list or kind in _VIEWS:
        return [encode(item, number) for item in value]
    if kind in _LISTS:
        return {kind.__name__: [encode(item, number) for item in value]}
    if kind in _PAIRS:
        return {kind.__name__: [[encode(key, number), encode(item, number)] for key, item in value.items()]}
    if kind in _TEXTS:
        return {kind.__name__: _TEXTS[kind][0](value)}
    if kind in _NUMBERS:
        return {kind.__name__: [encode(part, number) for part in _NUMBERS[kind](value)]}
    return number(value)


def decode(value: Any, theirs: Callable[[Any], Any], ours: Callable[[Any], Any]) -> Any:
    """The value in JSON; `theirs` and `ours` check an object's number and return what represents it.

    Raises:
        ValueError: no `encode` makes this.
    """
    try:
        return _decoded(value, {"mine": theirs, "yours": ours})
    except (TypeError, LookupError, ArithmeticError, RecursionError) as error:
        raise ValueError(f"not a value: {type(error).__name__}") from None


def _decoded(value: Any, objects: dict[str, Callable[[Any], Any]]) -> Any:
    kind = type(value)
    if value is None or kind is bool or kind is str or (kind is int and abs(value) < SMALL):
        return value
    if kind is list:
        return [_decoded(item, objects) for item in value]
    if kind is not dict:
        raise TypeError
    ((name, content),) = value.items()
    if name in objects:
        return objects[name](content)
    if name in _FROM_JSON:
        return _FROM_JSON[name](content)
    if type(content) is not list:
        raise TypeError
    parts = [_decoded(part, objects) for part in content]
    if name in _FROM_ITEMS:
        return _FROM_ITEMS[name](parts)
    part_kind = int if name in _FROM_NUMBERS else list
    if any(type(part) is not part_kind for part in parts):
        raise TypeError
    return _FROM_NUMBERS[name](*parts) if name in _FROM_NUMBERS else _FROM_PAIRS[name](parts)
