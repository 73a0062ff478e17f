"""Values between the tests and the program, as JSON that can only become plain data.

What the program sends becomes numbers, texts, and containers of the standard library, made here. So a value that the
tests compare is never of a class that the program wrote, and its `==` is Python's own. All other objects stay where
they are and are known to the other side by number.

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

TYPE_CHECKING = False  # the module `typing` would cost a tenth of a program's start
if TYPE_CHECKING:
    from typing import Any

SMALL = 2**62  # whole numbers beyond it go as hexadecimal text, which has no limit of digits

_LISTS: dict[type, str] = {tuple: "tuple", set: "set", frozenset: "frozenset", deque: "deque"}
_PAIRS: dict[type, str] = {
    dict: "dict",
    OrderedDict: "OrderedDict",
    Counter: "Counter",
    defaultdict: "defaultdict",
}
_TEXTS: dict[type, tuple[str, Callable[[Any], Any]]] = {
    float: ("float", float.hex),
    bytes: ("bytes", bytes.hex),
    bytearray: ("bytearray", bytearray.hex),
    Decimal: ("Decimal", str),
    datetime.date: ("date", datetime.date.isoformat),
    datetime.datetime: ("datetime", datetime.datetime.isoformat),
    datetime.time: ("time", datetime.time.isoformat),
}
_NUMBERS: dict[type, tuple[str, Callable[[Any], list[Any]]]] = {
    complex: ("complex", lambda z: [z.real.hex(), z.imag.hex()]),
    range: ("range", lambda r: [r.start, r.stop, r.step]),
    Fraction: ("Fraction", lambda q: [q.numerator, q.denominator]),
    datetime.timedelta: ("timedelta", lambda t: [t.days, t.seconds, t.microseconds]),
}
_VIEWS = (type({}.keys()), type({}.values()), type({}.items()))


def encode(value: Any, number: Callable[[Any], Any]) -> Any:
    """The value as JSON holds it; `number` says what an object that stays here is sent as.

    A view of a dict goes as a list. Only a type itself is taken by value, never a class derived from it.

    Raises:
        RecursionError: the value holds itself, or is nested too deep.
    """
    kind = type(value)
    if value is None or kind is bool or kind is str:
        return value
    if kind is int:
        return value if abs(value) < SMALL else {"int": hex(value)}
    if kind is list or kind in _VIEWS:
        return [encode(item, number) for item in value]
    if kind in _LISTS:
        return {_LISTS[kind]: [encode(item, number) for item in value]}
    if kind in _PAIRS:
        return {_PAIRS[kind]: [[encode(key, number), encode(item, number)] for key, item in value.items()]}
    if kind in _TEXTS:
        name, text = _TEXTS[kind]
        return {name: text(value)}
    if kind in _NUMBERS:
        name, parts = _NUMBERS[kind]
        return {name: [encode(part, number) for part in parts(value)]}
    return number(value)


_SHALLOW: dict[
    str, Callable[[Any], Any]
] = {  # what JSON holds → the value; never called with anything but JSON
    "int": lambda text: int(text, 16),
    "float": float.fromhex,
    "bytes": bytes.fromhex,
    "bytearray": bytearray.fromhex,
    "Decimal": Decimal,
    "date": datetime.date.fromisoformat,
    "datetime": datetime.datetime.fromisoformat,
    "time": datetime.time.fromisoformat,
    "complex": lambda parts: complex(*map(float.fromhex, parts)),
}
_OF_NUMBERS: dict[str, Callable[..., Any]] = {
    "range": range,
    "Fraction": Fraction,
    "timedelta": datetime.timedelta,
}
_OF_ITEMS: dict[str, Callable[[Any], Any]] = {
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
    "deque": deque,
}
_OF_PAIRS: dict[str, Callable[[Any], Any]] = {
    "dict": dict,
    "OrderedDict": OrderedDict,
    "Counter": lambda pairs: Counter(dict(pairs)),
    "defaultdict": lambda pairs: defaultdict(None, pairs),
}


def decode(value: Any, theirs: Callable[[Any], Any], ours: Callable[[Any], Any]) -> Any:
    """The value that JSON holds; `theirs` and `ours` map an object's number, which they check, to what stands for it.

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
    ((name, held),) = value.items()
    if name in objects:
        return objects[name](held)
    if name in _SHALLOW:
        return _SHALLOW[name](held)
    if type(held) is not list:
        raise TypeError
    parts = [_decoded(part, objects) for part in held]
    if name in _OF_ITEMS:
        return _OF_ITEMS[name](parts)
    wanted = int if name in _OF_NUMBERS else list
    if any(type(part) is not wanted for part in parts):
        raise TypeError
    return _OF_NUMBERS[name](*parts) if name in _OF_NUMBERS else _OF_PAIRS[name](parts)
