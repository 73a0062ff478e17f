"""Untrusted code as Python parses it: in bounded time, and without its warnings."""

import ast
import contextlib
import threading
import warnings
from collections.abc import Iterator
from typing import Any

MAX_CODE = 2**16  # characters that are parsed; longer code counts as unreadable
MAX_PROSE = 2**14  # characters of text that are searched for code without a fence
MAX_CUTS = 12  # of lines, each of which takes a parse
_filters = threading.Lock()


def compiles(code: str) -> bool:
    """Whether the code is a Python program."""
    return error_line(code) is None


def error_line(code: str) -> int | None:
    """The line with a syntax error, from 1; None if there is none."""
    if len(code) > MAX_CODE:
        return 1
    try:
        _compiled(code)
    except SyntaxError as error:
        return error.lineno or 1
    except (ValueError, MemoryError, RecursionError, OverflowError):
        return 1  # null characters, lone surrogates, or nested too deep
    return None


def statements_of(code: str) -> list[ast.stmt] | None:
    """The statements of the code; None if it cannot be parsed."""
    return parsed(code).body if compiles(code) else None


def as_far_as_code(text: str) -> str:
    """The lines before the first that is not Python, so that prose after a program is left out.

    Each attempt cuts more, so that few suffice. If the error is not in the last lines, more than needed may be cut.
    """
    lines = text[:MAX_PROSE].splitlines(keepends=True)
    for attempt in range(MAX_CUTS):
        line = error_line("".join(lines))
        if line is None:
            return "".join(lines)
        most = len(lines) - 4 ** max(0, attempt - 3)
        del lines[max(0, min(line - 1, most)) :]
    return ""


def parsed(code: str) -> ast.Module:
    """The syntax tree of the code, without Python's warnings.

    Raises:
        SyntaxError, ValueError, MemoryError, RecursionError: it has none, or is nested too deep.
    """
    return _compiled(code, ast.PyCF_ONLY_AST)


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    r"""Without warnings on code, such as on '\d'; one thread at a time, as the filters are shared."""
    with _filters, warnings.catch_warnings(action="ignore"):
        yield


def _compiled(code: str, flags: int = 0) -> Any:
    with quietly():
        return compile(code, "program.py", "exec", flags, dont_inherit=True)
