"""The items of benchmarks: their columns, the form of their prompts, and remarks on rows left out."""

import random
from pathlib import Path
from typing import Any

import pytest
from benchmark_files import write_capitals
from item_rows import TASKS, WORDS, Rows, measurement, read, write

from omniopd.errors import DataError
from omniopd.evaluation.items import Items, read_items

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
