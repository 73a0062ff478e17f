"""Calls between two processes: each keeps its own objects and knows those of the other side by number.

A message is a line of JSON: what the program defined, {"names"}, a request {"do", "on", "with", "named"}, or a reply,
{"is", "now"} or {"raised", "text"}. While a side waits for a reply it serves requests, so functions can be passed and
called back.

The tests' side trusts no message. One of any other shape is a `Fault`, which fails the tests even if they catch it.
"""

from __future__ import annotations

import builtins
import contextlib
import itertools
import json
from collections import Counter, OrderedDict, defaultdict, deque

from .annotations import Any, BinaryIO, Iterator, NoReturn, TypeGuard
from .codec import decode, encode
from .remote import Remote

LONGEST = 2**26  # bytes of a message
MAX_OBJECTS = 2**53
REQUEST, DEFINED, ANSWER, RAISED = {"do", "on", "with", "named"}, {"names"}, {"is", "now"}, {"raised", "text"}
CONTAINERS = (list, dict, set, bytearray, deque, OrderedDict, Counter, defaultdict)
ENDED, NONSENSE, FAILED = "the program ended", "the program broke off its tests", "a test failed"
# What Python itself handles if an object lacks something: hasattr(x, …), list(x) of an x without len.
LACKS = {"get": AttributeError, "operate": TypeError}
ENDS_LOOPS = (StopIteration, StopAsyncIteration)  # not failures to Python


class ProgramError(Exception):
    """The other side raised an exception, named by `kind`, that this side does not expect."""

    def __init__(self, text: str, kind: str) -> None:
        super().__init__(text)
        self.kind = kind


class Fault(BaseException):
    """The other side has ended, or broke the protocol. Not an `Exception`, so `except Exception` does not catch it."""


class Peer:
    """One side of the pipes.

    `serves_all` is set on the program's side: the tests may request anything of its objects, and whatever it raises is
    a reply. `expects` are the exceptions that are raised here as what they were there; others become ProgramErrors.
    `fault` is why the tests have failed, whatever they do about it. Methods raise a Fault if the other side has ended
    or broken the protocol.
    """

    def __init__(
        self, reads: BinaryIO, writes: BinaryIO, *, serves_all: bool, expects: tuple[type, ...] = (Exception,)
    ) -> None:
        self._reads, self._writes, self._serves_all, self._expects = reads, writes, serves_all, expects
        self._objects: list[Any] = []
        self.fault = ""

    def ask(self, what: str, on: Remote, *arguments: Any, **named: Any) -> Any:
        """The other side's answer, or the exception that it raised; it may change containers among the arguments."""
        request = {"do": what, "on": on._remote_number, "with": self.sent([*arguments])}
        self.send(request | {"named": self.sent(named)})
        reply = self.wait(ANSWER, RAISED)
        if "raised" in reply:
            raise self.exception(reply, what)
        with self.strictly():
            now = self._containers(reply["now"], arguments if what == "call" else ())
            result = self.received(reply["is"])
        for place, container in now.items():
            _refresh(arguments[place], container)
        return result

    def step(self, steps: Any) -> list[Any]:
        """The next item of an iterator of the other side in a list, which is empty at the end."""
        item = self.ask("next", steps) if type(steps) is Remote else None
        if type(item) is not list or len(item) > 1:
            self._fail(NONSENSE)
        return item

    def wait(self, *shapes: set[str]) -> dict[str, Any]:
        """The next message that is not a request, with one of these sets of keys; requests until then are served."""
        while True:
            with self.strictly():
                line = self._reads.readline(LONGEST)
                message = _message(line, *shapes, REQUEST) if line.endswith(b"\n") else None
            if message is None:
                self._fail(ENDED)
            if message.keys() != REQUEST:
                return message
            with self.strictly():
                on, arguments, named = self._request(message)
            self.send(self._serve(message["do"], on, arguments, named))

    def serve(self) -> None:
        """Serve requests until the other side ends."""
        with contextlib.suppress(Fault):
            self.wait()

    def export(self, value: Any) -> int:
        """The number by which the other side knows an object of this one."""
        self._objects.append(value)
        return len(self._objects) - 1

    def send(self, message: dict[str, Any]) -> None:
        try:
            self._writes.write(json.dumps(message).encode() + b"\n")
            self._writes.flush()
        except BrokenPipeError:
            self._fail(ENDED)

    def sent(self, value: Any) -> Any:
        """The value in the form in which it is sent."""
        return encode(value, self._numbered)

    def received(self, value: Any) -> Any:
        """The value that the other side sent; a ValueError if it is none."""
        return decode(value, self.remote, self._object)

    def remote(self, number: Any) -> Remote:
        """The other side's object of that number; a ValueError if that cannot be one."""
        if type(number) is not int or not 0 <= number < MAX_OBJECTS:
            raise ValueError("no number of an object")
        return Remote(self, number)

    @contextlib.contextmanager
    def strictly(self) -> Iterator[None]:
        """Turn any exception in the block, which reads a message, into a fault."""
        try:
            yield
        except Exception:
            self._fail(NONSENSE)

    def _fail(self, reason: str) -> NoReturn:
        self.fault = self.fault or reason
        raise Fault(reason)

    def _object(self, number: Any) -> Any:
        if type(number) is not int or not 0 <= number < len(self._objects):
            raise ValueError("no object has this number")
        return self._objects[number]

    def _request(self, message: dict[str, Any]) -> tuple[Any, list[Any], dict[str, Any]]:
        on = self._object(message["on"])
        arguments, named = self.received(message["with"]), self.received(message["named"])
        if type(message["do"]) is not str or type(arguments) is not list or type(named) is not dict:
            raise ValueError("no request")
        if not all(type(name) is str for name in named):
            raise ValueError("an argument's name is no text")
        return on, arguments, named

    def _serve(self, what: str, on: Any, arguments: list[Any], named: dict[str, Any]) -> dict[str, Any]:
        try:
            before = [self._seen(argument) for argument in arguments]
            result = self.sent(self._do(what, on, arguments, named))
            now = {
                place: argument
                for place, argument in enumerate(arguments)
                if type(argument) in CONTAINERS and self._seen(argument) != before[place]
            }
            return {"is": result, "now": self.sent(now) if now else None}
        except BaseException as error:
            if not self._serves_all:  # a failed assertion of the tests counts, and their end is not a reply
                if isinstance(error, AssertionError):
                    self.fault = self.fault or FAILED
                elif not isinstance(error, Exception):
                    raise
            return {"raised": [kind.__name__ for kind in type(error).__mro__], "text": _text(error)}

    def _do(self, what: str, on: Any, arguments: list[Any], named: dict[str, Any]) -> Any:
        if what == "call":
            return on(*arguments, **named)
        if what == "value":
            return on
        if what == "iter":
            return _Steps(on)
        if what == "next" and type(on) is _Steps:
            return [*itertools.islice(on.items, 1)]
        if not self._serves_all:
            raise LACKS.get(what, TypeError)("objects of the tests can only be called and iterated over")
        if what == "get":
            return getattr(on, arguments[0])
        if what == "set":
            return setattr(on, arguments[0], arguments[1])
        if what == "isinstance":
            return isinstance(arguments[0], on)
        name, *rest = arguments
        operation = getattr(type(on), name, None)
        if operation is None:
            raise TypeError(f"{type(on).__name__!r} has no {name}")
        return operation(on, *rest)

    def _seen(self, value: Any) -> str:
        """Like `sent`, for comparison: objects get no new numbers."""
        return json.dumps(encode(value, lambda item: {"mine": id(item)}))

    def _numbered(self, value: Any) -> dict[str, int]:
        if type(value) is Remote and value._remote_peer is self:
            return {"yours": value._remote_number}
        return {"mine": self.export(value)}

    def _containers(self, sent: Any, arguments: tuple[Any, ...]) -> dict[int, Any]:
        """The new contents of containers among the arguments, by position."""
        now = {} if sent is None else self.received(sent)
        if type(now) is not dict:
            raise ValueError("no containers")
        for place, container in now.items():
            if type(place) is not int or not 0 <= place < len(arguments):
                raise ValueError("no argument")
            if type(container) not in CONTAINERS or type(arguments[place]) is not type(container):
                raise ValueError("no container of this kind was an argument")
        return now

    def exception(self, reply: dict[str, Any], what: str = "") -> Exception:
        """The nearest exception that is expected, but never one that ends the tests or a loop of theirs."""
        with self.strictly():
            names, text = reply["raised"], str(reply["text"])[:500]
            kinds = [kind for name in names if _is_exception(kind := getattr(builtins, name, None))]
            name = names[0][:100] if names and names[0].isidentifier() else "an exception without a name"
        expected = (*self._expects, *([LACKS[what]] if what in LACKS else []))
        for one in kinds:
            if issubclass(one, expected):
                with contextlib.suppress(TypeError):  # UnicodeDecodeError, for one, takes more than a text
                    return one(text)
        return ProgramError(text, name)


class _Steps:
    """An iterator that the other side steps through."""

    def __init__(self, target: Any) -> None:
        self.items = iter(target)


def _is_exception(kind: Any) -> TypeGuard[type[Exception]]:
    return (
        isinstance(kind, type)
        and issubclass(kind, Exception)
        and kind is not Exception
        and not issubclass(kind, ENDS_LOOPS)
    )


def _message(line: bytes, *shapes: set[str]) -> dict[str, Any]:
    """The message in a line: a dict with one of these sets of keys, without fractional numbers."""
    message = json.loads(line.decode("ascii"), parse_float=_refuse, parse_constant=_refuse)
    if type(message) is not dict or not any(message.keys() == shape for shape in shapes):
        raise ValueError("no message")
    return message


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{text} is not sent as a number")


def _refresh(old: Any, new: Any) -> None:
    """Give a container the contents of its copy on the other side; inner containers are new objects."""
    if isinstance(old, list | bytearray):
        old[:] = new
        return
    old.clear()
    getattr(old, "extend" if isinstance(old, deque) else "update")(new)


def _text(error: BaseException) -> str:
    try:
        return str(error)[:500]
    except Exception:
        return ""
