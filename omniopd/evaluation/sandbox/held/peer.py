"""Calls between two processes that do not trust each other: each holds its own objects, and the other their numbers.

A line of JSON is a message: a request {"do", "on", "with", "named"}, or a reply {"is", "now"} or {"raised", "text"}.
While one side waits for a reply it serves requests, so functions can be handed over and called back.
"""

from __future__ import annotations

import builtins
import json
from collections.abc import Callable

from .codec import decode, encode

TYPE_CHECKING = False  # the module `typing` would cost a tenth of a program's start
if TYPE_CHECKING:
    from typing import Any, BinaryIO

LONGEST = 2**26  # bytes of a message
OURS = "_peer", "_number"


class ProgramError(Exception):
    """The other side raised what is no exception of Python's own, or said what makes no sense."""


class Gone(ProgramError):
    """The other side has ended."""


class Remote:
    """An object of the other side.

    It equals no plain data, whatever its class says: it is compared, ordered and calculated with only beside other
    objects of its side. What is called, looked up, iterated over or written out is asked of the other side.
    """

    __slots__ = OURS

    def __init__(self, peer: Peer, number: int) -> None:
        object.__setattr__(self, "_peer", peer)
        object.__setattr__(self, "_number", number)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self._peer.ask("call", self._number, *arguments, **named)

    def __getattr__(self, name: str) -> Any:
        return self._peer.ask("get", self._number, name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._peer.ask("set", self._number, name, value)

    def __iter__(self) -> Any:
        steps = self._peer.ask("iter", self._number)
        while found := self._peer.ask("next", steps._number):
            yield found[0]

    def __bool__(self) -> bool:
        return True  # and not asked: a program cannot make `not f(x)` true with an object

    def __hash__(self) -> int:
        return hash(self._number)

    def __instancecheck__(self, value: Any) -> bool:
        return isinstance(value, Remote) and self._peer.ask("isinstance", self._number, value) is True


def _unary(name: str) -> Callable[..., Any]:
    return lambda self: self._peer.ask("operate", self._number, name)


def _keyed(name: str) -> Callable[..., Any]:
    return lambda self, *rest: self._peer.ask("operate", self._number, name, *rest)


def _among_remotes(name: str) -> Callable[..., Any]:
    def operate(self: Remote, other: Any) -> Any:
        return (
            self._peer.ask("operate", self._number, name, other) if type(other) is Remote else NotImplemented
        )

    return operate


UNARY = ("__len__", "__str__", "__repr__")
KEYED = ("__getitem__", "__setitem__", "__delitem__")
AMONG_REMOTES = ("__eq__", "__lt__", "__le__", "__gt__", "__ge__", "__add__", "__sub__", "__mul__", "__matmul__",
                 "__truediv__", "__floordiv__", "__mod__", "__and__", "__or__", "__xor__")  # fmt: skip
for _name in UNARY:
    setattr(Remote, _name, _unary(_name))
for _name in KEYED:
    setattr(Remote, _name, _keyed(_name))
for _name in AMONG_REMOTES:
    setattr(Remote, _name, _among_remotes(_name))


class Peer:
    """One side; `serves_all` is set where the other side may ask anything of its objects, as the tests may."""

    def __init__(self, reads: BinaryIO, writes: BinaryIO, *, serves_all: bool) -> None:
        self._reads, self._writes, self._serves_all = reads, writes, serves_all
        self._objects: list[Any] = []

    def ask(self, what: str, on: int, *arguments: Any, **named: Any) -> Any:
        """The other side's answer. Lists, dicts and sets among the arguments are changed as it changed them.

        Raises:
            Gone: it has ended.
            ProgramError: what it raised, if not an exception that Python has.
        """
        self.send({"do": what, "on": on, "with": self.sent([*arguments]), "named": self.sent(named)})
        reply = self.wait()
        if "raised" in reply:
            raise _exception(reply)
        for argument, now in (self.received(reply.get("now")) or {}).items():
            _refresh(arguments[argument], now)
        return self.received(reply.get("is"))

    def wait(self) -> dict[str, Any]:
        """The next reply; requests until then are served."""
        while True:
            line = self._reads.readline(LONGEST)
            if not line.endswith(b"\n"):
                raise Gone("the program has ended")
            message = json.loads(line)
            if not isinstance(message, dict):
                raise ProgramError("no message")
            if "do" not in message:
                return message
            self.send(self._serve(message))

    def serve(self) -> None:
        """Serve requests until the other side ends."""
        try:
            self.wait()
        except Gone:
            return

    def export(self, value: Any) -> int:
        """The number by which the other side knows an object of this one."""
        self._objects.append(value)
        return len(self._objects) - 1

    def _serve(self, message: dict[str, Any]) -> dict[str, Any]:
        try:
            arguments = self.received(message["with"])
            before = [json.dumps(self._seen(argument)) for argument in arguments]
            result = self.sent(
                self._do(message["do"], message["on"], arguments, self.received(message["named"]))
            )
            now = {
                i: argument
                for i, (argument, old) in enumerate(zip(arguments, before, strict=True))
                if json.dumps(self._seen(argument)) != old
            }
            return {"is": result, "now": self.sent(now) if now else None}
        except BaseException as error:  # the program's own, whatever it is: the tests see what they expect
            return {"raised": [kind.__name__ for kind in type(error).__mro__], "text": _text(error)}

    def _do(self, what: str, on: int, arguments: list[Any], named: dict[str, Any]) -> Any:
        target = self._objects[on]
        if what == "call":
            return target(*arguments, **named)
        if what == "iter":
            return _Steps(target)
        if what == "next":
            return target.step()
        if not self._serves_all:
            kind = AttributeError if what == "get" else TypeError
            raise kind(f"objects of the tests can be called and iterated over, and not asked to {what}")
        return self._ask_object(target, what, arguments)

    def _ask_object(self, target: Any, what: str, arguments: list[Any]) -> Any:
        if what == "get":
            return getattr(target, arguments[0])
        if what == "set":
            return setattr(target, arguments[0], arguments[1])
        if what == "isinstance":
            return isinstance(arguments[0], target)
        name, *rest = arguments
        operation = getattr(type(target), name, None)
        if operation is None:
            raise TypeError(f"{type(target).__name__!r} has no {name}")
        return operation(target, *rest)

    def send(self, message: dict[str, Any]) -> None:
        """Send a message as it is."""
        try:
            self._writes.write(json.dumps(message).encode() + b"\n")
            self._writes.flush()
        except BrokenPipeError:
            raise Gone("the program has ended") from None

    def sent(self, value: Any) -> Any:
        """The value as it is sent to the other side."""
        return encode(value, self._numbered)

    def _seen(self, value: Any) -> Any:
        """As `sent`, to be compared with itself: objects get no new numbers."""
        return encode(value, lambda found: {"mine": id(found)})

    def received(self, value: Any) -> Any:
        """The value that the other side sent."""
        return decode(
            value, lambda number: Remote(self, int(number)), lambda number: self._objects[int(number)]
        )

    def _numbered(self, value: Any) -> dict[str, int]:
        if type(value) is Remote and value._peer is self:
            return {"yours": value._number}
        return {"mine": self.export(value)}


class _Steps:
    """An iterator that can be asked from afar: a step is [item], or [] at the end."""

    def __init__(self, target: Any) -> None:
        self._items = iter(target)

    def step(self) -> list[Any]:
        for item in self._items:
            return [item]
        return []


def _refresh(old: Any, new: Any) -> None:
    """Make a container hold what its copy on the other side holds now; what lies deeper is new."""
    if type(old) is not type(new):
        return
    if isinstance(old, list | bytearray):
        old[:] = new
    elif isinstance(old, dict | set):
        old.clear()
        old.update(new)
    elif hasattr(old, "extend"):  # a deque
        old.clear()
        old.extend(new)


def _exception(reply: dict[str, Any]) -> Exception:
    """The nearest of Python's own exceptions, which the tests may expect; never one that ends the tests."""
    kinds, text = [str(kind) for kind in reply["raised"]], str(reply.get("text"))
    for name in kinds:
        kind = getattr(builtins, name, None)
        if isinstance(kind, type) and issubclass(kind, Exception) and kind is not Exception:
            try:
                return kind(text)
            except TypeError:
                break  # such as UnicodeDecodeError, which is made of more than a text
    return ProgramError(f"{kinds[0] if kinds else 'error'}: {text}")


def _text(error: BaseException) -> str:
    try:
        return str(error)[:500]
    except Exception:
        return ""
