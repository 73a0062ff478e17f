"""A prompt's tests (`Prompt.tests`) as a Suite: code that tests a program, or pairs of input and output.

The forms are those of HumanEval, MBPP, LiveCodeBench and APPS; docs/grading.md shows one of each.
"""

import ast
import base64
import binascii
import builtins
import contextlib
import json
import pickletools
import zlib
from dataclasses import dataclass
from typing import Any

from omniopd.errors import DataError
from omniopd.grading.code.names import free_names, global_names
from omniopd.grading.code.programs import head_of
from omniopd.grading.code.sandbox import Tests
from omniopd.grading.code.syntax import parsed

MAX_PRIVATE_BYTES = 2**28  # of hidden cases, unpacked
_STRINGS = ("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8")
_AROUND_A_STRING = (*_STRINGS, "PROTO", "FRAME", "MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT", "STOP")


@dataclass(frozen=True)
class Pair:
    """Standard input of a program, and the output that it must write.

    >>> Pair(stdin="2 3\\n", stdout="5\\n").stdout
    '5\\n'
    """

    stdin: str
    stdout: str


@dataclass(frozen=True)
class Suite:
    """All tests of a program, at least one.

    >>> Suite(tests=None, pairs=(Pair("1\\n", "1\\n"),)).pairs[0].stdin
    '1\\n'
    """

    tests: Tests | None
    pairs: tuple[Pair, ...] = ()

    @property
    def asked(self) -> frozenset[str]:
        """The names that the tests look up in the program; none if it reads and writes."""
        if self.tests is None:
            return frozenset()
        if self.tests.calls is not None:
            return frozenset(filter(None, (self.tests.function, "Solution")))
        if self.tests.entry_point:
            return frozenset([self.tests.entry_point])
        return frozenset([*free_names(self.tests.code), *self.tests.shadows])

    @property
    def has_prelude(self) -> bool:
        """Whether programs may use LiveCodeBench's imports; HumanEval and MBPP import nothing."""
        return bool(self.pairs) or (self.tests is not None and self.tests.calls is not None)


def suite_of(tests: str, prompt: str) -> Suite:
    """The tests of a program that answers the prompt.

    Raises:
        DataError: their form is unknown, or there are none.
    """
    try:
        return _suite_of(tests, prompt)
    except DataError:
        raise
    except (TypeError, AttributeError, LookupError, ValueError, RecursionError) as error:
        raise DataError(
            f"tests have no form that is known ({type(error).__name__}: {error}); docs/grading.md shows those that are"
        ) from None


def _suite_of(tests: str, prompt: str) -> Suite:
    try:
        record = json.loads(tests)
    except ValueError:
        record = tests
    if isinstance(record, str):
        return _of_code(record, prompt)
    if _are_texts(record):
        return _of_code("\n".join(record), prompt)
    if isinstance(record, list):
        record = {"input_output": record}
    if not isinstance(record, dict):
        raise TypeError(f"they are {record!r:.80}")
    if "test" in record:  # before test_list, which MBPP+ has too, for the prompt
        entry_point = _name(record.get("entry_point"), "entry_point")
        return _of_code(_text(record["test"], "test"), prompt, entry_point)
    if "test_list" in record:
        setup = record.get("test_setup_code") or record.get("test_imports") or ""
        if not _are_texts(assertions := record["test_list"]):
            raise DataError(f"tests: test_list is {assertions!r:.80}, not a list of assertions; write some")
        return _of_code("\n".join([_text(setup, "test_setup_code or test_imports"), *assertions]), prompt)
    return _of_cases(record)


def _of_code(code: str, prompt: str, entry_point: str | None = None) -> Suite:
    """Code that runs after the program; in HumanEval's form a function `check`, whose candidate is determined here."""
    head = head_of(prompt)
    if not code.strip():
        raise DataError("tests are empty; give code that asserts something, or leave out the prompt")
    if not _only_defines_check(code):
        entry_point = None
    elif not (entry_point := entry_point or (head.name if head else None)):
        raise DataError(
            "tests define check(candidate), and nothing says what the candidate is; write them as "
            '{"test": …, "entry_point": …}, or call check in them'
        )
    if head is None:
        return Suite(Tests(code=code, entry_point=entry_point, shadows=_shadows(code)))
    return Suite(Tests(code=code, context=head.as_code, entry_point=entry_point, function=head.name))


def _shadows(code: str) -> tuple[str, ...]:
    """The builtins by whose names tests call the program, as MBPP tests a `sum` of two numbers.

    Empty if they use a name that neither they nor Python define: then that is the program's.
    """
    called = {
        node.func.id
        for node in ast.walk(_parsed(code))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    used = global_names(code)
    return tuple(sorted(called & used)) if used <= set(dir(builtins)) else ()


def _parsed(code: str) -> ast.Module:
    try:
        return parsed(code)
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise DataError(f"tests are neither JSON nor Python ({error}); fix them") from None


def _only_defines_check(code: str) -> bool:
    """Whether the code defines `check` and does not call it."""
    statements = _parsed(code).body
    functions = [one for one in statements if isinstance(one, ast.FunctionDef) and one.name == "check"]
    outside = [node for one in statements if one not in functions for node in ast.walk(one)]
    return bool(functions) and not any(isinstance(node, ast.Name) and node.id == "check" for node in outside)


def _of_cases(record: dict[str, Any]) -> Suite:
    """Pairs of input and output: for standard input, or as calls of a function."""
    cases = _cases_of(record)
    metadata = record.get("metadata") or {}
    metadata = json.loads(metadata) if isinstance(metadata, str) else metadata
    function = _name(record.get("fn_name") or metadata.get("func_name"), "fn_name")
    if not cases:
        raise DataError("tests hold no case; give some, or leave out the prompt")
    usual = "functional" if function else "stdin"
    calls = [case for case in cases if case.get("testtype", usual) == "functional"]
    pairs = tuple(
        Pair(_text(case["input"], "input").replace("\r\n", "\n"), _text(case["output"], "output"))
        for case in cases
        if case not in calls
    )
    if not calls:
        return Suite(None, pairs)
    if not function:
        raise DataError('tests call a function that nothing names; add "fn_name"')
    return Suite(Tests(function=function, calls=tuple(map(_call, calls))), pairs)


def _cases_of(record: dict[str, Any]) -> list[dict[str, Any]]:
    if "public_test_cases" in record or "private_test_cases" in record:
        names = ("public_test_cases", "private_test_cases")
        public, private = (_unpacked(record.get(name), name) for name in names)
        cases: Any = public + private
    else:
        cases = record.get("input_output", record)
        cases = json.loads(cases) if isinstance(cases, str) else cases
    if isinstance(cases, dict) and {"inputs", "outputs"} <= cases.keys():
        record["fn_name"] = record.get("fn_name") or cases.get("fn_name")
        kind = "functional" if record["fn_name"] else "stdin"
        cases = [{"input": one, "output": other, "testtype": kind} for one, other in _sides(cases)]
    if not isinstance(cases, list) or not all(
        isinstance(case, dict) and {"input", "output"} <= case.keys() for case in cases
    ):
        raise DataError(
            f"tests have no form that is known: they hold {', '.join(map(repr, list(record)[:6]))}; docs/grading.md "
            "shows those that are"
        )
    return cases


def _sides(record: dict[str, Any]) -> list[tuple[Any, Any]]:
    inputs, outputs = record["inputs"], record["outputs"]
    if not isinstance(inputs, list) or not isinstance(outputs, list):
        raise DataError("tests: inputs and outputs are not both lists; give each input its output")
    if len(inputs) != len(outputs):
        raise DataError(
            f"tests hold {len(inputs)} inputs and {len(outputs)} outputs; give each input its output"
        )
    return list(zip(inputs, outputs, strict=True))


def _name(value: Any, key: str) -> str | None:
    if value and not (isinstance(value, str) and value.isidentifier()):
        raise DataError(f"tests: {key} is {value!r:.80}, not the name of a function; fix it")
    return value or None


def _call(case: dict[str, Any]) -> dict[str, Any]:
    """A call with the values that it may return. An argument is a line of JSON in LiveCodeBench, a value in APPS."""
    arguments, expected = case["input"], case["output"]
    if isinstance(arguments, str):
        values = [_json(line) for line in arguments.split("\n") if line.strip()]
        return {"arguments": values, "expected": [_json(expected)], "tuples": "outermost"}
    if not isinstance(arguments, list):
        raise DataError(f"tests: {arguments!r:.80} is no list of arguments; put brackets around it")
    one_in_a_list = [expected[0]] if isinstance(expected, list) and len(expected) == 1 else []
    return {"arguments": arguments, "expected": [expected, *one_in_a_list], "tuples": "all"}


def _json(text: Any) -> Any:
    try:
        return json.loads(text)
    except (ValueError, TypeError, RecursionError):
        raise DataError(
            f"tests: {text!r:.80} is no JSON, and is to be an argument or a result; fix it"
        ) from None


def _unpacked(cases: Any, name: str) -> list[dict[str, Any]]:
    """Cases as a list, from a list, its JSON, or packed JSON: base64 of zlib of a pickled text."""
    if cases is None or isinstance(cases, list):
        return cases or []
    with contextlib.suppress(ValueError):
        return json.loads(cases)
    try:
        return json.loads(_pickled_text(base64.b64decode(cases, validate=True)))
    except (ValueError, binascii.Error, zlib.error) as error:
        raise DataError(
            f"{name} are neither JSON nor packed JSON ({error}); take them as the dataset has them"
        ) from None


def _pickled_text(packed: bytes) -> str:
    """The text in a compressed pickle. The pickle is parsed, not executed, so it can yield nothing but a text."""
    unpacker = zlib.decompressobj()
    data = unpacker.decompress(packed, MAX_PRIVATE_BYTES)
    if unpacker.unconsumed_tail or not unpacker.eof:
        raise ValueError(f"they unpack to more than {MAX_PRIVATE_BYTES:,} bytes, or are cut")
    texts = []
    for operation, argument, _ in pickletools.genops(data):
        if operation.name not in _AROUND_A_STRING:
            raise ValueError(f"the pickle holds {operation.name}, and only a text is taken")
        texts += [argument] if operation.name in _STRINGS else []
    if len(texts) != 1:
        raise ValueError(f"the pickle holds {len(texts)} texts")
    return texts[0]


def _text(value: Any, name: str) -> str:
    """A text; APPS sometimes has a list of its lines."""
    if isinstance(value, list) and all(isinstance(line, str) for line in value):
        return "\n".join(value)
    if not isinstance(value, str):
        raise DataError(f"tests: {name} is {value!r:.80}, not a text; put it in quotes")
    return value


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, str) for item in value)
