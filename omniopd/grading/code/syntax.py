"""Code that nobody has read, as Python reads it: in bounded time, and without its warnings."""

import ast
import contextlib
import threading
import warnings
from collections.abc import Iterator
from typing import Any

MAX_CODE = 2**16  # characters that Python is asked to read; longer code is taken for unreadable
MAX_PROSE = 2**14  # characters of text in which code without a fence is looked for
MAX_CUTS = 12  # of lines, each of which takes a reading
_filters = threading.Lock()


def compiles(code: str) -> bool:
    """Whether Python takes the code for a program."""
    return error_line(code) is None


def error_line(code: str) -> int | None:
    """The line that Python cannot read, from 1; None where it can read all."""
    if len(code) > MAX_CODE:
        return 1
    try:
        _compiled(code)
    except SyntaxError as error:
        return error.lineno or 1
    except (ValueError, MemoryError, RecursionError, OverflowError):
        return 1  # null characters, half characters, or what is nested too deep
    return None


def statements_of(code: str) -> list[ast.stmt] | None:
    """The statements of the code; None where it cannot be read."""
    return parsed(code).body if compiles(code) else None


def as_far_as_code(text: str) -> str:
    """The lines before the first that Python cannot read; so prose that follows a program is left out.

    What is cut grows with each attempt, so that few suffice: of text that cannot be read for a reason that is not in
    its last lines, more may be cut than is needed.
    """
    lines = text[:MAX_PROSE].splitlines(keepends=True)
    for attempt in range(MAX_CUTS):
        line = error_line("".join(lines))
        if line is None:
            return "".join(lines)
        most = len(lines) - 4 ** max(0, attempt - 3)
        del lines[max(0, min(max(line, 1) - 1, most)) :]
    return ""


def parsed(code: str) -> ast.Module:
    """The syntax of the code, without the warnings that Python has for it.

    Raises:
        SyntaxError, ValueError, MemoryError, RecursionError: it has none, or is nested too deep.
    """
    return _compiled(code, ast.PyCF_ONLY_AST)


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    r"""Without Python's warnings of code, such as that of '\d'; one thread at a time: they share the filters."""
    with _filters, warnings.catch_warnings(action="ignore"):
        yield


def _compiled(code: str, flags: int = 0) -> Any:
    with quietly():
        return compile(code, "program.py", "exec", flags, dont_inherit=True)
