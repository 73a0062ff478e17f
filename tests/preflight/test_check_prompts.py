"""check: mistakes in the file of prompts, and prompts that do not fit the context."""

from pathlib import Path

import pytest
from checked import CONTEXT, ROWS, refusal, warnings_of, write_rows
from projects import Project, make_project

from omniopd.config import load_params
from omniopd.data.layout import Layout
from omniopd.errors import ConfigError, DataError, ModelError
from omniopd.inputs.prepare import draw_prompts
from omniopd.preflight.check import check


def test_a_hub_that_cannot_be_reached_is_found_before_work_starts(local_project: Project):
    local_project.edit(prompts__source="openai/gsm8k", prompts__subset="main")

    [line] = refusal(local_project, DataError)

    assert line.startswith("openai/gsm8k (main, train): the hub cannot be reached (")
    assert "name that file in prompts.source" in line


def test_a_missing_evaluation_set_is_reported_with_its_setting(local_project: Project):
    local_project.edit(prompts__decontaminate={"against": ["gone.jsonl"], "ngram": 13})

    assert refusal(local_project, DataError) == [
        "gone.jsonl: no such file of prompts; fix prompts.decontaminate.against in params.yaml"
    ]


def test_settings_of_a_source_are_refused_for_a_built_in_task(tmp_path: Path):
    project = make_project(tmp_path).edit(prompts__template="{prompt}!", prompts__max_prompt_tokens=9)

    assert refusal(project, ConfigError) == [
        f"params.yaml: prompts.{name}: does not apply to addition, which is a built-in task; leave it out"
        for name in ("template", "max_prompt_tokens")
    ]


def test_an_arm_that_samples_from_a_part_of_the_distribution_is_warned_of(local_project: Project):
    assert not [line for line in warnings_of(local_project) if "top_p" in line]
    [line] = [line for line in warnings_of(local_project.edit(rollout__top_p=0.9)) if "top_p" in line]
    assert "rollout: top_p, top_k or min_p leaves out tokens when omniopd samples" in line


def test_prompts_of_every_seed_are_checked(local_project: Project):
    """Of 31 prompts each seed leaves out 9, and some seeds the long one."""
    long = {"id": "sum-long", "prompt": "1+" * 50 + "1=", "answer": "51"}
    write_rows(local_project.root / "prompts.jsonl", [*ROWS, long])
    local_project.edit(prompts__num_train=12)
    without = next(seed for seed in range(20) if not is_drawn(local_project, seed))
    within = next(seed for seed in range(20) if is_drawn(local_project, seed))

    local_project.edit(seeds=[without])
    check(local_project.params_file)
    local_project.edit(seeds=[without, within])
    [line] = refusal(local_project, DataError)
    assert "prompt 'sum-long' has 102 tokens" in line


def is_drawn(project: Project, seed: int) -> bool:
    params = load_params(project.params_file)
    drawn, _ = draw_prompts(params, [seed], Layout(project.root))
    return any(prompt.id == "sum-long" for prompts in drawn[seed].values() for prompt in prompts)


# --- the file of prompts

BROKEN_PROMPTS = {
    "empty": ("", "prompts.jsonl: holds no prompts; write one JSON object a line with 'id' and 'prompt'"),
    "blank lines alone": (
        "\n  \n",
        "prompts.jsonl: holds no prompts; write one JSON object a line with 'id' and 'prompt'",
    ),
    "no prompt": (
        '{"id": "a", "answer": "2"}',
        "prompts.jsonl:1: has no field 'prompt'; it has 'id', 'answer'",
    ),
    "no field": ("{}", "prompts.jsonl:1: has no field 'prompt'; it has none"),
    "id a list": (
        '{"id": [7], "prompt": "1+1="}',
        "prompts.jsonl:1: field 'id' is [7], and an id is some text or a number; fix it, or set prompts.columns.id: "
        "null",
    ),
    "prompt a number": (
        '{"id": "a", "prompt": 2}',
        "prompts.jsonl:1: field 'prompt' is 2, not a string; put it in quotes",
    ),
    "prompt empty": (
        '{"id": "a", "prompt": ""}',
        "prompts.jsonl:1: field 'prompt' is empty; fill it or delete the line",
    ),
    "a list": ('["a", "1+1="]', "prompts.jsonl:1: found list, not a JSON object with 'id' and 'prompt'"),
    "no prompt, a blank line before": (
        '{"id": "a", "prompt": "1+1="}\n\n{"id": "b"}',
        "prompts.jsonl:3: has no field 'prompt'; it has 'id'",
    ),
}


@pytest.mark.parametrize(("text", "message"), BROKEN_PROMPTS.values(), ids=BROKEN_PROMPTS)
def test_a_broken_file_of_prompts_is_refused_with_the_line(local_project: Project, text: str, message: str):
    (local_project.root / "prompts.jsonl").write_text(text, encoding="utf-8")

    assert refusal(local_project, DataError) == [message]


def test_one_id_of_two_prompts_is_refused(local_project: Project):
    write_rows(
        local_project.root / "prompts.jsonl", [{**row, "id": row["id"].replace("07", "21")} for row in ROWS]
    )

    [line] = refusal(local_project, DataError)

    assert line.startswith("prompts.jsonl: id 'sum-21' belongs to ")
    assert {"'7+1='", "'21+1='"} <= set(line.replace(";", " ").split())
    local_project.edit_paths({"prompts.columns.id": None})
    check(local_project.params_file)


NOT_JSON = {
    "cut short": b'{"id": "b", "pro',
    "not UTF-8": b'{"id": "b\xff", "prompt": "1+2="}',
    "a number of 5,000 digits": b"1" * 5000,
    "too deep": b"[" * 100_000,
}


@pytest.mark.parametrize("line", NOT_JSON.values(), ids=NOT_JSON)
def test_a_line_that_is_no_json_is_refused_with_its_number(local_project: Project, line: bytes):
    first = b'{"id": "a", "prompt": "1+1="}\n'
    (local_project.root / "prompts.jsonl").write_bytes(first + line + b"\n")

    [message] = refusal(local_project, DataError)

    assert message.startswith("prompts.jsonl:2: not a JSON object (")
    assert message.endswith("; fix or delete the line")


def test_text_that_is_no_unicode_is_refused_with_its_line(local_project: Project):
    # Half of a surrogate pair: JSON can write it, UTF-8 cannot.
    (local_project.root / "prompts.jsonl").write_text('{"id": "a", "prompt": "\\ud800"}\n')

    [message] = refusal(local_project, DataError)

    assert message.startswith("prompts.jsonl:1: field 'prompt' ")


def test_a_missing_file_of_prompts_is_refused(local_project: Project):
    (local_project.root / "prompts.jsonl").unlink()

    assert refusal(local_project, DataError) == [
        "prompts.jsonl: no such file of prompts, and not a built-in task ('addition', 'chain'); "
        "fix prompts.source in params.yaml"
    ]


def test_a_folder_in_place_of_the_file_of_prompts_is_refused(local_project: Project):
    local_project.edit(prompts__source="student")

    [message] = refusal(local_project, DataError)

    assert message.startswith("student: cannot be read (Is a directory); ")


def test_a_misspelt_builtin_task_is_refused(local_project: Project):
    local_project.edit(prompts__source="additon")

    [message] = refusal(local_project, DataError)

    assert message.startswith("additon: no such file of prompts")
    assert "'addition'" in message


def test_too_few_prompts_are_found_before_prepare(local_project: Project):
    local_project.edit(prompts__num_train=21)

    assert refusal(local_project, DataError) == [
        "prompts.jsonl: 20 prompts are left to train on after 10 to measure on, and prompts.num_train is 21; "
        "add prompts or lower it"
    ]


def test_too_few_answers_are_found_before_prepare(local_project: Project):
    write_rows(
        local_project.root / "prompts.jsonl",
        [{k: v for k, v in row.items() if k != "answer"} for row in ROWS],
    )

    assert refusal(local_project, DataError) == [
        "prompts.jsonl: 0 prompts have an answer, and 10 are to be measured on (30 rows without, such as 'sum-08': no "
        "answer); add answers, or lower prompts.num_heldout and prompts.num_validation"
    ]


# --- prompts and the context


def test_a_prompt_fits_up_to_the_last_token_of_the_context(local_project: Project):
    room = CONTEXT - max(len(row["prompt"]) for row in ROWS)  # a token a character

    local_project.edit(rollout__max_new_tokens=room)
    check(local_project.params_file)

    local_project.edit(rollout__max_new_tokens=room + 1)
    assert refusal(local_project, DataError) == [
        "prompts.jsonl: prompt 'sum-10' has 5 tokens, and with rollout.max_new_tokens = 124 exceeds the student's "
        "context of 128; shorten or remove it and the 19 others that are too long, leave such out with "
        "prompts.max_prompt_tokens, or make responses shorter"
    ]


def test_one_prompt_that_does_not_fit_is_named(local_project: Project):
    long = {"id": "sum-long", "prompt": "1+" * 50 + "1=", "answer": "51"}
    write_rows(local_project.root / "prompts.jsonl", [*ROWS, long])
    local_project.edit(prompts__num_train=21)

    assert refusal(local_project, DataError) == [
        "prompts.jsonl: prompt 'sum-long' has 102 tokens, and with rollout.max_new_tokens = 48 exceeds the student's "
        "context of 128; shorten or remove it, leave such out with prompts.max_prompt_tokens, or make responses shorter"
    ]


def test_the_longest_response_of_any_arm_has_to_fit(local_project: Project):
    local_project.edit_paths({"arms.omniopd-baseline.rollout": {"max_new_tokens": 125}})

    [message] = refusal(local_project, DataError)

    assert "prompt 'sum-00' has 4 tokens" in message
    assert "125" in message


@pytest.mark.parametrize("student", ["demo", "student"])
def test_a_prompt_of_a_builtin_task_has_to_fit_as_well(local_project: Project, student: str):
    room = CONTEXT - len("4185+5874=")
    local_project.edit(prompts__source="addition", models__student=student, rollout__max_new_tokens=room)
    check(local_project.params_file)

    local_project.edit(rollout__max_new_tokens=room + 1)
    [message] = refusal(local_project, DataError)

    assert message.startswith("addition: prompt ")
    assert (
        "has 10 tokens, and with rollout.max_new_tokens = 119 exceeds the student's context of 128" in message
    )


def test_of_many_broken_lines_the_first_are_listed_and_the_rest_counted(local_project: Project):
    (local_project.root / "prompts.jsonl").write_text("{\n" * 8)

    lines = refusal(local_project, DataError)

    assert [line.partition(": ")[0] for line in lines[:5]] == [f"prompts.jsonl:{n}" for n in range(1, 6)]
    assert lines[5:] == ["prompts.jsonl: 3 more lines cannot be used; fix these first"]


def test_prompts_that_repeat_anothers_text_are_counted(local_project: Project):
    write_rows(local_project.root / "prompts.jsonl", [*ROWS, {"id": "again", "prompt": ROWS[0]["prompt"]}])

    _, _, plan = check(local_project.params_file)

    assert (
        "prompts.jsonl (31 prompts, 1 of them repeat another's text and are left out, 1 without an answer)"
        in plan[0]
    )


@pytest.mark.parametrize(("grader", "column"), [("pattern", "answer"), ("code", "tests")])
def test_prompts_that_cannot_be_graded_cannot_be_rewarded(local_project: Project, grader: str, column: str):
    """12 of 30 rows have what the grader needs: 10 of them are measured on, and 2 of the 20 others are trained on."""
    rows = [{"id": row["id"], "prompt": row["prompt"]} for row in ROWS]
    for row in rows[:12]:
        row[column] = "assert f(1) == 2" if column == "tests" else "2"
    write_rows(local_project.root / "prompts.jsonl", rows)
    local_project.edit(evaluation__grader=grader)
    check(local_project.params_file)
    local_project.edit(arms={"rewarded": {"method": "grpo", "rollout": {"num_prompts": 3, "num_samples": 4}}})

    [line] = refusal(local_project, DataError)

    for name in ("prompts.jsonl", f"18 of 20 prompts to train on have no {column}", "arms.rewarded (grpo)"):
        assert name in line
    assert f"prompts.columns.{column}" in line


def test_a_prompt_has_to_fit_the_teacher_with_its_context(local_project: Project):
    long = {"role": "user", "content": "1+" * 60}
    local_project.edit(teacher__context=[long, {"role": "assistant", "content": "60"}])
    [line] = refusal(local_project, ModelError)
    assert line.startswith("params.yaml: teacher.model: teacher: a prompt has ")
    assert f"exceeds its context of {CONTEXT}; shorten teacher.context or teacher.hint" in line
    check(local_project.edit(teacher__context=[]).params_file)
