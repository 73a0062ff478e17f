"""Tests of a program, run in a process that the program cannot reach; it is asked for calls over a pipe."""

import builtins
import json
import sys
import types
from typing import Any

from .peer import Gone, Peer, ProgramError, Remote

MODULES = ("bisect", "cmath", "collections", "copy", "datetime", "decimal", "fractions", "functools", "heapq",
           "itertools", "json", "math", "operator", "random", "re", "statistics", "string", "typing")  # fmt: skip


def verdict(peer: Peer, tests: dict[str, Any]) -> dict[str, Any]:
    """{"passed", "reason", "ended"} of the program at the other end; it passes where all tests ran to their end.

    `tests` holds `context`, code that stands before the tests and is not the program's; `code`; `entry_point`, what
    `check(candidate)` is called with; or `calls` of `function`, with the values of which each must return one.
    """
    try:
        loaded = peer.wait()
        if "raised" in loaded:
            return _failed(_name(loaded["raised"]))
        names = {str(name): Remote(peer, int(number)) for name, number in loaded["functions"].items()}
        names |= {str(name): peer._in(value) for name, value in loaded["values"].items()}
        _run(tests, names)
    except BaseException as error:  # SystemExit too: tests that end early have not passed
        return _failed(_reason(error)) | {"ended": isinstance(error, Gone)}
    return {"passed": True, "reason": ""}


def _run(tests: dict[str, Any], names: dict[str, Any]) -> None:
    if tests.get("calls") is not None:
        return _call_all(tests["calls"], _function(tests["function"], names))
    module = types.ModuleType("tests")
    sys.modules["tests"] = module
    space = module.__dict__
    # What the tests compute with is never the program's, even where it gave the same name to something.
    space |= {name: value for name, value in names.items() if not hasattr(builtins, name)}
    space |= {name: __import__(name) for name in MODULES if name in names}
    exec(compile(tests.get("context") or "", "context.py", "exec"), space)
    entry = tests.get("entry_point")
    if entry:
        space[entry] = _function(entry, names)
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
        if _as_json(found) not in one["expected"]:
            raise AssertionError


def _as_json(value: Any) -> Any:
    """With lists for tuples, within lists and dicts too: JSON, in which the answer is written, has no tuples."""
    if isinstance(value, list | tuple):
        return [_as_json(item) for item in value]
    if type(value) is dict:
        return {str(key): _as_json(item) for key, item in value.items()}
    return value


def _failed(reason: str) -> dict[str, Any]:
    return {"passed": False, "reason": reason}


def _reason(error: BaseException) -> str:
    if isinstance(error, AssertionError):
        return "a test failed"
    if isinstance(error, Gone):
        return "the program ended"
    if isinstance(error, SystemExit | KeyboardInterrupt):
        return "the tests ended early"
    if isinstance(error, ProgramError):
        return str(error)[:100]
    return type(error).__name__


def _name(kinds: list[Any]) -> str:
    return str(kinds[0])[:100] if kinds else "error"


def serve_program(peer: Peer, space: dict[str, Any], error: BaseException | None) -> None:
    """In the program's process: say what it defined, then serve the tests until they end."""
    if error is not None:
        peer._send({"raised": [kind.__name__ for kind in type(error).__mro__], "text": ""})
        return
    functions, values = {}, {}
    for name, value in list(space.items()):
        if name.startswith("__"):
            continue
        if isinstance(value, types.ModuleType):
            functions[name] = peer.export(None)  # its name is enough: the tests take their own
        elif callable(value):
            functions[name] = peer.export(value)
        else:
            values[name] = peer._out(value)
    json.dumps(values)
    peer._send({"functions": functions, "values": values})
    peer.serve()
