"""What stands in `Prompt.tests` → what a program is tested with: code, or pairs of input and output.

The forms are those of HumanEval, MBPP, LiveCodeBench and APPS; docs/grading.md shows one of each.
"""

import ast
import base64
import binascii
import builtins
import json
import pickletools
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from omniopd.errors import DataError
from omniopd.grading.code.names import free_names
from omniopd.grading.code.programs import head_of
from omniopd.grading.code.sandbox import Tests
from omniopd.grading.code.syntax import parsed

MAX_PRIVATE_BYTES = 2**28  # of hidden cases, unpacked
_STRINGS = ("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8")
_AROUND_A_STRING = (*_STRINGS, "PROTO", "FRAME", "MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT", "STOP")


@dataclass(frozen=True)
class Pair:
    """What a program reads from standard input, and what it is to write.

    >>> Pair(stdin="2 3\\n", stdout="5\\n").stdout
    '5\\n'
    """

    stdin: str
    stdout: str


@dataclass(frozen=True)
class Suite:
    """All tests of a program, of which there is at least one.

    >>> Suite(tests=None, pairs=(Pair("1\\n", "1\\n"),)).pairs[0].stdin
    '1\\n'
    """

    tests: Tests | None
    pairs: tuple[Pair, ...]

    @property
    def asked(self) -> frozenset[str]:
        """The names that the tests ask of the program; none where it reads and writes."""
        if self.tests is None:
            return frozenset()
        if self.tests.calls is not None:
            return frozenset(filter(None, (self.tests.function, "Solution")))
        if self.tests.entry_point:
            return frozenset([self.tests.entry_point])
        return frozenset([*free_names(self.tests.code), *self.tests.shadows])

    @property
    def has_prelude(self) -> bool:
        """Whether programs may use what LiveCodeBench imports for them; HumanEval and MBPP import nothing."""
        return bool(self.pairs) or (self.tests is not None and self.tests.calls is not None)


def suite_of(tests: str, prompt: str) -> Suite:
    """The tests of a program that answers the prompt.

    Raises:
        DataError: they have no form that is known, or there is none among them.
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
        found = json.loads(tests)
    except ValueError:
        found = tests
    if isinstance(found, str):
        return _of_code(found, prompt, None)
    if isinstance(found, list) and found and all(isinstance(item, str) for item in found):
        return _of_code("\n".join(found), prompt, None)
    if isinstance(found, list):
        found = {"input_output": found}
    if not isinstance(found, dict):
        raise TypeError(f"they are {found!r:.80}")
    return _of_record(found, prompt)


def _of_record(record: dict[str, Any], prompt: str) -> Suite:
    if "test_list" in record:
        setup = _text(
            record.get("test_setup_code") or record.get("test_imports") or "", "what comes before test_list"
        )
        return _of_code("\n".join([setup, *_nonempty(record["test_list"], "test_list")]), prompt, None)
    if "test" in record:
        return _of_code(
            _text(record["test"], "test"), prompt, _name(record.get("entry_point"), "entry_point")
        )
    return _of_cases(record)


def _of_code(code: str, prompt: str, entry_point: str | None) -> Suite:
    """Code to run after the program; of HumanEval's form, a function `check` of the candidate, which is found here."""
    head = head_of(prompt)
    if not code.strip():
        raise DataError("tests are empty; give code that asserts something, or leave out the prompt")
    if _only_defines_check(code):
        entry_point = entry_point or (head.name if head else None)
        if entry_point is None:
            raise DataError(
                "tests define check(candidate), and nothing says what the candidate is; write them as "
                '{"test": …, "entry_point": …}, or call check in them'
            )
    else:
        entry_point = None
    if head is None:
        return Suite(Tests(code=code, entry_point=entry_point, shadows=_shadows(code)), ())
    return Suite(Tests(code=code, context=head.as_code, entry_point=entry_point, function=head.name), ())


def _shadows(code: str) -> tuple[str, ...]:
    """The names of Python's own that tests call the program by, as MBPP has a `sum` of two numbers.

    Only where they use no name that neither they nor Python define: that would be the program's.
    """
    nodes = list(ast.walk(_parsed(code)))
    named = {node.id for node in nodes if isinstance(node, ast.Name)}
    bound = {node.id for node in nodes if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)}
    bound |= {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    bound |= {node.arg for node in nodes if isinstance(node, ast.arg)}
    bound |= {(node.asname or node.name).partition(".")[0] for node in nodes if isinstance(node, ast.alias)}
    if named - bound - set(dir(builtins)):
        return ()
    called = {
        node.func.id for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    return tuple(sorted(called - bound))


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
    function = _function_name(record)
    if not cases:
        raise DataError("tests hold no case; give some, or leave out the prompt")
    calls = [
        case for case in cases if case.get("testtype", "functional" if function else "stdin") == "functional"
    ]
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
        held = _unpacked(record.get("public_test_cases"), "public_test_cases")
        found = held + _unpacked(record.get("private_test_cases"), "private_test_cases")
    else:
        found = record.get("input_output", record)
        found = json.loads(found) if isinstance(found, str) else found
    if isinstance(found, Mapping) and {"inputs", "outputs"} <= found.keys():
        record |= {"fn_name": record.get("fn_name") or found.get("fn_name")}
        kind = "functional" if record["fn_name"] else "stdin"
        found = [{"input": one, "output": other, "testtype": kind} for one, other in _sides(found)]
    if not isinstance(found, list) or not all(
        isinstance(case, dict) and {"input", "output"} <= case.keys() for case in found
    ):
        raise DataError(
            f"tests have no form that is known: they hold {', '.join(map(repr, list(record)[:6]))}; docs/grading.md "
            "shows those that are"
        )
    return found


def _sides(record: Mapping[str, Any]) -> list[tuple[Any, Any]]:
    inputs, outputs = record["inputs"], record["outputs"]
    if not isinstance(inputs, list) or not isinstance(outputs, list):
        raise DataError("tests: inputs and outputs are not both lists; give each input its output")
    if len(inputs) != len(outputs):
        raise DataError(
            f"tests hold {len(inputs)} inputs and {len(outputs)} outputs; give each input its output"
        )
    return list(zip(inputs, outputs, strict=True))


def _function_name(record: dict[str, Any]) -> str | None:
    metadata = record.get("metadata") or {}
    metadata = json.loads(metadata) if isinstance(metadata, str) else metadata
    return _name(record.get("fn_name") or metadata.get("func_name"), "fn_name")


def _name(value: Any, key: str) -> str | None:
    if value and not (isinstance(value, str) and value.isidentifier()):
        raise DataError(f"tests: {key} is {value!r:.80}, not the name of a function; fix it")
    return value or None


def _call(case: dict[str, Any]) -> dict[str, Any]:
    """A call with the values that it may return. In LiveCodeBench an argument is a line of JSON; in APPS, a value."""
    given, wanted = case["input"], case["output"]
    if isinstance(given, str):
        lines = [line for line in given.split("\n") if line.strip()]
        return {
            "arguments": [_json(line) for line in lines],
            "expected": [_json(wanted)],
            "tuples": "outermost",
        }
    if not isinstance(given, list):
        raise DataError(f"tests: {given!r:.80} is no list of arguments; put brackets around it")
    one_in_a_list = [wanted[0]] if isinstance(wanted, list) and len(wanted) == 1 else []
    return {"arguments": given, "expected": [wanted, *one_in_a_list], "tuples": "all"}


def _json(text: Any) -> Any:
    try:
        return json.loads(text)
    except (ValueError, TypeError, RecursionError):
        raise DataError(
            f"tests: {text!r:.80} is no JSON, and is to be an argument or a result; fix it"
        ) from None


def _unpacked(cases: Any, name: str) -> list[dict[str, Any]]:
    """Cases as a list, as its JSON, or as that packed: base64 of zlib of a pickled text."""
    if cases is None or isinstance(cases, list):
        return cases or []
    try:
        return json.loads(cases)
    except ValueError:
        pass
    try:
        return json.loads(_pickled_text(_inflated(base64.b64decode(cases, validate=True))))
    except (ValueError, binascii.Error, zlib.error) as error:
        raise DataError(
            f"{name} are neither JSON nor packed JSON ({error}); take them as the dataset has them"
        ) from None


def _inflated(packed: bytes) -> bytes:
    unpacker = zlib.decompressobj()
    data = unpacker.decompress(packed, MAX_PRIVATE_BYTES)
    if unpacker.unconsumed_tail or not unpacker.eof:
        raise ValueError(f"they unpack to more than {MAX_PRIVATE_BYTES:,} bytes, or are cut")
    return data


def _pickled_text(data: bytes) -> str:
    """The text that a pickle holds. It is read, not executed: nothing else than a text can come of it."""
    texts = []
    for operation, argument, _ in pickletools.genops(data):
        if operation.name not in _AROUND_A_STRING:
            raise ValueError(f"the pickle holds {operation.name}, and only a text is taken")
        texts += [argument] if operation.name in _STRINGS else []
    if len(texts) != 1:
        raise ValueError(f"the pickle holds {len(texts)} texts")
    return texts[0]


def _text(value: Any, name: str) -> str:
    """A text; of the lines that APPS sometimes lists, their text."""
    if isinstance(value, list) and all(isinstance(line, str) for line in value):
        return "\n".join(value)
    if not isinstance(value, str):
        raise DataError(f"tests: {name} is {value!r:.80}, not a text; put it in quotes")
    return value


def _nonempty(items: Any, name: str) -> list[str]:
    if not isinstance(items, list) or not items or not all(isinstance(item, str) for item in items):
        raise DataError(f"tests: {name} is {items!r:.80}, not a list of assertions; write some")
    return items
