"""The items of benchmarks: their columns, the form of their prompts, and remarks on rows left out."""

import csv
import gzip
import json
import random
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from benchmark_files import write_capitals
from evalplus_rows import humaneval_row, mbpp_row

from omniopd.config import Benchmarks
from omniopd.config.benchmarks import Measurement, benchmark_named, measurements
from omniopd.config.schema.benchmark import Benchmark
from omniopd.errors import DataError
from omniopd.evaluation.items import Items, read_items

Rows = list[dict[str, Any]]

WORDS: Rows = [
    {"question": f"Ann has {i} pens and buys one. How many?", "answer": f"{i} + 1 = {i + 1}\n#### {i + 1}"}
    for i in range(40)
]
FUNCTIONS: Rows = [
    {
        "task_id": f"HumanEval/{i}", "prompt": f"\ndef add_{i}(x):\n    '''Add {i}.'''\n", "canonical_solution": "…",
        "entry_point": f"add_{i}", "test": f"def check(f):\n    assert f(1) == {i + 1}\n",
    }
    for i in range(3)
]  # fmt: skip
TASKS: Rows = [
    {
        "task_id": i, "text": f"Write a function to add {i}.", "code": "…", "test_setup_code": "",
        "test_list": [f"assert add(1) == {i + 1}", f"assert add({{}}) == {i}"], "challenge_test_list": [],
    }
    for i in range(11, 14)
]  # fmt: skip
CONTEST: Rows = [
    {
        "question_id": "abc", "question_content": "Print {starter_code} twice.", "starter_code": "", "metadata": "{}",
        "public_test_cases": '[{"input": "a", "output": "aa", "testtype": "stdin"}]', "private_test_cases": "eJzz",
    },
    {
        "question_id": "3700", "question_content": "Sum two numbers.", "metadata": '{"func_name": "sum"}',
        "starter_code": "class Solution:\n    def sum(self, a, b):\n        ",
        "public_test_cases": "[]", "private_test_cases": "eJyL",
    },
]  # fmt: skip


def write(path: Path, rows: Rows) -> str:
    """The rows as the end of the name says; returns the name."""
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    match path.name.split(".", 1)[1]:
        case "jsonl":
            path.write_text(lines)
        case "jsonl.gz":
            path.write_bytes(gzip.compress(lines.encode()))
        case "json":
            path.write_text(json.dumps(rows))
        case "parquet":
            pq.write_table(pa.Table.from_pylist(rows), path)
        case "csv":
            with path.open("w", newline="") as file:
                writer = csv.DictWriter(file, rows[0])
                writer.writeheader()
                writer.writerows(rows)
    return path.name


def measurement(name: str, folder: Path, *, file: str | None = None, **settings: Any) -> Measurement:
    files = {} if file is None else {name: file}
    suite = Benchmarks.model_validate({"suite": [name], "files": files, **settings})
    [one] = measurements(suite, folder)
    return one


def read(name: str, folder: Path, rows: Rows, file: str = "items.jsonl", **settings: Any) -> Items:
    file = write(folder / file, rows)
    return read_items(measurement(name, folder, file=file, **settings))


# --- columns and files


@pytest.mark.parametrize(
    "file", ["items.jsonl", "items.jsonl.gz", "items.json", "items.csv", "items.parquet"]
)
def test_a_file_of_any_kind_with_the_columns_of_the_dataset_gives_its_items(tmp_path: Path, file: str):
    items = read("gsm8k", tmp_path, WORDS, file)

    assert [prompt.answer for prompt in items.prompts] == [str(i + 1) for i in range(40)]
    assert items.prompts[7].prompt == (
        "Ann has 7 pens and buys one. How many?\n"
        "Please reason step by step, and put your final answer within \\boxed{}."
    )
    assert len({prompt.id for prompt in items.prompts}) == 40


@pytest.mark.parametrize("file", ["items.jsonl", "items.csv", "items.parquet"])
def test_a_file_with_our_own_columns_gives_its_answers_unchanged(tmp_path: Path, file: str):
    rows = [{"id": f"q{i}", "prompt": row["question"], "answer": str(i + 1)} for i, row in enumerate(WORDS)]
    plain, of_dataset = read("gsm8k", tmp_path, rows, file), read("gsm8k", tmp_path, WORDS)

    assert [prompt.id for prompt in plain.prompts] == [f"q{i}" for i in range(40)]
    assert [(p.prompt, p.answer) for p in plain.prompts] == [(p.prompt, p.answer) for p in of_dataset.prompts]


def test_a_file_without_ids_has_them_made_of_its_texts(tmp_path: Path):
    rows = [{"problem": f"{i}?", "answer": str(i)} for i in range(30)]
    prompts, again = (read("aime25", tmp_path, order).prompts for order in (rows, rows[::-1]))

    assert {prompt.id: prompt.answer for prompt in prompts} == {prompt.id: prompt.answer for prompt in again}
    assert len({prompt.id for prompt in prompts}) == 30


@pytest.mark.parametrize("file", ["items.jsonl", "items.json"])
def test_ids_that_are_null_in_all_rows_are_made_of_the_texts(tmp_path: Path, file: str):
    rows = [{**task, "task_id": None} for task in TASKS]

    ids = {prompt.id for prompt in read("mbpp", tmp_path, rows, file).prompts}

    assert len(ids) == len(TASKS)
    assert None not in ids


def test_a_file_without_the_columns_is_refused_with_those_that_it_has(tmp_path: Path):
    with pytest.raises(DataError) as caught:
        read("gsm8k", tmp_path, [{"question": "1+1?", "solution": "2"}], "items.parquet")

    assert str(caught.value) == (
        f"{tmp_path}/items.parquet: has no column 'answer'; it has 'question', 'solution'; name them 'question', "
        "'answer' as the dataset does, or 'prompt', 'answer'"
    )


def test_a_file_that_is_not_there_is_named_with_the_option(tmp_path: Path):
    with pytest.raises(
        DataError, match=r"gone.jsonl: no such file of items; fix --file gsm8k=PATH, or leave"
    ):
        read_items(measurement("gsm8k", tmp_path, file="gone.jsonl"))


# --- rows left out, and remarks


def test_rows_whose_answer_is_not_found_are_left_out_counted_and_listed(tmp_path: Path):
    rows = [*WORDS, {"question": "Why?", "answer": "nobody knows"}, {"question": "When?", "answer": None}]
    items = read("gsm8k", tmp_path, rows)
    record = items.as_record()["without_answer"]

    assert len(items.prompts) == 40
    assert record["count"] == 2
    assert (
        "answer_pattern finds nothing in answer, which ends with 'nobody knows'"
        in record["listed"][0]["reason"]
    )
    assert record["listed"][1]["reason"] == "no answer"
    assert any(
        "2 rows cannot be measured" in remark and "nobody knows" in remark for remark in items.remarks()
    )


def test_rows_of_a_table_without_a_question_are_listed_too(tmp_path: Path):
    items = read("gsm8k", tmp_path, [*WORDS, {"question": None, "answer": "#### 1"}], "items.parquet")

    assert items.as_record()["unusable"]["count"] == 1
    assert any(
        "cannot be measured and are left out, such as 41: has no field 'question'" in s
        for s in items.remarks()
    )


def test_another_number_of_rows_than_the_benchmarks_is_a_remark(tmp_path: Path):
    assert read("gsm8k", tmp_path, WORDS).remarks() == [
        f"{tmp_path}/items.jsonl: 40 rows, but gsm8k has 1,319 items; scores are not comparable to published ones"
    ]
    contests = [{"id": i, "question": f"{i}?", "answer": i} for i in range(40)]
    assert read("amc23", tmp_path, contests).remarks() == []


def test_a_file_of_which_nothing_can_be_measured_is_refused(tmp_path: Path):
    with pytest.raises(
        DataError, match="none of its 2 rows can be measured, such as '.*': answer_pattern finds nothing"
    ):
        read("gsm8k", tmp_path, [{"question": f"{i}?", "answer": "none"} for i in range(2)])


def test_a_repeated_row_is_one_item_and_an_id_of_two_items_is_refused(tmp_path: Path):
    rows = [{"id": i, "problem": f"{i}?", "answer": str(i)} for i in range(30)]
    items = read("aime25", tmp_path, [*rows, rows[3]])

    assert (len(items.prompts), items.as_record()["repeated"]) == (30, 1)
    assert f"{tmp_path}/items.jsonl: 1 rows repeat another and are left out" in items.remarks()
    with pytest.raises(DataError, match="items.jsonl:31: id '3' is the id of another item too, '3\\?'"):
        read("aime25", tmp_path, [*rows, {"id": 3, "problem": "Else?", "answer": "1"}])


# --- fewer items


def test_fewer_items_are_a_part_of_more_whatever_the_order_of_rows(tmp_path: Path):
    def ids(num_items: int, rows: Rows) -> list[str]:
        return [prompt.id for prompt in read("gsm8k", tmp_path, rows, num_items=num_items).prompts]

    shuffled = random.Random(0).sample(WORDS, len(WORDS))
    few, more = ids(8, WORDS), ids(20, WORDS)

    assert len(few) == 8
    assert set(few) < set(more)
    assert set(ids(8, shuffled)) == set(few)
    assert few != ids(40, WORDS)[:8]
    assert ids(99, WORDS) == ids(40, WORDS)


def test_fewer_items_are_a_remark(tmp_path: Path):
    contests = [{"id": i, "question": f"{i}?", "answer": i} for i in range(40)]
    items = read("amc23", tmp_path, contests, num_items=5)

    assert items.remarks() == ["amc23: the first 5 of 40 items by hash"]
    assert (items.as_record()["items"], items.as_record()["measurable"]) == (5, 40)


# --- answers


@pytest.mark.parametrize(
    ("answer", "text"), [(["$2$"], "$2$"), (["1", "-1"], "1, -1"), ([], None)], ids=["one", "two", "none"]
)
@pytest.mark.parametrize("file", ["items.jsonl", "items.parquet"])
def test_a_list_of_answers_is_one_answer(tmp_path: Path, answer: list[str], text: str | None, file: str):
    rows = [
        {"id": 1, "question": "x?", "final_answer": answer},
        {"id": 2, "question": "y?", "final_answer": ["7"]},
    ]
    answers = {prompt.id: prompt.answer for prompt in read("olympiadbench", tmp_path, rows, file).prompts}

    assert answers == {"1": text, "2": "7"} if text else {"2": "7"}


@pytest.mark.parametrize("is_plain", [True, False])
def test_a_whole_number_with_a_point_is_one_without(tmp_path: Path, is_plain: bool):
    rows = [
        {"id": i, "prompt" if is_plain else "question": "x?", "answer": i + 0.5 * (i == 2)} for i in range(3)
    ]
    rows[1]["answer"] = 1.0

    assert [prompt.answer for prompt in read("amc23", tmp_path, rows).prompts] == ["0", "1", "2.5"]


def test_a_list_that_a_csv_holds_as_text_is_no_answer(tmp_path: Path):
    rows = [{"id": 1, "question": "x?", "final_answer": ["7"]}]

    with pytest.raises(DataError, match="'1': final_answer is not a list"):
        read("olympiadbench", tmp_path, rows, "items.csv")


# --- programs


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


# --- a benchmark of one's own


def of_file(folder: Path, rows: Rows, file: str = "items.jsonl", **settings: Any) -> Items:
    """The items of a benchmark of these rows; it has the grader math and no template unless settings say so."""
    write(folder / file, rows)
    plain = dict.fromkeys(("columns", "response_pattern", "template")) | {"grader": "math", "source": file}
    path = write_capitals(folder, "mine.yaml", **{**plain, **settings})
    return read_items(measurement(path.name, folder))


def test_items_have_the_template_and_no_number_that_is_expected(tmp_path: Path):
    write_capitals(tmp_path)
    items = read_items(measurement("capitals.yaml", tmp_path))

    assert [(prompt.prompt, prompt.answer) for prompt in items.prompts[:2]] == [
        ("The capital of France?", "Paris"), ("The capital of Spain?", "Madrid")
    ]  # fmt: skip
    assert items.remarks() == []


@pytest.mark.parametrize("file", ["items.jsonl", "items.parquet", "items.csv"])
def test_a_template_shows_any_column(tmp_path: Path, file: str):
    rows = [
        {"q": "1+1?", "a": 0, "b": "{prompt}", "right": "B"},
        {"q": "2+2?", "a": 4, "b": "5", "right": "A"},
    ]
    columns = {"prompt": "q", "answer": "right"}
    items = of_file(tmp_path, rows, file, columns=columns, template="{prompt}\nA. {a}\nB. {b}")

    assert [prompt.prompt for prompt in items.prompts] == ["1+1?\nA. 0\nB. {prompt}", "2+2?\nA. 4\nB. 5"]


def test_a_column_may_be_within_another_and_a_list_is_a_value_a_line(tmp_path: Path):
    rows = [{"q": {"text": "Which?", "choices": ["A. 1", "B. 2"]}, "reward": {"truth": "#### 2"}}]
    items = of_file(
        tmp_path, rows, "items.parquet", columns={"prompt": "q.text", "answer": "reward.truth"},
        template="{prompt}\n{q.choices}", answer_pattern="#### (.*)",
    )  # fmt: skip

    assert [(prompt.prompt, prompt.answer) for prompt in items.prompts] == [("Which?\nA. 1\nB. 2", "2")]


def test_one_column_of_tests_is_used_as_it_is(tmp_path: Path):
    rows = [{"task": "Add one.", "check": "assert add(1) == 2"}, {"task": "Add two.", "check": None}]
    items = of_file(tmp_path, rows, columns={"prompt": "task", "tests": "check"}, grader="code")

    assert [prompt.tests for prompt in items.prompts] == ["assert add(1) == 2"]
    assert items.as_record()["without_answer"]["listed"][0]["reason"] == "no check"


def test_missing_columns_are_refused_with_the_file_that_names_them(tmp_path: Path):
    with pytest.raises(DataError) as caught:
        of_file(
            tmp_path, [{"question": "1+1?", "answer": "2"}], columns={"prompt": "quest", "answer": "answer"}
        )

    assert "has no column 'quest'; it has 'question', 'answer'; fix `columns`" in str(caught.value)
    assert str(caught.value).endswith("in mine.yaml")
    with pytest.raises(DataError, match="has no column 'units'"):
        of_file(tmp_path, [{"prompt": "1+1?", "answer": "2"}], template="{prompt} {units}")


def test_items_that_are_not_there_are_named_with_the_file_of_the_benchmark(tmp_path: Path):
    write_capitals(tmp_path, "bench/capitals.yaml", source="gone.jsonl")

    with pytest.raises(
        DataError, match=r"bench/gone.jsonl: no such file of items; fix .*bench/capitals.yaml: source$"
    ):
        read_items(measurement("bench/capitals.yaml", tmp_path))


# --- the hub


@pytest.mark.parametrize("name", ["gsm8k", "livecodebench"])
def test_a_hub_that_cannot_be_reached_is_an_error_that_shows_how_to_use_a_local_file(
    tmp_path: Path, name: str
):
    with pytest.raises(DataError, match=f"the hub cannot be reached .*to_parquet.* --file {name}=PATH$"):
        read_items(measurement(name, tmp_path))  # the suite is offline


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the hub answers, in place of a network; and what it was asked."""
    answers: dict[str, Any] = {}

    def load_dataset(name: str, subset: str | None = None, **asked: Any) -> datasets.Dataset:
        answers["asked"] = (name, subset, asked)
        if isinstance(answers["gives"], Exception):
            raise answers["gives"]
        return datasets.Dataset.from_list(answers["gives"])

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return answers


def test_a_dataset_of_ones_own_is_asked_for_by_its_part(tmp_path: Path, hub: dict[str, Any]):
    hub["gives"] = [{"prompt": "1+1?", "answer": "2"}]
    part = {"subset": "easy", "split": "dev", "revision": "abc"}
    write_capitals(tmp_path, source="someone/sums", columns=None, template=None, **part)

    assert len(read_items(measurement("capitals.yaml", tmp_path)).prompts) == 1
    assert hub["asked"] == ("someone/sums", "easy", {"split": "dev", "revision": "abc"})
    hub["gives"] = ValueError("Unknown split")
    with pytest.raises(
        DataError, match=r"no such part .*; fix .*capitals.yaml: subset and .*capitals.yaml: split"
    ):
        read_items(measurement("capitals.yaml", tmp_path))


def test_the_hub_is_asked_for_the_benchmarks_own_commit(tmp_path: Path, hub: dict[str, Any]):
    hub["gives"] = TASKS
    mbpp = benchmark_named("mbpp")
    items = read_items(measurement("mbpp", tmp_path))

    assert hub["asked"] == (
        "google-research-datasets/mbpp",
        "full",
        {"split": "test", "revision": mbpp.revision},
    )
    assert items.prompts == read("mbpp", tmp_path, TASKS).prompts
    assert items.as_record()["revision"] == mbpp.revision


def test_without_a_commit_the_newest_is_asked_for(tmp_path: Path, hub: dict[str, Any]):
    hub["gives"] = CONTEST
    read_items(measurement("livecodebench", tmp_path))

    assert hub["asked"] == ("lighteval/code_generation_lite", "v6", {"split": "test"})


def test_a_dataset_whose_owner_changed_it_is_refused_with_the_columns_that_it_has(
    tmp_path: Path, hub: dict[str, Any]
):
    hub["gives"] = [{"problem": "x?", "target": 1}]
    with pytest.raises(
        DataError, match="no column 'answer'; it has 'problem', 'target'; .* --file aime25=PATH"
    ):
        read_items(measurement("aime25", tmp_path))
    hub["gives"] = ValueError("Unknown split")
    with pytest.raises(DataError, match=r"no such part \(Unknown split\); name a file in --file aime25=PATH"):
        read_items(measurement("aime25", tmp_path))


# --- the real thing


def real(name: str, file: str, folder: Path) -> tuple[Benchmark, Items]:
    return benchmark_named(name), read_items(measurement(name, folder, file=file))


def test_gsm8k_is_read_whole(shared_data: Path):
    benchmark, items = real("gsm8k", "gsm8k/test.jsonl", shared_data)

    assert len(items.prompts) == benchmark.expected_rows
    assert items.remarks() == []
    assert all(
        prompt.answer and prompt.answer.replace(",", "").lstrip("-").isdigit() for prompt in items.prompts
    )


def test_humaneval_is_read_whole(shared_data: Path):
    benchmark, items = real("humaneval", "humaneval/HumanEval.jsonl.gz", shared_data)

    assert len(items.prompts) == benchmark.expected_rows
    assert items.remarks() == []
    assert all({"test", "entry_point"} == json.loads(prompt.tests or "").keys() for prompt in items.prompts)
