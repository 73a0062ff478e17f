"""Tests of a program, run in a process that the program cannot reach; it is asked for calls over a pipe."""

from __future__ import annotations

import builtins
import io
import json
import os
import signal
import sys
import types

from .peer import Gone, Peer, ProgramError, Remote

TYPE_CHECKING = False  # the module `typing` would cost a tenth of a program's start
if TYPE_CHECKING:
    from typing import Any, NoReturn

MODULES = ("bisect", "cmath", "collections", "copy", "datetime", "decimal", "fractions", "functools", "heapq",
           "itertools", "json", "math", "operator", "random", "re", "statistics", "string", "typing")  # fmt: skip


class Report:
    """A verdict as a line of JSON, {"passed", "reason"}, and whether the program had ended before its tests."""

    def __init__(self, reason: str, *, has_ended: bool = False) -> None:
        self.text = json.dumps({"passed": not reason, "reason": reason})
        self.has_ended = has_ended


def report(tests: str, reads: int, writes: int) -> Report:
    """The verdict on the program at the other end of the pipes; it passes where all tests run to their end.

    `tests` is a JSON object: `context`, code that stands before the tests and is not the program's; `code`;
    `entry_point`, what `check(candidate)` of the code is called with; or `calls` of `function`, with the values of
    which each must return one.
    """
    peer = Peer(os.fdopen(reads, "rb"), os.fdopen(writes, "wb"), serves_all=False)
    signal.signal(signal.SIGXCPU, _out_of_time)
    try:
        loaded = peer.wait()
        if "raised" in loaded:
            return Report(_name(loaded["raised"]))
        names = {str(name): Remote(peer, int(number)) for name, number in loaded["functions"].items()}
        names |= {str(name): peer.received(value) for name, value in loaded["values"].items()}
        _run(json.loads(tests), names)
    except BaseException as error:  # SystemExit too: tests that end early have not passed
        return Report(_reason(error) or "error", has_ended=isinstance(error, Gone))
    return Report("")


def _out_of_time(*_: object) -> NoReturn:
    raise TimeoutError


def serve(source: str, space: dict[str, Any], reads: int, writes: int) -> None:
    """In the program's process: run it, say what it defined, and serve the tests until they end."""
    peer = Peer(os.fdopen(reads, "rb"), os.fdopen(writes, "wb"), serves_all=True)
    before, no_input = dict(space), _NoInput()
    sys.stdin = io.TextIOWrapper(io.BufferedReader(no_input))
    try:
        _execute(source, space, no_input)
        defined = _defined(peer, _new(space, before))
    except BaseException as error:  # the program's own, whatever it is
        return peer.send({"raised": [kind.__name__ for kind in type(error).__mro__], "text": ""})
    peer.send(defined)
    return peer.serve()


class _NoInput(io.RawIOBase):
    """Standard input that is at its end, and that knows whether it was read."""

    was_read = False

    def readable(self) -> bool:
        return True

    def readinto(self, _: Any, /) -> int:
        self.was_read = True
        return 0


def _execute(source: str, space: dict[str, Any], no_input: _NoInput) -> None:
    """Run the program; where it ends for want of input, what it defined until then is there to be tested."""
    try:
        exec(compile(source, "program.py", "exec"), space)
    except BaseException:
        if not no_input.was_read:
            raise


def _new(space: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """What the program defined: what it was lent and did not replace is not the program's."""
    return {name: value for name, value in space.items() if name not in before or before[name] is not value}


def _defined(peer: Peer, space: dict[str, Any]) -> dict[str, Any]:
    """What the tests may name: functions, classes and modules by number, all else by value."""
    names = {name: value for name, value in space.items() if not name.startswith("__")}
    by_number = {
        name for name, value in names.items() if callable(value) or isinstance(value, types.ModuleType)
    }
    return {
        "functions": {name: peer.export(names[name]) for name in names if name in by_number},
        "values": {name: peer.sent(names[name]) for name in names if name not in by_number},
    }


def _run(tests: dict[str, Any], names: dict[str, Any]) -> None:
    if tests.get("calls") is not None:
        return _call_all(tests["calls"], _function(tests["function"], names))
    module = types.ModuleType("tests")
    sys.modules["tests"] = module
    space = module.__dict__
    # What the tests compute with is never the program's, even where it gave the same name to something.
    shadows = tests.get("shadows") or ()
    space |= {name: value for name, value in names.items() if not hasattr(builtins, name) or name in shadows}
    space |= {name: __import__(name) for name in MODULES if name in names}
    exec(compile(tests.get("context") or "", "context.py", "exec"), space)
    entry = tests.get("entry_point")
    for name in filter(None, (entry, tests.get("function"))):  # of which the context has the head alone
        space[name] = _function(name, names)
    exec(compile(tests["code"], "tests.py", "exec"), space)
    if entry:
        space["check"](_function(entry, names))
    return None


def _function(name: str, names: dict[str, Any]) -> Remote:
    if "Solution" in names and name not in names:
        return getattr(names["Solution"](), name)
    if not isinstance(names.get(name), Remote):
        raise ProgramError(f"no {name}")
    return names[name]


def _call_all(calls: list[dict[str, Any]], function: Remote) -> None:
    for one in calls:
        found = function(*one["arguments"])
        if _result(found, one["tuples"]) not in one["expected"]:
            raise AssertionError


def _result(value: Any, tuples: str) -> Any:
    """The value with a list for a tuple, as JSON has no tuples: for itself alone ("outermost"), or within it too."""
    if tuples == "outermost":
        return list(value) if isinstance(value, tuple) else value
    return _as_json(value)


def _as_json(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_as_json(item) for item in value]
    if type(value) is dict:
        return {str(key): _as_json(item) for key, item in value.items()}
    return value


def _reason(error: BaseException) -> str:
    if isinstance(error, AssertionError):
        return "a test failed"
    if isinstance(error, Gone):
        return "the program ended"
    if isinstance(error, TimeoutError):
        return "the tests took too much time"
    if isinstance(error, SystemExit | KeyboardInterrupt):
        return "the tests ended early"
    if isinstance(error, ProgramError):
        return str(error)[:100]
    return type(error).__name__


def _name(kinds: list[Any]) -> str:
    return str(kinds[0])[:100] if kinds else "error"
