"""The program in a response: the content of its fences, or what completes the function head in the prompt."""

import ast
import functools
import re
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from omniopd.grading.code.fences import FIRST_LINE, PYTHON, between_marks, blocks
from omniopd.grading.code.names import NAMING, bound_names, definitions_for, free_names
from omniopd.grading.code.syntax import MAX_CODE, as_far_as_code, compiles, statements_of
from omniopd.grading.thoughts import without_thought

_DEFINITION = re.compile(r"^(?:async def|def|class) ", re.M)
_READS = re.compile(r"\binput\s*\(|\bstdin\b|\bopen\s*\(\s*0")
_INDENT = "    "


@dataclass(frozen=True)
class Head:
    """The head of a function that a response is to complete, with the code before it.

    >>> Head(code='def one():\\n    \\"\\"\\"1\\"\\"\\"\\n', name="one").name
    'one'
    """

    code: str
    name: str

    @property
    def as_code(self) -> str:
        """The head as code that runs: without a body the function returns None."""
        return self.code if compiles(self.code) else f"{self.code.rstrip()}\n{_INDENT}pass\n"


def program_of(response: str, prompt: str, asked: Iterable[str] | None = None) -> str | None:
    """The program in the response, or None if there is none. Text before `</think>` is skipped.

    `asked` are the names that the tests look up: empty for programs that read and write, None if unknown.

    Of several fences, the program is the last that defines the function whose head is in the prompt, or an asked name;
    for tests of standard input the last that reads; else the last in Python that defines anything; else the last. What
    it uses and does not define is taken from the others. Without a fence, the response is code as far as it can be
    parsed: a body if the prompt has a head, else from the first import or definition on. The head comes before the code
    that completes it.
    """
    text, head = without_thought(_plain(response)), head_of(prompt)
    if not text.strip():
        return None
    text = between_marks(text)
    fenced, before = blocks(text), text.partition("\n```")[0]
    if head and _is_body(before, head):
        return _unfenced(before, head)  # and the fence closes the one that the prompt opened
    if not fenced:
        return _unfenced(text, head)
    names = None if asked is None else set(asked)
    python = [block.code for block in fenced if block.language in PYTHON]
    codes = python or [one.code for one in fenced if not one.language] or [one.code for one in fenced]
    return _with_others(_chosen(codes, head, names), codes, head, names or set())


@functools.lru_cache(256)
def head_of(prompt: str) -> Head | None:
    """The head in a prompt: the whole prompt, its last fence or its last lines, if they are code that ends with one."""
    prompt = _plain(prompt)
    begins = FIRST_LINE.search(prompt)
    candidates = [prompt, *[block.code for block in reversed(blocks(prompt))]]
    candidates += [as_far_as_code(prompt[begins.start() :])] if begins else []
    for code in candidates:
        for whole in (code, f"{code.rstrip()}\n{_INDENT}pass\n"):
            statements = statements_of(whole)
            if statements and isinstance(statements[-1], ast.FunctionDef | ast.AsyncFunctionDef):
                return Head(code.rstrip() + "\n", statements[-1].name)
    return None


def _plain(text: str) -> str:
    """The text with Unix line ends, and without lone surrogates, which no program can contain."""
    return text.replace("\r\n", "\n").encode("utf-8", "replace").decode()


def _chosen(codes: Sequence[str], head: Head | None, asked: set[str] | None) -> str:
    if head:
        completing = [code for code in codes if _defines(code, {head.name})]
        # A fence without definitions that needs the head's indent is a body; any other is an example of use.
        completing = completing or [code for code in codes if code.startswith((" ", "\t"))]
        if completing:
            return completing[-1]
    preferred: list[str] = []
    if asked:
        preferred = [code for code in codes if _defines(code, asked)]
    elif asked is not None and len(codes) > 1:
        active = [code for code in codes if _acts(code)]
        preferred = [code for code in active if _READS.search(code)]
        preferred = preferred or [code for code in active if _DEFINITION.search(code)] or active
    return (preferred or [code for code in codes if _DEFINITION.search(code)] or codes)[-1]


def _acts(code: str) -> bool:
    """Whether the code does more than define names."""
    return any(
        not isinstance(one, NAMING)
        and not (isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant))
        for one in statements_of(code) or []
    )


def _defines(code: str, names: set[str]) -> bool:
    any_of = "|".join(map(re.escape, sorted(names)))
    return re.search(rf"^(?:async def|def|class) +(?:{any_of})\b", code, re.M) is not None


def _with_others(chosen: str, codes: Sequence[str], head: Head | None, asked: set[str]) -> str:
    """The chosen code, completed, after what it needs from the codes before it (the nearest first) and after it."""
    program, place = _completed(chosen, head), len(codes) - 1 - codes[::-1].index(chosen)
    others = [*codes[:place][::-1], *codes[place + 1 :]]
    if not others or not compiles(program):
        return program
    missing = free_names(program) | (set() if head else asked - {"Solution"} - bound_names(program))
    joined = definitions_for(missing, others) + program
    return joined if compiles(joined) else program


def _completed(code: str, head: Head | None) -> str:
    """The code with the head before it as far as needed; unchanged if that gives no program."""
    if head is None:
        return code
    defines = _defines(code, {head.name})
    ways = [f"{head.as_code}\n\n{code}", code] if defines else _bodies(code, head)
    return next(filter(compiles, ways), code)


def _bodies(code: str, head: Head) -> list[str]:
    """The ways in which the code can be the head's body: its first indent, or every indent, may be missing."""
    body = code.strip("\n")[: MAX_CODE + 1]  # one more than is ever parsed
    bodies = [body, _INDENT + body.lstrip(), textwrap.indent(body, _INDENT)]
    return [f"{head.code}{one}\n" for one in bodies if one.startswith((" ", "\t"))]


def _unfenced(text: str, head: Head | None) -> str | None:
    begins = FIRST_LINE.search(text)
    before = text[: begins.start()] if begins else ""
    if head and (_is_body(before, head) or not _defines(text, {head.name})):
        ways = _bodies(text, head)
        program = next(filter(compiles, ways), None) or max(map(as_far_as_code, ways), key=len)
        return _without_what_follows(program, head) if len(program) > len(head.code) else None
    if head is None and compiles(text) and _does_something(text):
        return text
    code = as_far_as_code(text[begins.start() :]) if begins else ""
    return _completed(code, head) if code.strip() else None


def _is_body(text: str, head: Head) -> bool:
    """Whether the text is the missing body, and not words that happen to be code."""
    is_idle = not text.strip() or (compiles(text) and not _does_something(text))
    return not is_idle and any(map(compiles, _bodies(text, head)))


def _without_what_follows(program: str, head: Head) -> str:
    """The program to the end of the head's function, with what that needs of the rest: a base model runs on."""
    statements, lines = statements_of(program) or [], program.split("\n")
    ends = [one.end_lineno or 0 for one in statements if getattr(one, "name", None) == head.name]
    if not ends or ends[0] == (statements[-1].end_lineno or 0):
        return program
    kept, rest = "\n".join(lines[: ends[0]]) + "\n", "\n".join(lines[ends[0] :])
    return kept + definitions_for(free_names(kept), [rest], but=frozenset(bound_names(kept)))


def _does_something(code: str) -> bool:
    """Whether the code is more than words that happen to be names or numbers."""
    idle = ast.Name | ast.Constant | ast.Tuple | ast.Attribute
    return any(
        not (isinstance(one, ast.Expr) and isinstance(one.value, idle)) for one in statements_of(code) or []
    )
