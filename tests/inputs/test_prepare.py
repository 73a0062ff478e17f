"""prepare: the sizes of the splits, that no problem stands in two of them, and that a seed decides the bytes."""

import json
import shutil
from collections import Counter
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from projects import Project, make_project

from omniopd.config import load_params
from omniopd.data.layout import Layout
from omniopd.data.prompts import read_prompts
from omniopd.errors import DataError
from omniopd.inputs.base import make_models
from omniopd.inputs.prepare import make_prompts, prepare, prepare_key
from omniopd.tasks import TASKS
from omniopd.training.pretrain import character_tokenizer

SPLITS = ("train", "validation", "heldout")
EXAMPLES = ("student-examples", "teacher-examples")
SIZES = {
    "train": 500,
    "validation": 50,
    "heldout": 150,
    "student-examples": 100,
    "teacher-examples": 700,
}


def run(project: Project, seed: int = 0) -> dict[str, bytes]:
    """The bytes of the files that prepare wrote for a seed."""
    prepare(load_params(project.params_file), seed, Layout(project.root))
    folder = project.root / "data" / f"seed-{seed}"
    return {path.stem: path.read_bytes() for path in sorted(folder.glob("*.jsonl"))}


def rows(content: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in content.splitlines()]


def operands(row: dict[str, Any]) -> tuple[int, int]:
    """The two numbers of `4185+5874=`."""
    a, b = row["prompt"].removesuffix("=").split("+")
    return int(a), int(b)


# --- the built-in task


@pytest.fixture
def drawn(tmp_path: Path) -> Project:
    return make_project(tmp_path / "project").edit(
        prompts__num_train=SIZES["train"],
        prompts__num_validation=SIZES["validation"],
        prompts__num_heldout=SIZES["heldout"],
        models__demo__student__num_examples=SIZES["student-examples"],
        models__demo__teacher__num_examples=SIZES["teacher-examples"],
    )


@pytest.fixture
def two_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    """4,095 problems instead of 40 million: 1,500 drawn from them would meet again, were that allowed."""
    monkeypatch.setattr("omniopd.tasks.addition.NUM_DIGITS", 2)


def test_each_file_holds_as_many_as_params_say(drawn: Project):
    files = run(drawn)

    assert {name: len(rows(content)) for name, content in files.items()} == SIZES


def test_ids_say_the_split_and_count_from_zero(drawn: Project):
    files = run(drawn)

    for split in SPLITS:
        assert [row["id"] for row in rows(files[split])] == [f"{split}-{i:05d}" for i in range(SIZES[split])]


@pytest.mark.usefixtures("two_digits")
@pytest.mark.parametrize("seed", [0, 1])
def test_no_problem_occurs_twice_not_even_with_its_operands_swapped(drawn: Project, seed: int):
    files = run(drawn, seed)
    problems = {name: {frozenset(operands(row)) for row in rows(content)} for name, content in files.items()}

    for one, other in combinations(problems, 2):
        assert not problems[one] & problems[other], (one, other)
    assert {name: len(drawn_prompts) for name, drawn_prompts in problems.items()} == SIZES


@pytest.mark.parametrize("split", ["train", "validation", "heldout"])
def test_prompts_of_a_task_carry_the_right_answer(drawn: Project, split: str):
    for row in rows(run(drawn)[split]):
        assert row["answer"] == str(sum(operands(row)))


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_are_prompts_with_their_worked_solutions(drawn: Project, name: str):
    for row in rows(run(drawn)[name]):
        assert set(row) == {"prompt", "solution"}
        assert row["solution"] == TASKS["addition"].of(*operands(row)).solution


def test_the_splits_can_be_read_as_prompts(drawn: Project):
    run(drawn)
    layout = Layout(drawn.root)

    for split in ("train", "validation", "heldout"):
        assert all(prompt.answer for prompt in read_prompts(layout.prompts(0, split)))


def test_the_same_seed_gives_the_same_bytes(drawn: Project, tmp_path: Path):
    first = run(drawn)

    assert run(drawn) == first
    assert run(drawn.copied_to(tmp_path / "copy")) == first


def test_another_seed_gives_other_prompts(drawn: Project):
    first, second = run(drawn, 0), run(drawn, 1)

    for name in (*SPLITS, *EXAMPLES):
        texts = [{row["prompt"] for row in rows(files[name])} for files in (first, second)]
        assert len(texts[0] & texts[1]) < SIZES[name] / 10


def test_more_train_prompts_leave_the_measured_ones_as_they_were(drawn: Project):
    before = run(drawn)
    after = run(drawn.edit(prompts__num_train=600))

    assert after["heldout"] == before["heldout"]
    assert after["validation"] == before["validation"]


# --- a file of prompts


@pytest.fixture
def given(tmp_path: Path) -> Project:
    """40 prompts of which every fourth has no answer; 10 to measure on, 25 to train on."""
    prompts = [
        {"id": f"q{i:02d}", "prompt": f"{i}+1=", **({"answer": str(i + 1)} if i % 4 else {})}
        for i in range(40)
    ]
    write_prompts(tmp_path, prompts)
    return make_project(tmp_path).edit(
        prompts__source="prompts.jsonl",
        prompts__num_train=25,
        prompts__num_validation=4,
        prompts__num_heldout=6,
    )


def write_prompts(folder: Path, prompts: list[dict[str, Any]]) -> None:
    text = "".join(json.dumps(prompt) + "\n" for prompt in prompts)
    (folder / "prompts.jsonl").write_text(text, encoding="utf-8")


def refusal(project: Project) -> str:
    """The message of the error; asserts that nothing was written."""
    before = sorted(project.root.rglob("*"))
    with pytest.raises(DataError) as caught:
        prepare(load_params(project.params_file), 0, Layout(project.root))
    assert sorted(project.root.rglob("*")) == before
    return str(caught.value)


def test_a_file_is_split_into_the_sizes_and_into_nothing_else(given: Project):
    files = run(given)

    assert {name: len(rows(content)) for name, content in files.items()} == {
        "train": 25,
        "validation": 4,
        "heldout": 6,
    }


@pytest.mark.parametrize("seed", [0, 1])
def test_each_prompt_of_a_file_is_in_one_split_with_its_text(given: Project, seed: int):
    files = run(given, seed)
    prompt_of = {prompt.id: prompt for prompt in read_prompts(given.root / "prompts.jsonl")}
    written = [row for content in files.values() for row in rows(content)]

    assert max(Counter(row["id"] for row in written).values()) == 1
    for row in written:
        assert row["prompt"] == prompt_of[row["id"]].prompt


def test_answers_stay_with_the_prompts_that_have_one(given: Project):
    files = run(given)

    assert all("answer" in row for row in rows(files["heldout"]) + rows(files["validation"]))
    assert 0 < sum("answer" in row for row in rows(files["train"])) < len(rows(files["train"]))
    for row in rows(files["heldout"]) + rows(files["validation"]) + rows(files["train"]):
        assert row.get("answer", str(int(row["id"].removeprefix("q")) + 1)) == str(
            int(row["id"].removeprefix("q")) + 1
        )


def test_prompts_without_an_answer_are_still_trained_on(given: Project):
    trained = {row["id"] for row in rows(run(given.edit(prompts__num_train=30))["train"])}

    assert {f"q{i:02d}" for i in range(0, 40, 4)} <= trained


def test_the_split_of_a_file_depends_on_the_seed_alone(given: Project):
    first = run(given, 0)

    assert run(given, 0) == first
    for name in SPLITS:
        assert {row["id"] for row in rows(run(given, 1)[name])} != {row["id"] for row in rows(first[name])}


def test_more_train_prompts_leave_the_measured_ones_of_a_file_as_they_were(given: Project):
    before = run(given.edit(prompts__num_train=12))
    after = run(given.edit(prompts__num_train=30))

    assert after["heldout"] == before["heldout"]
    assert after["validation"] == before["validation"]


def test_too_few_answers_are_refused_with_the_numbers(given: Project):
    given.edit(prompts__num_heldout=28)

    assert refusal(given) == (
        "prompts.jsonl: 30 prompts have an answer, and 32 are to be measured on (10 rows without, such as 'q08': no "
        "answer); add answers, or lower prompts.num_heldout and prompts.num_validation"
    )


def test_too_few_prompts_are_refused_with_the_numbers(given: Project):
    given.edit(prompts__num_train=31)

    assert refusal(given) == (
        "prompts.jsonl: 30 prompts are left to train on after 10 to measure on, "
        "and prompts.num_train is 31; add prompts or lower it"
    )


def test_a_file_that_is_just_enough_is_used_up(given: Project):
    files = run(given.edit(prompts__num_train=30))

    assert sum(len(rows(content)) for content in files.values()) == 40


def test_a_broken_file_is_refused_and_nothing_is_written(given: Project):
    (given.root / "prompts.jsonl").write_text('{"id": "a"\n')

    assert refusal(given).startswith(f"{given.root}/prompts.jsonl:1: not a JSON object (")


def test_a_text_under_two_ids_is_in_only_one_split(given: Project):
    twice = [
        {"id": f"{name}{i}", "prompt": f"{i}+1=", "answer": str(i + 1)} for i in range(40) for name in "ab"
    ]
    write_prompts(given.root, twice)

    files = run(given.edit(prompts__num_train=30))

    texts = Counter(row["prompt"] for content in files.values() for row in rows(content))
    assert sorted(texts.values()) == [1] * 40


def test_too_few_different_texts_are_refused(given: Project):
    write_prompts(given.root, [{"id": f"q{i}", "prompt": "1+1=", "answer": "2"} for i in range(40)])

    assert refusal(given).startswith(
        "prompts.jsonl: 1 prompts have an answer, and 10 are to be measured on; "
    )


@pytest.mark.parametrize("with_answer", ["first", "second"])
def test_of_a_text_under_two_ids_the_one_with_an_answer_is_kept(given: Project, with_answer: str):
    prompts = [
        {"id": f"{name}-{i}", "prompt": f"{i}+1=", **({"answer": str(i + 1)} if name == with_answer else {})}
        for i in range(40)
        for name in ("first", "second")
    ]
    write_prompts(given.root, prompts)

    files = run(given)

    assert {row["id"].split("-")[0] for row in rows(files["heldout"])} == {with_answer}


# --- what a source is read with


@pytest.fixture
def mapped(given: Project) -> Project:
    """40 questions with their solutions, of which each fourth has none that ends with an answer; no ids."""
    rows = [
        {"question": f"{i}+1=", "solution": f"It is {i + 1}.\n#### {i + 1}" if i % 4 else "Who knows?"}
        for i in range(40)
    ]
    write_prompts(given.root, rows)
    return given.edit(
        prompts__columns={"prompt": "question", "answer": "solution"},
        prompts__answer_pattern=r"####\s*(.*)$",
        prompts__num_train=30,
    )


def report_bytes(project: Project) -> bytes:
    return (project.root / "data" / "seed-0" / "prepare-report.json").read_bytes()


def report_of(project: Project) -> dict[str, Any]:
    return json.loads(report_bytes(project))


def test_columns_are_mapped_and_answers_extracted_by_the_pattern(mapped: Project):
    files = run(mapped)
    written = [row for content in files.values() for row in rows(content)]

    assert {row["prompt"]: row.get("answer") for row in written} == {
        f"{i}+1=": str(i + 1) if i % 4 else None for i in range(40)
    }
    assert len({row["id"] for row in written}) == 40
    assert report_of(mapped)["without_answer"]["count"] == 10


def test_ids_that_are_made_of_the_text_are_the_same_in_every_split_and_seed(mapped: Project):
    ids = [
        {row["prompt"]: row["id"] for content in run(mapped, seed).values() for row in rows(content)}
        for seed in (0, 1)
    ]

    assert ids[0] == ids[1]


def test_the_template_is_applied_to_every_prompt(mapped: Project):
    without = run(mapped)
    within = run(mapped.edit(prompts__template="Think {first}.\n{prompt}\nIn \\boxed{}."))

    for split in SPLITS:
        assert [row["prompt"] for row in rows(within[split])] == [
            f"Think {{first}}.\n{row['prompt']}\nIn \\boxed{{}}." for row in rows(without[split])
        ]
        assert [row["id"] for row in rows(within[split])] == [row["id"] for row in rows(without[split])]


def test_a_system_message_and_examples_stand_before_every_prompt_and_are_counted(mapped: Project):
    tokenizer = character_tokenizer("0123456789+=;> QABebrif.")
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }};{% endfor %}"
    tokenizer.save_pretrained(mapped.root / "student")
    mapped.edit(models__student="student", prompts__template="Q {prompt}", prompts__max_prompt_tokens=99)
    plain = run(mapped)
    shot = [{"prompt": "40+2=", "response": "42"}]
    framed = run(mapped.edit(prompts__system="Be brief.", prompts__examples=shot))

    first = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Q 40+2="},
        {"role": "assistant", "content": "42"},
    ]
    for split in SPLITS:
        for alone, row in zip(rows(plain[split]), rows(framed[split]), strict=True):
            assert row == {**alone, "prompt": [*first, {"role": "user", "content": alone["prompt"]}]}
    mapped.edit(prompts__max_prompt_tokens=len("Be brief.;Q 40+2=;42;Q 1+1=;") - 1)
    with pytest.raises(DataError, match="0 prompts have an answer"):
        run(mapped)


def test_a_row_that_is_a_worked_example_is_drawn_into_no_split(given: Project):
    shown = rows(run(given.edit(prompts__num_train=28))["heldout"])[0]
    given.edit(prompts__examples=[{"prompt": f" {shown['prompt']}", "response": "Who knows?"}])
    drawn = [row for content in run(given).values() for row in rows(content)]

    assert shown["id"] not in {row["id"] for row in drawn}
    assert {len(row["prompt"]) for row in drawn} == {3}  # the example's two turns, and the prompt
    assert report_of(given)["repeated"] == 1


def test_a_row_with_a_history_that_asks_a_worked_example_is_drawn_into_no_split(given: Project):
    ask = lambda i: [{"role": "system", "content": "Be brief."}, {"role": "user", "content": f"{i}+1="}]  # noqa: E731
    write_prompts(given.root, [{"prompt": ask(i), "answer": str(i + 1)} for i in range(40)])
    given.edit(prompts__num_train=29, prompts__examples=[{"prompt": "7+1=", "response": "8"}])
    drawn = [row for content in run(given).values() for row in rows(content)]

    assert {"role": "user", "content": "7+1="} not in [row["prompt"][-1] for row in drawn]
    assert report_of(given)["repeated"] == 1


def test_prompts_are_drawn_again_where_a_setting_of_the_template_that_counts_them_changed(given: Project):
    tokenizer = character_tokenizer("0123456789+=;> ")
    tokenizer.chat_template = "{{ messages[0]['content'] }}{{ '' if thinks else ';;;' }}"
    tokenizer.save_pretrained(given.root / "student")
    sizes = {"prompts__num_train": 6, "prompts__num_heldout": 2, "prompts__num_validation": 2}
    given.edit(models__student="student", prompts__max_prompt_tokens=7, rollout__num_prompts=4, **sizes)
    key = lambda: prepare_key(load_params(given.params_file), 0, Layout(given.root))  # noqa: E731
    run(given)
    num_long, plain = report_of(given)["too_long"]["count"], key()
    run(given.edit(models__chat_template_kwargs={"thinks": True}))

    assert report_of(given)["too_long"]["count"] < num_long
    assert key() != plain
    given.edit(models__chat_template_kwargs={})
    assert key() == plain


def test_tests_of_programs_are_carried_and_can_be_measured_by(given: Project):
    programs = [{"prompt": f"Write f{i}.", "tests": [f"f{i}() == {i}", "é"]} for i in range(40)]
    write_prompts(given.root, programs)
    run(given.edit(prompts__num_train=30, evaluation__grader="code"))

    [prompt] = [p for p in read_prompts(Layout(given.root).prompts(0, "heldout")) if p.prompt][:1]
    number = prompt.prompt.removeprefix("Write f").removesuffix(".")
    assert json.loads(prompt.tests or "") == [f"f{number}() == {number}", "é"]


def test_long_prompts_are_left_out_as_the_student_counts_with_template_and_chat_template(given: Project):
    tokenizer = character_tokenizer("0123456789+=;> ")
    tokenizer.chat_template = "{% for m in messages %}>>{{ m['content'] }};{% endfor %}"
    tokenizer.save_pretrained(given.root / "student")
    given.edit(models__student="student", prompts__template=" {prompt}", prompts__num_train=6)
    given.edit(prompts__max_prompt_tokens=8, prompts__num_heldout=2, prompts__num_validation=2)
    given.edit(rollout__num_prompts=4)

    files = run(given)  # `10+1=` has 5 characters, and 4 are around it

    assert {len(row["prompt"]) for content in files.values() for row in rows(content)} == {len(" 1+1=")}
    report = report_of(given)
    assert report["too_long"]["count"] == 30
    assert {entry["tokens"] for entry in report["too_long"]["listed"]} == {9}


@pytest.mark.parametrize("against", ["test.jsonl", {"source": "test.jsonl", "prompt": "question"}])
def test_training_prompts_that_overlap_with_a_file_are_left_out_and_listed(given: Project, against: Any):
    column = "prompt" if isinstance(against, str) else "question"
    trained = [row["id"] for row in rows(run(given.edit(prompts__num_train=28))["train"])]
    number = int(trained[0].removeprefix("q"))
    items = [{column: "What else?"}, {column: f"{number} + 1 = ?"}]
    (given.root / "test.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))

    files = run(given.edit(prompts__decontaminate={"against": [against], "ngram": 5}))

    listed = report_of(given)["contaminated"]["listed"]
    assert [(entry["id"], entry["with"]) for entry in listed] == [(trained[0], "test.jsonl, row 2")]
    assert trained[0] not in {row["id"] for row in rows(files["train"])}


def test_files_and_report_are_the_same_bytes_again_wherever_the_project_is(
    mapped: Project, tmp_path_factory: pytest.TempPathFactory
):
    mapped.edit(prompts__decontaminate={"against": [], "ngram": 2})
    first, report = run(mapped), report_bytes(mapped)
    copy = mapped.copied_to(tmp_path_factory.mktemp("elsewhere") / "copy")
    shutil.rmtree(copy.root / "data")

    assert run(copy) == first
    assert report_bytes(copy) == report


def test_prompts_are_made_again_where_their_file_or_that_of_an_evaluation_set_changes(given: Project):
    (given.root / "test.jsonl").write_text('{"prompt": "7+1="}\n')
    given.edit(prompts__decontaminate={"against": ["test.jsonl"], "ngram": 5}, prompts__num_train=20)
    layout, params = Layout(given.root), load_params(given.params_file)

    assert make_prompts(params, 0, layout)
    assert not make_prompts(params, 0, layout)
    (given.root / "test.jsonl").write_text('{"prompt": "8+1="}\n')
    assert make_prompts(params, 0, layout)
    with (given.root / "prompts.jsonl").open("a") as file:
        file.write('{"id": "more", "prompt": "99+1=", "answer": "100"}\n')
    assert make_prompts(params, 0, layout)
    layout.prompt_report(0).unlink()
    assert make_prompts(params, 0, layout)


@pytest.mark.parametrize("stage", ["prepare", "base"])
def test_inputs_are_digested_before_the_lock_is_taken(
    given: Project, stage: str, monkeypatch: pytest.MonkeyPatch
):
    params, layout, is_locked = load_params(given.params_file), Layout(given.root), []

    def key(*_: object) -> str:
        is_locked.append(layout.making(0).exists())
        raise DataError("unreadable")

    monkeypatch.setattr(f"omniopd.inputs.{stage}.{stage}_key", key)
    make = {"prepare": make_prompts, "base": partial(make_models, on_step=print)}[stage]
    with pytest.raises(DataError, match="unreadable"):
        make(params, 0, layout)

    assert is_locked == [False]


def test_a_built_in_task_leaves_no_report_of_a_file(given: Project):
    run(given)
    assert report_of(given)["rows"] == 40

    run(given.edit(prompts__source="addition"))

    assert not (given.root / "data" / "seed-0" / "prepare-report.json").exists()
