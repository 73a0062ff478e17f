"""The forms in which programs and their tests are given, and what each is graded as."""

import base64
import json
import pickle
import time
import zlib
from typing import Any

import pytest

from omniopd.errors import DataError
from omniopd.grading.code.grader import CodeCase, grade_programs, program_of, same_output
from omniopd.grading.code.sandbox import Limits
from omniopd.grading.code.tests_of_programs import suite_of

HEAD = 'from math import pi\n\ndef half(x):\n    return x / 2\n\ndef area(r: float) -> float:\n    """Of a circle."""\n'
WHOLE = "def area(r):\n    return pi * r * r\n"
ECHO = "```python\nprint(input()[::-1])\n```"


def grade(response: str, tests: Any, prompt: str = "Write it.", limits: Limits | None = None):
    text = tests if isinstance(tests, str) else json.dumps(tests)
    return grade_programs([CodeCase(response, prompt, text)], limits=limits or Limits(cpu_s=3, wall_s=9))[0]


def ran(program: str | None, name: str = "area") -> Any:
    assert program is not None
    space: dict[str, Any] = {}
    exec(program, space)
    return space[name]


@pytest.mark.parametrize("response", [
    "    return pi * r * r\n",
    "    return pi * r * r\n\n\nThat is the area of a circle.",
    "return pi * r * r",
    "square = r * r\n    return pi * square",
    f"```python\n{WHOLE}```",
    f"```\n{WHOLE}```",
    f"Sure! Here it is:\n\n```python\nfrom math import pi\n{WHOLE}```\n\nUse it so:\n```python\nprint(area(2))\n```",
    f"First the helper:\n```python\ndef other(): pass\n```\nthen\n```python\n{WHOLE}```\nIt prints\n```\n12.5\n```",
    f"```bash\npip install math\n```\n```Python\n{WHOLE}```",
    f"~~~py\n{WHOLE}~~~",
    f"```python\n{WHOLE}",
    f"<think>\n```python\ndef area(r): return 0\n```\n</think>\n```python\n{WHOLE}```",
    "1. The code:\n   ```python\n   def area(r):\n       return pi * r * r\n   ```\n",
    "```python\n    return pi * r * r\n```",
    "```python\nreturn pi * r * r\n```",
    f"Here is the function.\n\n{WHOLE}\nIt multiplies.",
    f"```python\nfrom __future__ import annotations\nfrom math import pi\n{WHOLE}```",
    f"{HEAD}    return pi * r * r\n",
])  # fmt: skip
@pytest.mark.parametrize(
    "prompt", [HEAD, f"Complete this:\n```python\n{HEAD}```\nAnswer in a fence.", f"Complete.\n\n{HEAD}"]
)
def test_the_right_program_is_taken_from_a_response(response: str, prompt: str):
    assert ran(program_of(response, prompt))(2) == pytest.approx(12.566, abs=1e-3)


def test_what_the_head_imports_and_defines_is_there():
    program = program_of("    return half(2 * pi) * r * r\n", HEAD)

    assert ran(program)(1) == pytest.approx(3.1416, abs=1e-3)


@pytest.mark.parametrize(
    "response",
    [
        "",
        "  \n",
        "I cannot do that.",
        "<think>def f(): pass</think>",
        "Hello",
        "no, 5",
        "Let me see.\n<think>\n```python\ndef f(): return 1\n```",
    ],
)
def test_a_response_without_a_program_gives_none(response: str):
    assert program_of(response, "Write a function.") is None
    assert grade(response, "assert f()").reason == "no program"


@pytest.mark.parametrize(("response", "program"), [
    ("print(sum(map(int, input().split())))", "print(sum(map(int, input().split())))"),
    ("Read, then add:\nimport sys\nprint(sum(map(int, sys.stdin)))\nDone, I hope.",
     "import sys\nprint(sum(map(int, sys.stdin)))\n"),
    ("```python\nx = int(input())\nprint(x)\n```\nFor 5 it prints\n```\n5\n```", "x = int(input())\nprint(x)\n"),
    ("```python\ndef broken(:\n```", "def broken(:\n"),
])  # fmt: skip
def test_programs_for_prompts_in_words(response: str, program: str):
    assert program_of(response, "Add the numbers of a line.") == program


def test_hostile_responses_are_read_in_time_and_without_harm():
    for response in ("(" * 100_000, "```python\n" + "-" * 100_000 + "1\n```", "def f():\n" * 3000, "```\n" * 5000,
                     "x = '\\d'\n", "def f(): pass\n\0", "\ud800"):  # fmt: skip
        program_of(response, "Write it.")
        program_of(response, HEAD)


@pytest.mark.parametrize("tests", [
    "assert add(1, 2) == 3",
    ["assert add(1, 2) == 3", "assert add('a', 'b') == 'ab'"],
    {"test_list": ["assert add(one, 2) == 3"], "test_setup_code": "one = 1"},
    {"test_list": ["assert add(1, 2) == 3", "assert math.isclose(add(.1, .2), .3)"], "test_imports": ["import math"]},
    {"test": "def check(candidate):\n    assert candidate(1, 2) == 3\n", "entry_point": "add"},
    {"input_output": [{"input": "1\n2", "output": "3", "testtype": "functional"}], "fn_name": "add"},
    {"input_output": json.dumps({"inputs": [[1, 2]], "outputs": [3], "fn_name": "add"})},
    {"fn_name": "add", "inputs": [["a", "b"], [[1], [2]]], "outputs": [["ab"], [1, 2]]},
    {"public_test_cases": json.dumps([{"input": "[1]\n[2]", "output": "[1, 2]", "testtype": "functional"}]),
     "private_test_cases": [], "metadata": '{"func_name": "add"}'},
])  # fmt: skip
def test_each_form_of_tests_of_a_function(tests: Any):
    right, wrong = "def add(a, b): return a + b", "def add(a, b): return b + b"
    method = "class Solution:\n    def add(self, a, b): return a + b"

    assert grade(right, tests).reason == ""
    assert grade(wrong, tests).reason == "a test failed"
    assert grade("def sub(a, b): return a - b", tests).reason in ("NameError", "no add")
    if "fn_name" in str(tests) or "func_name" in str(tests):
        assert grade(method, tests).is_right


@pytest.mark.parametrize(("value", "in_livecodebench", "in_apps"), [
    ("[[1, n]]", True, True), ("([1, n],)", True, True), ("[(1, n)]", False, True), ("((1, n),)", False, True),
    ("[(1, n), n]", False, False), ("{1, n}", False, False), ("[[1.0, n]]", True, True),
])  # fmt: skip
def test_which_tuples_are_lists_where_json_has_the_answer(value: str, in_livecodebench: bool, in_apps: bool):
    """As the benchmarks' own graders have it: in LiveCodeBench the outermost alone."""
    livecodebench = {
        "input_output": [{"input": "2", "output": "[[1, 2]]", "testtype": "functional"}],
        "fn_name": "f",
    }
    apps = {"inputs": [[2]], "outputs": [[[1, 2]]], "fn_name": "f"}
    program = f"def f(n): return {value}"

    assert grade(program, livecodebench).is_right is in_livecodebench
    assert grade(program, apps).is_right is in_apps


PAIRS = [
    {"input": "abc\n", "output": "cba\n", "testtype": "stdin"},
    {"input": "x", "output": "x", "testtype": "stdin"},
]


@pytest.mark.parametrize("tests", [
    PAIRS,
    {"input_output": PAIRS},
    {"inputs": ["abc\n", "x"], "outputs": ["cba\n", "x\n"]},
    {"public_test_cases": PAIRS[:1], "private_test_cases": base64.b64encode(
        zlib.compress(pickle.dumps(json.dumps(PAIRS[1:])))).decode()},
])  # fmt: skip
def test_each_form_of_pairs_of_input_and_output(tests: Any):
    assert grade(ECHO, tests).is_right
    assert grade("```python\nprint('cba')\n```", tests).reason == "another output"


@pytest.mark.parametrize(("program", "reason"), [
    ("print(input()[::-1]); 1 / 0", "ZeroDivisionError"),
    ("import os; print(input()[::-1], flush=True); os._exit(4)", "exit code 4"),
    ("import os; print(input()[::-1], flush=True); os.abort()", "ended by signal 6"),
    ("while True: pass", "too much time"),
    ("while True: print('x' * 10**5)", "too much output"),
    ("x = [0] * 10**10", "MemoryError"),
    ("import json; json.loads('')", "json.decoder.JSONDecodeError"),
])  # fmt: skip
def test_why_a_program_that_reads_is_wrong(program: str, reason: str):
    limits = Limits(cpu_s=1, wall_s=5)

    assert grade(f"```python\n{program}\n```", PAIRS, limits=limits).reason == reason


@pytest.mark.parametrize(("output", "expected", "same"), [
    ("1 2\n3\n\n", "1 2 \n3", True), ("1.0 2", "1 2.00", True), ("0.30000000000000004", "0.3", False),
    ("1\n2", "1 2", False), ("YES", "Yes", False), ("", "\n", True), ("a 1", "a 1.0", False), ("1", "1\n1", False),
])  # fmt: skip
def test_outputs_are_compared_by_lines_and_numbers(output: str, expected: str, same: bool):
    assert same_output(output, expected) is same


@pytest.mark.parametrize("end", ["x", "e", ".x", "e1234567890"])
def test_long_numbers_are_read_in_one_pass(end: str):
    began = time.process_time()

    assert not same_output("1" * 200_000 + end, "1")
    assert time.process_time() - began < 1


def test_tests_of_a_candidate_named_like_a_builtin_compute_with_the_builtin():
    prompt = 'def abs(x):\n    """The absolute value of x."""\n'
    tests = {
        "test": "def check(candidate):\n    assert abs(candidate(-3) - 3) < 1e-6\n",
        "entry_point": "abs",
    }

    assert grade("    return -x if x < 0 else x\n", tests, prompt).is_right
    assert not grade("    return 0\n", tests, prompt).is_right


@pytest.mark.parametrize("response", [
    "    return nums[0]\n", "```python\nfrom typing import List\ndef first(nums: List[int]):\n    return nums[0]\n```"
])  # fmt: skip
def test_types_that_the_prompt_names_without_an_import_are_no_fault_of_the_program(response: str):
    prompt = 'def first(nums: List[int]) -> Optional[int]:\n    """The first number."""\n'

    assert grade(response, "assert first([3, 1]) == 3", prompt).reason == ""


def test_annotations_mean_what_they_say_in_the_program():
    """As in a file of its own, and not as in the module that runs it."""
    program = """```python
def f(x: int): pass
print(f.__annotations__['x'] is int)
def g(): return f.__annotations__['x'](3.5)
```"""

    assert grade(program, {"inputs": [""], "outputs": ["True"]}).reason == ""
    assert grade(program, "assert g() == 3").reason == ""


class Bad:
    def __reduce__(self):
        return print, ("unpickled",)


def packed(data: bytes) -> str:
    return base64.b64encode(zlib.compress(data)).decode()


@pytest.mark.parametrize(("tests", "message"), [
    ("", "tests are empty"),
    ("assert (", "neither JSON nor Python"),
    ("def check(candidate): pass", "nothing says what the candidate is"),
    ({"foo": 1}, "no form that is known: they hold 'foo'"),
    ([], "no case"),
    ({"test_list": []}, "not a list of assertions"),
    ({"inputs": ["1"], "outputs": []}, "1 inputs and 0 outputs"),
    ({"input_output": [{"input": "1", "output": "1", "testtype": "functional"}]}, 'add "fn_name"'),
    ({"input_output": [{"input": 1, "output": "1"}]}, "input is 1, not a text"),
    ({"private_test_cases": packed(pickle.dumps(Bad()))}, "only a text is taken"),
    ({"private_test_cases": packed(pickle.dumps(["a", "b"]))}, "only a text is taken"),
    ({"private_test_cases": "%%%"}, "neither JSON nor packed JSON"),
    ({"private_test_cases": packed(b"V1\n")}, "neither JSON nor packed JSON"),
    ({"private_test_cases": packed(pickle.dumps("x" * 2**29))}, "more than 268,435,456 bytes"),
    ("5", "no form that is known"),
    ("[" * 100_000, "no form that is known"),
    ({"inputs": 5, "outputs": 5}, "not both lists"),
    ({"inputs": {"a": 1}, "outputs": {"a": 1}}, "not both lists"),
    ({"test_list": ["f()"], "test_setup_code": 5}, "is 5, not a text"),
    ({"test": "def check(candidate): pass", "entry_point": ["a"]}, "entry_point is .*'a'"),
    ({"test": "def check(candidate): pass", "entry_point": "a b"}, "entry_point is 'a b'"),
    ({"inputs": [[1]], "outputs": [1], "fn_name": 5}, "fn_name is 5"),
    ({"inputs": [1], "outputs": [1], "fn_name": "f"}, "1 is no list of arguments"),
    ({"input_output": "{"}, "no form that is known"),
    ({"input_output": "[" * 100_000}, "no form that is known"),
    ({"input_output": [{"input": "1", "output": "1"}], "metadata": "[]"}, "no form that is known"),
    ({"input_output": [{"input": "[" * 100_000, "output": "1"}], "fn_name": "f"}, "is no JSON"),
    ({"public_test_cases": "{}"}, "no form that is known"),
    ({"private_test_cases": packed(pickle.dumps("[" * 100_000))}, "no form that is known"),
    ({"input_output": [{"input": "{", "output": "1", "testtype": "functional"}], "fn_name": "f"}, "is no JSON"),
])  # fmt: skip
def test_tests_that_cannot_be_read_are_refused(tests: Any, message: str, capsys: pytest.CaptureFixture[str]):
    text = tests if isinstance(tests, str) else json.dumps(tests)

    with pytest.raises(DataError, match=message):
        suite_of(text, "Write it.")
    assert "unpickled" not in capsys.readouterr().out


def test_a_case_that_cannot_be_read_is_named_by_its_index_before_any_program_runs():
    good = CodeCase("def f(): pass", "Write it.", "f()")

    with pytest.raises(DataError, match="case 1: tests are empty"):
        grade_programs([good, CodeCase("def f(): pass", "Write it.", " ")])


def test_code_may_call_the_function_whose_head_is_in_the_prompt():
    tests = "assert round(area(1), 2) == 3.14\nassert half(2 * area(1)) == area(1)"

    assert grade("    return pi * r * r\n", tests, HEAD).reason == ""
    assert grade("    return pi * r\n" * 2, "assert area(2) > 12", HEAD).reason == "a test failed"


def test_a_function_may_have_the_name_of_a_builtin():
    """MBPP has such; but where tests name the program's function, they compute with Python's."""
    right, tests = "def sum(a, b): return a + b", ["assert sum(1, 2) == 3"]
    caught = (
        "try:\n    assert sum(1, 2) == 3\nexcept TypeError as error:\n    raise AssertionError(str(error))"
    )
    in_a_function = (
        "def has_three(sum_of=None):\n    for total in [sum(1, 2)]:\n        assert total == 3\nhas_three()"
    )
    for more in (caught, in_a_function):
        assert grade(right, [more]).is_right
        assert not grade("def f(): pass", [more]).is_right
    cheat = "def sum(a): return 3\ndef f(): return None"

    assert grade(right, tests).reason == ""
    assert grade(cheat, tests).reason == "TypeError"
    assert grade(cheat, ["assert sum(f()) == 3"]).reason == "TypeError"


def test_grades_come_in_order_whatever_the_number_of_processes():
    cases = [CodeCase(f"def f(): return {i}", "Write it.", "assert f() % 3 == 0") for i in range(7)]
    grades = grade_programs(cases, num_processes=3)

    assert [one.is_right for one in grades] == [True, False, False, True, False, False, True]
    assert [one.answer for one in grades] == [case.response for case in cases]
    assert grades == grade_programs(cases, num_processes=1)
    assert grade_programs([]) == []


def test_a_helper_of_the_prompt_is_not_the_programs_to_change():
    """The tests compute with the prompt's own function, whatever the response put in its place."""
    prompt = 'def double(x):\n    return 2 * x\n\ndef root(y):\n    """x such that double(x) = y."""\n'
    tests = {"test": "def check(candidate):\n    assert double(candidate(4)) == 4\n", "entry_point": "root"}
    cheat = "```python\ndef double(x): return 4\ndef root(y): return None\n```"

    assert grade("    return y / 2\n", tests, prompt).is_right
    assert grade(cheat, tests, prompt).reason == "TypeError"


HOSTILE = {
    "decorators": "@a\n", "fences": "```\n", "fences of Python": "```python\n", "longer fences": "````python\n`````\n",
    "full fences": "```python\ndef f(): return g\n```\n", "inline fences": "```python def f(): return 1```\n",
    "code and prose": "def f():\n    return 1\nthis is prose\n", "half decorators": "def f():\n  @a\n",
    "tries": "try:\n x\n", "brackets": "(", "backticks": "`", "spaces": " ", "texts": "'''\n", "marks": "[DONE] ",
    "thoughts": "</think>", "imports": "from \n", "CRLF": "x=1\r\n", "definitions": "def f(): return g()\n",
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "prompt"),
    [*((kind, "Write it.") for kind in HOSTILE), ("decorators", HEAD), ("definitions", HEAD)],
)
def test_the_time_to_find_a_program_grows_no_faster_than_its_text(kind: str, prompt: str):
    """A megabyte takes no more than four times a quarter of it, with room for a busy machine."""

    def seconds(length: int) -> float:
        text, start = HOSTILE[kind] * (length // len(HOSTILE[kind])), time.process_time()
        program_of(text, prompt)
        return time.process_time() - start

    assert seconds(1_000_000) < 8 * seconds(250_000) + 1
