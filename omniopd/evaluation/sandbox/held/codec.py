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


_SHALLOW: dict[str, Callable[[Any], Any]] = {
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
_DEEP: dict[str, Callable[[Any], Any]] = {
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
    "deque": deque,
    "dict": dict,
    "OrderedDict": OrderedDict,
    "Counter": lambda pairs: Counter(dict(pairs)),
    "defaultdict": lambda pairs: defaultdict(None, pairs),
    "range": lambda parts: range(*parts),
    "Fraction": lambda parts: Fraction(*parts),
    "timedelta": lambda parts: datetime.timedelta(*parts),
}


def decode(value: Any, theirs: Callable[[int], Any], ours: Callable[[int], Any]) -> Any:
    """The value that JSON holds; `theirs` and `ours` say what stands for objects of either side, by number.

    Raises:
        ValueError, TypeError, KeyError, ArithmeticError: the other side sent what no `encode` makes.
    """
    if isinstance(value, list):
        return [decode(item, theirs, ours) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, held),) = value.items()
    if kind in _SHALLOW:
        return _SHALLOW[kind](held)
    if kind in _DEEP:
        return _DEEP[kind](decode(held, theirs, ours))
    return {"mine": theirs, "yours": ours}[kind](held)
