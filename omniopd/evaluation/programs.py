"""The program that a response gives: what stands in its fences, or what continues a function's head in the prompt."""

import ast
import contextlib
import re
import textwrap
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_FENCE = re.compile(r"^[ \t]*(```+|~~~+)[ \t]*([\w+#.-]*)[^\n]*\n(.*?)(?:^[ \t]*\1[ \t]*$|\Z)", re.M | re.S)
_END_OF_THOUGHT = re.compile(r"</think(?:ing)?>")
_FIRST_LINE = re.compile(r"^(?:import |from \S+ import |(?:async )?def |class |@\w)", re.M)
_DEFINITION = re.compile(r"^(?:async def|def|class) ", re.M)
_PYTHON = ("python", "python3", "py", "py3")
_INDENT = "    "
MAX_PROGRAM = (
    2**16
)  # characters that Python is asked to read in this process: half a second of its time at most
_filters = threading.Lock()


@dataclass(frozen=True)
class Head:
    """The head of a function that a response is to complete, with what stands before it.

    >>> Head(code='def one():\\n    \\"\\"\\"1\\"\\"\\"\\n', name="one").name
    'one'
    """

    code: str
    name: str

    @property
    def as_code(self) -> str:
        """The head as code that can run: a function without a body returns None."""
        return self.code if compiles(self.code) else f"{self.code.rstrip()}\n{_INDENT}pass\n"


def program_of(response: str, prompt: str) -> str | None:
    """The program that the response gives, or None where it gives none. What stands before `</think>` is not looked at.

    Of several fences it is the last that defines the function whose head the prompt holds; else the last in Python that
    defines anything; else the last. Without a fence the response is code as far as it can be read as such: a body where
    the prompt holds a head, else from the first import or definition on. A head stands before what completes it.
    """
    text, head = _END_OF_THOUGHT.split(response)[-1], head_of(prompt)
    if not text.strip():
        return None
    blocks = _blocks(text)
    if blocks:
        return _completed(_chosen(blocks, head), head)
    return _unfenced(text, head)


def head_of(prompt: str) -> Head | None:
    """The head in a prompt: all of it, its last fence or last lines, where these are code that ends with a function."""
    begins = _FIRST_LINE.search(prompt)
    candidates = [prompt, *[code for _, code in reversed(_blocks(prompt))]]
    candidates += [_as_far_as_code(prompt[begins.start() :])] if begins else []
    for code in candidates:
        for whole in (code, f"{code.rstrip()}\n{_INDENT}pass\n"):
            statements = _statements(whole)
            if statements and isinstance(statements[-1], ast.FunctionDef | ast.AsyncFunctionDef):
                return Head(code.rstrip() + "\n", statements[-1].name)
    return None


def compiles(code: str) -> bool:
    """Whether Python takes the code for a program."""
    return _error_line(code) is None


def _blocks(text: str) -> list[tuple[str, str]]:
    """(language, code) of each fence; the last may have no end, where the response was cut."""
    found = [(match[2].lower(), match[3]) for match in _FENCE.finditer(text)]
    return [
        (language, textwrap.dedent(code) if _first_is_definition(code) else code) for language, code in found
    ]


def _first_is_definition(code: str) -> bool:
    """Whether a fence that is indented as a whole, as in a list, holds more than a body."""
    return bool(_FIRST_LINE.match(code.lstrip()))


def _chosen(blocks: list[tuple[str, str]], head: Head | None) -> str:
    python = [code for language, code in blocks if language in _PYTHON]
    codes = python or [code for language, code in blocks if not language] or [code for _, code in blocks]
    if head:
        completing = [code for code in codes if _defines(code, head.name)]
        # A fence without definitions that needs the head's indent is a body; one that does not is an example of use.
        completing = completing or [code for code in codes if code.startswith((" ", "\t"))]
        if completing:
            return completing[-1]
    return ([code for code in codes if _DEFINITION.search(code)] or codes)[-1]


def _defines(code: str, name: str) -> bool:
    return re.search(rf"^(?:async def|def|class) +{re.escape(name)}\b", code, re.M) is not None


def _completed(code: str, head: Head | None) -> str:
    """The code with the head before it, as far as it is needed; as it is where neither way is a program."""
    if head is None:
        return code
    if _defines(code, head.name):
        return _first_that_compiles([f"{head.as_code}\n\n{code}", code]) or code
    return _first_that_compiles(_bodies(code, head)) or code


def _bodies(code: str, head: Head) -> list[str]:
    """The ways in which the code can be the head's body; its first indent may be lost, or all."""
    body = code.strip("\n")
    bodies = [body, _INDENT + body.lstrip(), textwrap.indent(body, _INDENT)]
    return [f"{head.code}{one}\n" for one in bodies if one.startswith((" ", "\t"))]


def _unfenced(text: str, head: Head | None) -> str | None:
    begins = _FIRST_LINE.search(text)
    if head and not _defines(text, head.name):
        ways = _bodies(text, head)
        cut = max((_as_far_as_code(way) for way in ways), key=len)
        return _first_that_compiles(ways) or (cut if len(cut) > len(head.code) else None)
    if head is None and compiles(text) and _does_something(text):
        return text
    code = _as_far_as_code(text[begins.start() :]) if begins else ""
    return _completed(code, head) if code.strip() else None


def _does_something(code: str) -> bool:
    """Whether it is more than words that happen to be names or numbers."""
    idle = ast.Name | ast.Constant | ast.Tuple | ast.Attribute
    return any(
        not (isinstance(one, ast.Expr) and isinstance(one.value, idle)) for one in _statements(code) or []
    )


def _first_that_compiles(codes: list[str]) -> str | None:
    return next((code for code in codes if compiles(code)), None)


def _as_far_as_code(text: str) -> str:
    """The lines before the first that Python cannot read; so prose that follows a program is left out."""
    lines = text.splitlines(keepends=True)
    while lines:
        line = _error_line("".join(lines))
        if line is None:
            break
        del lines[min(max(line, 1), len(lines)) - 1 :]
    return "".join(lines)


def _error_line(code: str) -> int | None:
    """The line that Python cannot read, from 1; None where it can read all."""
    try:
        _compiled(code)
    except SyntaxError as error:
        return error.lineno or 1
    except (ValueError, MemoryError, RecursionError, OverflowError):
        return 1  # null characters, half characters, or what is nested too deep
    return None


def _statements(code: str) -> list[ast.stmt] | None:
    return parsed(code).body if compiles(code) else None


def parsed(code: str) -> ast.Module:
    """The syntax of the code, without the warnings that Python has for it.

    Raises:
        SyntaxError, ValueError, MemoryError, RecursionError: it has none, or is nested too deep.
    """
    return _compiled(code, ast.PyCF_ONLY_AST)


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Without Python's warnings of a program, such as that of '\\\\d'; one thread at a time: they share the filters."""
    with _filters, warnings.catch_warnings(action="ignore"):
        yield


def _compiled(code: str, flags: int = 0) -> Any:
    with quietly():
        return compile(code, "program.py", "exec", flags, dont_inherit=True)
