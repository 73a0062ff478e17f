"""The items of benchmarks of programs: their tests, and what of these the prompt shows."""

import json
from pathlib import Path

import pytest
from evalplus_rows import humaneval_row, mbpp_row
from item_rows import CONTEST, FUNCTIONS, TASKS, read


@pytest.mark.parametrize("file", ["items.jsonl.gz", "items.parquet", "items.csv"])
def test_humaneval_has_its_test_and_the_name_of_its_function(tmp_path: Path, file: str):
    prompts = read("humaneval", tmp_path, FUNCTIONS, file).prompts

    assert [prompt.id for prompt in prompts] == ["HumanEval/0", "HumanEval/1", "HumanEval/2"]
    assert json.loads(prompts[1].tests or "") == {
        "test": "def check(f):\n    assert f(1) == 2\n",
        "entry_point": "add_1",
    }
    assert prompts[1].answer is None
    assert prompts[1].prompt.endswith("block:\n```\ndef add_1(x):\n    '''Add 1.'''\n```\n")


@pytest.mark.parametrize("file", ["items.jsonl", "items.parquet"])
def test_mbpp_has_its_tests_as_a_list_and_shows_them(tmp_path: Path, file: str):
    prompts = read("mbpp", tmp_path, TASKS, file).prompts

    assert [prompt.id for prompt in prompts] == ["11", "12", "13"]
    assert json.loads(prompts[0].tests or "") == {
        "test_list": ["assert add(1) == 12", "assert add({}) == 11"],
        "test_setup_code": "",
    }
    # Braces in what is filled in are no places to fill.
    assert "pass these tests:\n\nassert add(1) == 12\nassert add({}) == 11\n\n" in prompts[0].prompt


def test_livecodebench_has_its_tests_unchanged_and_starter_code_if_any(tmp_path: Path):
    plain, started = read("livecodebench", tmp_path, CONTEST).prompts

    assert json.loads(plain.tests or "") == {
        name: CONTEST[0][name]
        for name in ("private_test_cases", "public_test_cases", "starter_code", "metadata")
    }
    assert plain.prompt.startswith(
        "### Question:\nPrint {starter_code} twice.\n\n### Format: Read the inputs from stdin"
    )
    assert "starter code" not in plain.prompt
    assert "```python\nclass Solution:\n    def sum(self, a, b):\n```" in started.prompt
    assert "stdin" not in started.prompt


def test_a_program_without_tests_is_listed(tmp_path: Path):
    rows = [
        *TASKS,
        {**TASKS[0], "task_id": 20, "test_list": []},
        {**TASKS[0], "task_id": 21, "test_list": "assert 1"},
    ]
    items = read("mbpp", tmp_path, rows)
    reasons = {entry["id"]: entry["reason"] for entry in items.as_record()["without_answer"]["listed"]}

    assert reasons == {"20": "no test_list", "21": "test_list is not a list"}
    assert len(items.prompts) == 3


def test_programs_of_ones_own_have_tests_as_the_grader_takes_them(tmp_path: Path):
    tests = {"test_list": ["assert add(1) == 2"], "test_setup_code": ""}
    rows = [
        {"id": "a", "prompt": "Add one.", "tests": tests},
        {"id": "b", "prompt": "Add one!", "tests": json.dumps(tests)},
        {"id": "c", "prompt": "Add one?", "tests": "assert add(1) == 2"},
        {"id": "d", "prompt": "Add one:", "tests": None},
    ]
    items = read("mbpp", tmp_path, rows)
    reasons = {entry["id"]: entry["reason"] for entry in items.as_record()["without_answer"]["listed"]}

    assert [json.loads(prompt.tests or "") for prompt in items.prompts] == [tests, tests]
    assert "pass these tests:\n\nassert add(1) == 2\n" in items.prompts[0].prompt
    assert reasons == {"c": "tests has no 'test_list', which the prompt shows", "d": "no tests"}


@pytest.mark.parametrize("file", ["items.jsonl", "items.parquet"])
def test_humanevalplus_has_its_test_and_the_name_of_its_function(tmp_path: Path, file: str):
    rows = [
        humaneval_row(i, f"def f{i}(x):\n    '''Add {i}.'''\n", f"f{i}", [[1]], [1 + i]) for i in range(3)
    ]
    prompts = read("humanevalplus", tmp_path, rows, file).prompts

    assert [prompt.id for prompt in prompts] == ["HumanEval/0", "HumanEval/1", "HumanEval/2"]
    assert json.loads(prompts[1].tests or "") == {"test": rows[1]["test"], "entry_point": "f1"}
    assert prompts[1].prompt.endswith("block:\n```\ndef f1(x):\n    '''Add 1.'''\n```\n")


@pytest.mark.parametrize("file", ["items.jsonl", "items.parquet"])
def test_mbppplus_shows_the_tests_of_mbpp_and_keeps_those_of_evalplus(tmp_path: Path, file: str):
    rows = [mbpp_row(i, f"Write a function to add {i}.", "add", [[1], [2]], [1 + i, 2 + i]) for i in (2, 3)]
    prompts = read("mbppplus", tmp_path, rows, file).prompts

    assert [prompt.id for prompt in prompts] == ["2", "3"]
    assert json.loads(prompts[0].tests or "")["test"] == rows[0]["test"]
    assert "pass these tests:\n\nassert add(1) == 3\nassert add(2) == 4\n\n" in prompts[0].prompt
    assert "numpy" not in prompts[0].prompt
