"""The commands of the pipeline in order, and `omniopd prompts`."""

import json

import pytest
from commands import files, run
from examples import tiny_model
from projects import Project

from omniopd.config import load_params
from omniopd.data.layout import Layout
from omniopd.data.prompts import read_prompts
from omniopd.data.store import write_json
from omniopd.inputs.prepare import prepare
from omniopd.rounds.start import start_run
from omniopd.training.pretrain import character_tokenizer, save_model

pytestmark = pytest.mark.usefixtures("restored_environment")


def test_prepare_writes_the_prompts_of_the_seed_beside_params(
    bare_project: Project, monkeypatch: pytest.MonkeyPatch
):
    assert run(monkeypatch, "prepare", "--seed", "3") == 0

    assert {"heldout.jsonl", "train.jsonl", "validation.jsonl"} <= set(
        files(bare_project.root / "data/seed-3")
    )


def test_prompts_are_shown_as_the_student_reads_them(
    bare_project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    with_prompt_file(bare_project)
    assert run(monkeypatch, "prepare") == 0
    assert "prompts.jsonl: 80 prompts, 20 of them repeat another's text" in capsys.readouterr().err

    assert run(monkeypatch, "prompts", "show", "--split", "heldout", "--num", "2") == 0
    shown = capsys.readouterr().out
    assert run(monkeypatch, "prompts", "show", "--split", "heldout", "--num", "2", "--raw") == 0
    raw = capsys.readouterr().out

    prompts = read_prompts(Layout(bare_project.root).prompts(0, "heldout"))[:2]
    heads = [
        f"--- {prompt.id}: {len(prompt.prompt) + 3} tokens; answer {prompt.answer}" for prompt in prompts
    ]
    assert shown.splitlines() == [
        line
        for head, prompt in zip(heads, prompts, strict=True)
        for line in (head, f"<start>>{prompt.prompt};")
    ]
    assert raw == shown.replace("<start>>", "").replace(";\n", "\n")


def test_prompts_are_shown_as_the_teacher_reads_them(
    bare_project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    bare_project.edit(
        teacher__context=[{"role": "system", "content": "Be exact."}],
        teacher__hint="{prompt} It is {answer}.",
    )
    assert run(monkeypatch, "prepare") == 0
    capsys.readouterr()
    assert run(monkeypatch, "prompts", "show", "--num", "1", "--teacher") == 0

    [prompt] = read_prompts(Layout(bare_project.root).prompts(0, "train"))[:1]
    head, *text = capsys.readouterr().out.splitlines()
    assert head.startswith(f"--- {prompt.id}: ")
    assert text == ["system: Be exact.", "", f"user: {prompt.prompt} It is {prompt.answer}."]


def test_the_report_of_prompts_lists_the_findings(
    bare_project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    with_prompt_file(bare_project)
    assert run(monkeypatch, "prompts", "report") == 2
    assert "run `omniopd prepare --seed 0` first" in " ".join(capsys.readouterr().err.split())
    assert run(monkeypatch, "prepare") == 0
    capsys.readouterr()

    assert run(monkeypatch, "prompts", "report") == 0

    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == (
        "prompts.jsonl: 80 prompts, 20 of them repeat another's text and are left out, 1 without an answer"
    )
    assert lines[1] == "splits: 6 heldout, 40 train, 4 validation"
    assert lines[2:] == ["1 without an answer:", "  q00: no answer"]


@pytest.mark.usefixtures("bare_project")
def test_a_built_in_task_has_no_report_and_its_prompts_can_be_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    assert run(monkeypatch, "prepare") == 0

    assert run(monkeypatch, "prompts", "show", "--num", "1") == 0
    assert capsys.readouterr().out.startswith("--- train-00000: ")
    assert run(monkeypatch, "prompts", "report") == 2


def with_prompt_file(bare_project: Project) -> None:
    """80 rows of 60 texts, of which one has no answer; and a student with a chat template."""
    rows = [{"id": f"q{i:02d}", "prompt": f"{i}+1=", "answer": str(i + 1)} for i in range(60)]
    del rows[0]["answer"]
    lines = "".join(json.dumps(row) + "\n" for row in [*rows, *rows[40:]])
    (bare_project.root / "prompts.jsonl").write_text(lines)
    tokenizer = character_tokenizer("0123456789+=;>")
    tokenizer.chat_template = "{{ bos_token }}{% for m in messages %}>{{ m['content'] }};{% endfor %}"
    save_model(bare_project.root / "student", tiny_model(tokenizer), tokenizer)
    bare_project.edit(prompts__source="prompts.jsonl", prompts__num_validation=4, prompts__num_heldout=6)
    bare_project.edit(models__student="student", teacher__model="student")


def test_base_before_prepare_exits_with_2(
    bare_project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    before = files(bare_project.root)

    assert run(monkeypatch, "base") == 2

    assert capsys.readouterr().err == (
        "data/seed-0/student-examples.jsonl: no such file; run `omniopd prepare` first (dvc repro does)\n"
    )
    assert files(bare_project.root) == before


def test_base_says_how_often_the_student_was_drawn_and_that_none_fits(
    bare_project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    bare_project.edit(
        models__demo__start__lowest=0.99, models__demo__start__max_draws=2, models__demo__student__num_steps=1
    )
    assert run(monkeypatch, "prepare") == 0
    capsys.readouterr()

    assert run(monkeypatch, "base") == 0

    assert " ".join(capsys.readouterr().err.split()).endswith(
        "the student was drawn 2 times, greedy accuracy on validation prompts 0.000, 0.000; "
        "none lies within 0.99 and 1.0, so the nearest is used"
    )


def test_evaluate_before_the_run_is_begun_exits_with_2(
    bare_project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    before = files(bare_project.root)

    assert run(monkeypatch, "evaluate", "--arm", "omniopd") == 2

    [line] = capsys.readouterr().err.splitlines()
    assert line == (
        "runs/omniopd-0/config.json: no such file; run `omniopd distill --arm omniopd --seed 0` first"
    )
    assert files(bare_project.root) == before


def test_evaluate_of_an_arm_that_does_not_exist_exits_with_2(
    bare_project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    before = files(bare_project.root)

    assert run(monkeypatch, "evaluate", "--arm", "omniopd-basline") == 2

    assert capsys.readouterr().err == (
        "params.yaml: arms.omniopd-basline: no such arm; did you mean 'omniopd-baseline'?\n"
    )
    assert files(bare_project.root) == before


def test_evaluate_before_the_run_is_finished_exits_with_2(
    bare_project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    params, layout = load_params(bare_project.params_file), Layout(bare_project.root)
    prepare(params, 0, layout)
    entries = {role: {"path": role, "digest": role} for role in ("student", "teacher")}
    write_json(layout.models(0) / "models.json", entries)
    start_run(params, "omniopd", 0, layout)
    before = files(bare_project.root)

    assert run(monkeypatch, "evaluate", "--arm", "omniopd") == 2

    assert capsys.readouterr().err == (
        "runs/omniopd-0: has no checkpoint of its last round (5); finish it first: "
        "omniopd distill --arm omniopd --seed 0\n"
    )
    assert files(bare_project.root) == before


@pytest.mark.parametrize(
    ("command", "remedy"),
    [
        ("compare", "omniopd evaluate --arm omniopd --seed 0"),
        ("table", "comparison.json: no such file; run `omniopd compare` first"),
    ],
)
def test_a_comparison_before_anything_is_evaluated_exits_with_2(
    bare_project: Project,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
    remedy: str,
):
    before = files(bare_project.root)

    assert run(monkeypatch, command) == 2

    [line] = capsys.readouterr().err.splitlines()
    assert remedy in line
    assert files(bare_project.root) == before
