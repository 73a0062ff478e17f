"""The tests of HumanEval+ and MBPP+: they compare with numpy's functions, and programs have no numpy."""

import pytest
from evalplus_rows import humaneval_row, mbpp_row, record_of

from omniopd.grading.code.grader import CodeCase, grade_programs
from omniopd.grading.code.sandbox.isolated.arrays import allclose, assert_allclose

HALVES = "def halves(numbers: list) -> list:\n    '''Half of each number.'''\n"
BY = pytest.mark.parametrize("by", ["allclose", "testing"])


def reason(program: str, *, by: str = "allclose", results: object = ([0.5, 1.0], [])) -> str:
    row = humaneval_row(0, HALVES, "halves", [[[1, 2]], [[]]], list(results), by=by)
    [grade] = grade_programs([CodeCase(program, HALVES, record_of(row, "test", "entry_point"))])
    assert grade.is_right == (not grade.reason)
    return grade.reason


@BY
def test_numbers_that_are_close_are_right_and_others_wrong(by: str):
    assert reason("    return [x / 2 for x in numbers]\n", by=by) == ""
    assert reason("    return [x / 2 + 1e-9 for x in numbers]\n", by=by) == ""
    assert reason("    return [x / 2 + 1e-3 for x in numbers]\n", by=by) == "a test failed"


@BY
@pytest.mark.parametrize(
    "value", ["numbers[:1]", "0.5", "None", "['a', 'b']", "[float('nan')] * 2", "object()"]
)
def test_a_value_of_another_shape_or_type_is_wrong(by: str, value: str):
    assert reason(f"    return {value} if numbers else []\n", by=by)


def test_infinity_is_close_to_itself_alone():
    infinite = ([float("inf")], [])
    text = str(infinite).replace("inf", "float('inf')")
    row = humaneval_row(0, HALVES, "halves", [[[1]], [[]]], "RESULTS")
    tests = record_of(row, "test", "entry_point").replace("RESULTS", text)
    grades = grade_programs(
        [
            CodeCase(f"    return [{value}] if numbers else []\n", HALVES, tests)
            for value in ("1e309", "1e308", "-1e309")
        ]
    )

    assert [grade.is_right for grade in grades] == [True, False, False]


@pytest.mark.parametrize(
    "program",
    [
        "import numpy as np\ndef halves(x): return np.array(x) / 2",
        "def halves(x):\n    import numpy\n    return x",
    ],
    ids=["at the top", "when called"],
)
def test_a_program_has_no_numpy(program: str):
    assert reason(f"```python\n{program}\n```") == "ModuleNotFoundError"


def test_a_program_of_mbpp_is_tested_by_all_of_its_tests_not_by_those_of_the_prompt():
    row = mbpp_row(2, "Write a function to double.", "double", [[1], [2], [3], [-4]], [2, 4, 6, -8])
    tests = record_of(row, "test", "test_list")
    assert "-8" not in "".join(row["test_list"])
    programs = ("def double(x): return 2 * x", "def double(x): return 2 * abs(x)")
    grades = grade_programs([CodeCase(f"```python\n{one}\n```", row["prompt"], tests) for one in programs])

    assert [(grade.is_right, grade.reason) for grade in grades] == [(True, ""), (False, "a test failed")]


def test_a_program_named_like_a_builtin_is_tested():
    row = mbpp_row(126, "Write a function for a sum of divisors.", "sum", [[10, 15], [100, 150]], [6, 93])
    tests = record_of(row, "test", "test_list")
    program = "def sum(a, b):\n    return {10: 6, 100: 93}[a]\n"
    wrong = "def sum(a, b):\n    return 6\n"
    grades = grade_programs([CodeCase(one, row["prompt"], tests) for one in (program, wrong)])

    assert [grade.is_right for grade in grades] == [True, False]


@pytest.mark.parametrize(
    ("a", "b", "is_close"),
    [
        (1.0, 1.0 + 1e-9, True), (1.0, 1.1, False), ([1, (2.0, 3)], [1.0, [2, 3 + 1e-8]], True), ([], [], True),
        (1 + 1e-9j, 1.0, True), (True, 1.0, True), (float("nan"), float("nan"), False), (1.0, float("inf"), False),
    ],
)  # fmt: skip
def test_allclose_is_that_of_numpy(a: object, b: object, is_close: bool):
    import numpy as np

    if not (isinstance(a, list) and a):  # numpy refuses ragged lists
        assert np.allclose(a, b) == is_close  # pyright: ignore[reportArgumentType]
    assert allclose(a, b) == is_close


def test_nan_is_close_to_nan_where_numpys_testing_says_so():
    assert_allclose([float("nan")], [float("nan")])
    with pytest.raises(AssertionError):
        assert_allclose(1.0, 1.001)
