"""Tests of a program, run in a process that the program cannot reach; it is asked for calls over a pipe."""

from __future__ import annotations
import __future__

import builtins
import io
import json
import os
import signal
import sys
import types

from .peer import DEFINED, ENDED, FAILED, RAISED, Peer, ProgramError
from .remote import Remote

TYPE_CHECKING = False  # the module `typing` would cost a tenth of a program's start
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, NoReturn

MODULES = ("bisect", "cmath", "collections", "copy", "datetime", "decimal", "fractions", "functools", "heapq",
           "itertools", "json", "math", "operator", "random", "re", "statistics", "string", "typing")  # fmt: skip
SOLUTION = "Solution"  # the class whose method a function may be


class Report:
    """A verdict as a line of JSON, {"passed", "reason"}, and whether the program had ended before its tests."""

    def __init__(self, reason: str, *, passed: bool = False, has_ended: bool = False) -> None:
        self.text = json.dumps({"passed": passed, "reason": reason})
        self.has_ended = has_ended


class OutOfTime(BaseException):
    """The tests have used their time; no `except Exception` of theirs catches it."""


def report(tests: str, reads: int, writes: int) -> Report:
    """The verdict on the program at the other end of the pipes; it passes where all tests run to their end.

    `tests` is a JSON object: `context`, code that stands before the tests and is not the program's; `code`;
    `entry_point`, what `check(candidate)` of the code is called with; or `calls` of `function`, with the values of
    which each must return one.
    """
    signal.signal(signal.SIGXCPU, _out_of_time)
    fault = ""
    try:
        suite = _Suite(json.loads(tests))
        peer = Peer(os.fdopen(reads, "rb"), os.fdopen(writes, "wb"), serves_all=False, expects=suite.expects)
        try:
            suite.run(_loaded(peer, suite.asks))
        finally:
            fault = peer.fault
    except BaseException as error:  # SystemExit too: tests that end early have not passed
        return Report(fault or _reason(error), has_ended=fault == ENDED)
    return Report(fault, passed=not fault)


def _out_of_time(*_: object) -> NoReturn:
    raise OutOfTime


def serve(source: str, space: dict[str, Any], reads: int, writes: int) -> None:
    """In the program's process: run it, say what it defined, and serve the tests until they end."""
    peer = Peer(os.fdopen(reads, "rb"), os.fdopen(writes, "wb"), serves_all=True)
    before, no_input = dict(space), _NoInput()
    sys.stdin = io.TextIOWrapper(io.BufferedReader(no_input))
    try:
        _execute(source, space, no_input)
    except BaseException as error:  # the program's own, whatever it is
        return peer.send({"raised": [kind.__name__ for kind in type(error).__mro__], "text": ""})
    peer.send({"names": {name: peer.export(value) for name, value in _new(space, before).items()}})
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
        exec(compile(source, "program.py", "exec", dont_inherit=True), space)
    except BaseException:
        if not no_input.was_read:
            raise


def _new(space: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """What the program defined: what it was lent and did not replace is not the program's."""
    return {
        name: value for name, value in [*space.items()] if name not in before or before[name] is not value
    }


class _Suite:
    """Tests, and what they ask of the program: names, and exceptions."""

    def __init__(self, tests: dict[str, Any]) -> None:
        self._tests = tests
        # Annotations of the prompt's head are not evaluated: it may name types that only the response imports.
        flags, context = __future__.annotations.compiler_flag, tests.get("context") or ""
        self._context = compile(context, "context.py", "exec", flags, dont_inherit=True)
        self._code = compile(tests.get("code") or "", "tests.py", "exec", dont_inherit=True)
        named = {*_names_in(self._context), *_names_in(self._code)}
        kinds = [getattr(builtins, name, None) for name in named]
        self.expects = tuple(
            kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseException)
        )
        self._shadows = {*(tests.get("shadows") or ())}
        # What the tests compute with is never the program's, even where it gave the same name to something.
        self._free = named - ({*dir(builtins)} - self._shadows)
        entry = tests.get("entry_point")
        functions = {name for name in (entry, tests.get("function")) if name}
        # A candidate needs no name: tests of an `abs` compute with Python's.
        self._nameless = functions & {*dir(builtins)} if entry else set()
        self._functions = functions - self._nameless
        self.asks = {name for name in (*self._free, *functions, SOLUTION) if _is_plain(name)}

    def run(self, names: dict[str, Any]) -> None:
        """Run the tests with what the program defined of `asks`; they have passed where this returns."""
        if self._tests.get("calls") is not None:
            return _call_all(self._tests["calls"], _function(self._tests["function"], names))
        module = types.ModuleType("tests")
        sys.modules["tests"] = module
        space = module.__dict__
        if len(self._shadows & names.keys()) > 1:
            raise ProgramError("", "several names of Python's own")
        space |= {name: value for name, value in names.items() if name in self._free}
        space |= {name: __import__(name) for name in MODULES if name in names}
        space["__builtins__"] = builtins
        exec(self._context, space)
        for name in self._nameless:
            space.pop(name, None)
        for name in self._functions:  # of which the context has the head alone
            space[name] = _function(name, names)
        exec(self._code, space)
        if entry := self._tests.get("entry_point"):
            space["check"](_function(entry, names))
        return None


def _names_in(code: types.CodeType) -> Iterator[str]:
    """The names that code looks up, in itself and in the functions and classes within."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names_in(constant)


def _is_plain(name: str) -> bool:
    return name.isidentifier() and not name.startswith("__")


def _loaded(peer: Peer, asks: set[str]) -> dict[str, Any]:
    """What the program defined, of what is asked for."""
    loaded = peer.wait(DEFINED, RAISED)
    if "raised" in loaded:
        raise peer.exception(loaded)
    with peer.strictly():
        remotes = {name: peer.remote(loaded["names"][name]) for name in sorted(asks & loaded["names"].keys())}
    return {name: peer.ask("value", remote) for name, remote in remotes.items()}


def _function(name: str, names: dict[str, Any]) -> Remote:
    found = names.get(name)
    if SOLUTION in names and name not in names:
        found = getattr(names[SOLUTION](), name)
    if type(found) is not Remote:
        raise ProgramError("", f"no {name}")
    return found


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
    if type(value) is dict and all(key is None or type(key) in (str, int, float, bool) for key in value):
        as_json = {str(key): _as_json(item) for key, item in value.items()}
        return as_json if len(as_json) == len(value) else value
    return value


def _reason(error: BaseException) -> str:
    if isinstance(error, AssertionError):
        return FAILED
    if isinstance(error, OutOfTime):
        return "the tests took too much time"
    if isinstance(error, SystemExit | KeyboardInterrupt):
        return "the tests ended early"
    if isinstance(error, ProgramError):
        return error.kind
    return type(error).__name__
