"""Tests of a program, in a process that the program cannot reach; they call it over a pipe."""

from __future__ import annotations
import __future__

import builtins
import io
import json
import os
import signal
import sys
import types

from .annotations import Any, Iterator, NoReturn
from .peer import DEFINED, ENDED, FAILED, RAISED, Peer, ProgramError
from .remote import Remote

MODULES = ("bisect", "cmath", "collections", "copy", "datetime", "decimal", "fractions", "functools", "heapq",
           "itertools", "json", "math", "operator", "random", "re", "statistics", "string", "typing")  # fmt: skip
SOLUTION = "Solution"  # the class whose method a function may be


class OutOfTime(BaseException):
    """The tests have used up their time. Not an `Exception`, so `except Exception` does not catch it."""


def report(tests: str, reads: int, writes: int) -> tuple[str, bool]:
    """The verdict on the program at the other end of the pipes, which passes if all tests run to their end.

    `tests` is a JSON object: `context`, code before the tests that is not the program's; `code`; `entry_point`, what
    `check(candidate)` of the code is called with; or `calls` of `function`, each with the values that it may return.

    Returns:
        The verdict as JSON, {"passed", "reason"}, and whether the tests failed because the program ended.
    """
    signal.signal(signal.SIGXCPU, _out_of_time)
    passed = has_ended = False
    fault = ""
    try:
        suite = _Suite(json.loads(tests))
        peer = Peer(os.fdopen(reads, "rb"), os.fdopen(writes, "wb"), serves_all=False, expects=suite.expects)
        try:
            suite.run(_loaded(peer, suite.asks))
        finally:
            fault = peer.fault
    except BaseException as error:  # SystemExit too: tests that end early have not passed
        reason, has_ended = fault or _reason(error), fault == ENDED
    else:
        reason, passed = fault, not fault
    return json.dumps({"passed": passed, "reason": reason}), has_ended


def _out_of_time(*_: object) -> NoReturn:
    raise OutOfTime


def serve(source: str, space: dict[str, Any], reads: int, writes: int) -> None:
    """In the program's process: run it, report what it defined, and serve the tests until they end.

    If it ends because its input does, it is tested with what it had defined by then.
    """
    peer = Peer(os.fdopen(reads, "rb"), os.fdopen(writes, "wb"), serves_all=True)
    before, no_input = dict(space), _NoInput()
    sys.stdin = io.TextIOWrapper(io.BufferedReader(no_input))
    try:
        exec(compile(source, "program.py", "exec", dont_inherit=True), space)
    except BaseException as error:
        if not no_input.was_read:
            return peer.send({"raised": [kind.__name__ for kind in type(error).__mro__], "text": ""})
    names = {  # those that it was lent and did not replace are not the program's
        name: peer.export(value)
        for name, value in [*space.items()]
        if name not in before or before[name] is not value
    }
    peer.send({"names": names})
    return peer.serve()


class _NoInput(io.RawIOBase):
    """Empty standard input that records whether it was read."""

    was_read = False

    def readable(self) -> bool:
        return True

    def readinto(self, _: Any, /) -> int:
        self.was_read = True
        return 0


class _Suite:
    """Tests, and what they use of the program: names and exceptions."""

    def __init__(self, tests: dict[str, Any]) -> None:
        self._tests = tests
        # The head's annotations are not evaluated: they may use types that only the response imports.
        flags, context = __future__.annotations.compiler_flag, tests.get("context") or ""
        self._context = compile(context, "context.py", "exec", flags, dont_inherit=True)
        self._code = compile(tests.get("code") or "", "tests.py", "exec", dont_inherit=True)
        named = {*_names_in(self._context), *_names_in(self._code)}
        kinds = [getattr(builtins, name, None) for name in named]
        self.expects = tuple(
            kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseException)
        )
        self._shadows = {*(tests.get("shadows") or ())}
        # Builtins that the tests compute with are never the program's, even if it defines the same names.
        self._free = named - ({*dir(builtins)} - self._shadows)
        entry = tests.get("entry_point")
        functions = {name for name in (entry, tests.get("function")) if name}
        # A candidate is passed, not looked up: tests of an `abs` compute with Python's.
        self._nameless = functions & {*dir(builtins)} if entry else set()
        self._functions = functions - self._nameless
        names = (*self._free, *functions, SOLUTION)
        self.asks = {name for name in names if name.isidentifier() and not name.startswith("__")}

    def run(self, names: dict[str, Any]) -> None:
        """Run the tests with what the program defined of `asks`; they have passed if this returns."""
        if self._tests.get("calls") is not None:
            function = _function(self._tests["function"], names)
            for one in self._tests["calls"]:
                result = function(*one["arguments"])
                if one["tuples"] == "all":
                    result = _as_json(result)
                elif isinstance(result, tuple):  # "outermost"
                    result = list(result)
                if result not in one["expected"]:
                    raise AssertionError
            return
        module = types.ModuleType("tests")
        sys.modules["tests"] = module
        space = module.__dict__
        if len(self._shadows & names.keys()) > 1:
            raise ProgramError("", "several names of Python's own")
        space |= {name: value for name, value in names.items() if name in self._free}
        space |= {name: __import__(name) for name in MODULES if name in names}
        space["__builtins__"] = builtins
        if "numpy" in self._free:
            from . import arrays  # EvalPlus's tests alone need it

            sys.modules |= arrays.modules()
        exec(self._context, space)
        for name in self._nameless:
            space.pop(name, None)
        for name in self._functions:  # of which the context has the head alone
            space[name] = _function(name, names)
        exec(self._code, space)
        if entry := self._tests.get("entry_point"):
            space["check"](_function(entry, names))


def _names_in(code: types.CodeType) -> Iterator[str]:
    """The names that code looks up, its functions and classes included."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names_in(constant)


def _loaded(peer: Peer, asks: set[str]) -> dict[str, Any]:
    """What the program defined of the names."""
    loaded = peer.wait(DEFINED, RAISED)
    if "raised" in loaded:
        raise peer.exception(loaded)
    with peer.strictly():
        remotes = {name: peer.remote(loaded["names"][name]) for name in sorted(asks & loaded["names"].keys())}
    return {name: peer.ask("value", remote) for name, remote in remotes.items()}


def _function(name: str, names: dict[str, Any]) -> Remote:
    function = names.get(name)
    if SOLUTION in names and name not in names:
        function = getattr(names[SOLUTION](), name)
    if type(function) is not Remote:
        raise ProgramError("", f"no {name}")
    return function


def _as_json(value: Any) -> Any:
    """The value with lists for tuples and texts for keys, as JSON has it."""
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
