"""HumanEval's own solutions are right, and wrong with one line broken."""

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest

from omniopd.grading.code.grader import CodeCase, grade_programs

Row = dict[str, Any]


@pytest.fixture(scope="module")
def rows(shared_data: Path) -> list[Row]:
    with gzip.open(shared_data / "humaneval" / "HumanEval.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def case_of(row: Row, response: str) -> CodeCase:
    tests = json.dumps({"test": row["test"], "entry_point": row["entry_point"]})
    return CodeCase(response, row["prompt"], tests)


def without_its_last_line(solution: str) -> str:
    return solution.rstrip().rpartition("\n")[0] or "    pass"


def with_a_spoiled_return(solution: str) -> str:
    """The last value that is returned becomes another, and true where it was false."""
    before, _, value = solution.rstrip().rpartition("return ")
    return f"{before}return (lambda value: [] if value else ['spoiled'])({value}\n    )"


@pytest.mark.slow
def test_all_solutions_pass(rows: list[Row]):
    grades = grade_programs([case_of(row, row["canonical_solution"]) for row in rows])

    assert len(grades) == 164
    assert {
        row["task_id"]: grade.reason for row, grade in zip(rows, grades, strict=True) if not grade.is_right
    } == {}


@pytest.mark.slow
@pytest.mark.parametrize(("broken", "first"), [(without_its_last_line, 0), (with_a_spoiled_return, 1)])
def test_no_solution_passes_with_a_line_broken(rows: list[Row], broken: Any, first: int):
    """Half of them each way, for time; all fail both ways."""
    rows = rows[first::2]
    grades = grade_programs([case_of(row, broken(row["canonical_solution"])) for row in rows])

    assert [row["task_id"] for row, grade in zip(rows, grades, strict=True) if grade.is_right] == []
    assert all(grade.reason for grade in grades)


@pytest.mark.parametrize("form", ["a fence", "prose and a fence", "no indent", "whole"])
def test_a_solution_passes_in_whatever_form_it_is_given(rows: list[Row], form: str):
    cases = [case_of(row, written(row, form)) for row in rows[::20]]

    assert [grade.reason for grade in grade_programs(cases)] == [""] * len(cases)


def written(row: Row, form: str) -> str:
    whole = row["prompt"] + row["canonical_solution"]
    if form == "no indent":
        return "```python\n" + re.sub(r"^    ", "", row["canonical_solution"], flags=re.M) + "```"
    if form == "a fence":
        return f"```python\n{whole}\n```"
    if form == "whole":
        return whole + "\nThis function does what was asked.\n"
    thought, example = "<think>```python\nnonsense(\n```</think>", "For example:\n```python\nprint(1)\n```"
    return f"{thought}Here:\n\n```python\n{whole}```\n\n{example}"


def test_tests_may_stand_as_code_alone(rows: list[Row]):
    row = rows[0]
    cases = [CodeCase(row["canonical_solution"], row["prompt"], tests)
             for tests in (row["test"], f"{row['test']}\ncheck({row['entry_point']})")]  # fmt: skip

    assert [grade.is_right for grade in grade_programs(cases)] == [True, True]
    spoiled = [CodeCase("    return None\n", case.prompt, case.tests) for case in cases]
    assert [grade.reason for grade in grade_programs(spoiled)] == ["a test failed"] * 2
