"""The command line: its commands, its exit codes, and what stands on standard error."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from examples import tiny_model
from projects import REPOSITORY, Project, make_project
from typer import Context
from typer.core import TyperGroup
from typer.main import get_command

from flows import __main__ as flows_cli
from omniopd.cli import app as cli
from omniopd.cli.app import COMMANDS, STEPS, app
from omniopd.command import run as run_program
from omniopd.config import load_params
from omniopd.data.layout import Layout
from omniopd.data.prompts import read_prompts
from omniopd.data.store import write_json
from omniopd.inputs.prepare import prepare
from omniopd.rounds.start import start_run
from omniopd.training.pretrain import character_tokenizer, save_model

pytestmark = pytest.mark.usefixtures("restored_environment")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A tiny project without prompts or models; the commands run in its folder."""
    project = make_project(tmp_path)
    monkeypatch.chdir(project.root)
    return project.edit(arms={name: {"method": "omniopd"} for name in ("omniopd", "omniopd-baseline")})


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str, of: ModuleType = cli) -> int:
    """The exit code of a command, run in this process."""
    monkeypatch.setattr(sys, "argv", ["omniopd", *arguments])
    with pytest.raises(SystemExit) as caught:
        run_program(of.app)
    assert isinstance(caught.value.code, int)
    return caught.value.code


def start(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """A command as a user starts it."""
    environment = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


def omniopd(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return start(folder, str(Path(sys.executable).with_name("omniopd")), *arguments)


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


# --- what there is


def test_the_commands_are_these_in_this_order_and_no_others():
    assert COMMANDS == ("plan", "distill", "evaluate", "report", "prompts", "data", "reproduce", "doctor")
    assert STEPS == ("check", "resolve", "prepare", "base", "rates", "compare", "table")
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    assert group.list_commands(Context(group))[: len(COMMANDS)] == list(COMMANDS)
    assert set(group.commands) == {*COMMANDS, *STEPS}


def test_the_help_fits_one_screen_and_names_each_command(tmp_path: Path):
    environment = {**os.environ, "COLUMNS": "80", "TERMINAL_WIDTH": "80"}
    done = subprocess.run(
        [Path(sys.executable).with_name("omniopd"), "--help"], cwd=tmp_path, env=environment, capture_output=True,
        text=True, timeout=180, check=True,
    )  # fmt: skip

    lines = done.stdout.rstrip().splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    listed = [line.split()[1] for line in lines if line.startswith("│") and not line.startswith("│ --")]
    assert listed == list(COMMANDS)
    assert all(step in done.stdout for step in STEPS)


def test_the_flows_are_distill_and_sweep_beside_their_server_and_no_others():
    assert sorted(get_command(flows_cli.app).commands) == ["distill", "serve", "stop", "sweep"]


OPTIONS = {
    "distill": ["--arm", "--params", "--seed", "--set"],
    "doctor": ["--json", "--params", "--teacher"],
    "check": ["--params", "--resolved"],
    "plan": ["--arm", "--json", "--params", "--seed"],
    "prepare": ["--params", "--seed"],
    "resolve": ["--params"],
    "base": ["--params", "--seed"],
    "evaluate": [
        "--arm",
        "--file",
        "--json",
        "--max-new-tokens",
        "--model",
        "--num-items",
        "--num-samples",
        "--params",
        "--seed",
        "--set",
        "--suite",
        "--temperature",
    ],
    "compare": ["--arm", "--params", "--seed"],
    "rates": ["--params"],
    "table": ["--arm", "--params", "--seed"],
    "data": [],
    "prompts": [],
    "report": ["--compare", "--out", "--params", "--seed", "runs"],
    "reproduce": ["--into", "--params", "run"],
}


def test_the_commands_of_data_are_list_and_checkout_and_no_others():
    group = get_command(app).commands["data"]
    assert {
        name: sorted(option for parameter in command.params for option in parameter.opts)
        for name, command in group.commands.items()
    } == {"list": ["--json", "--params", "run"], "checkout": ["--into", "--params", "run"]}


def test_the_commands_of_prompts_are_show_and_report_and_no_others():
    group = get_command(app).commands["prompts"]
    assert {
        name: sorted(option for parameter in command.params for option in parameter.opts)
        for name, command in group.commands.items()
    } == {
        "show": ["--num", "--params", "--raw", "--seed", "--split"],
        "report": ["--params", "--seed"],
    }


def test_the_options_of_each_command_are_these_and_no_others():
    commands = get_command(app).commands

    assert {
        name: sorted(option for parameter in command.params for option in parameter.opts)
        for name, command in commands.items()
    } == OPTIONS


@pytest.mark.parametrize("command", OPTIONS)
def test_every_command_says_what_it_does(command: str):
    assert get_command(app).commands[command].help


# --- started as a user starts it


def test_check_resolved_prints_settings_that_give_the_same_run(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    assert run(monkeypatch, "check", "--resolved") == 0
    printed = project.root / "resolved.yaml"
    printed.write_text(capsys.readouterr().out)
    assert load_params(printed) == load_params(project.params_file)


def test_check_of_the_repository_prints_the_plan_and_exits_with_0(tmp_path: Path):
    done = omniopd(tmp_path, "check", "--params", str(REPOSITORY / "params.yaml"))

    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    for line, start_of_line in zip(lines, ["prompts   ", "student   ", "teacher   "], strict=False):
        assert line.startswith(start_of_line)
    params = load_params(REPOSITORY / "params.yaml")
    assert [line.split(" (")[0] for line in lines[3:]] == [
        *(f"arm       {arm}" for arm in params.arms),
        *(f"ablation  {arm}" for arm in params.ablations),
    ]
    assert files(tmp_path) == []


def test_a_misspelt_key_exits_with_2_and_one_line_and_writes_nothing(project: Project):
    project.edit(methods__omniopd__chunk_length=2)
    before = files(project.root)

    done = omniopd(project.root, "check")

    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == (
        "params.yaml: methods.omniopd.chunk_length: unknown key; did you mean 'chunk_len'?\n"
    )
    assert files(project.root) == before


def test_a_flow_of_an_arm_that_does_not_exist_exits_with_2_and_one_line_and_writes_nothing(project: Project):
    before = files(project.root)

    done = start(project.root, sys.executable, "-m", "flows", "distill", "--arm", "nope")

    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "params.yaml: arms.nope: no such arm; known are omniopd, omniopd-baseline\n"
    assert files(project.root) == before


# --- mistakes

STAGES = {
    "check": ["check"],
    "prepare": ["prepare"],
    "base": ["base"],
    "compare": ["compare"],
}


@pytest.mark.parametrize("arguments", STAGES.values(), ids=STAGES)
def test_every_stage_that_reads_params_refuses_a_mistake_before_it_writes(
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
):
    project.edit(train__lr=0)
    before = files(project.root)

    assert run(monkeypatch, *arguments) == 2

    out, err = capsys.readouterr()
    assert (out, err) == ("", "params.yaml: train.lr: 0 is not positive; give another value\n")
    assert files(project.root) == before


def test_two_mistakes_are_two_lines_on_standard_error(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    project.edit(train__lr=0, methods__omniopd__chunk_len=0)

    assert run(monkeypatch, "check") == 2
    assert sorted(capsys.readouterr().err.splitlines()) == [
        "params.yaml: methods.omniopd.chunk_len: 0 is not positive; the published value is 50",
        "params.yaml: train.lr: 0 is not positive; give another value",
    ]


def test_a_long_message_stays_one_line(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("COLUMNS", "40")
    project.edit(methods__omniopd__chunk_len=100, arms={"omniopd": {"method": "omniopd"}})

    assert run(monkeypatch, "check") == 2
    [line] = capsys.readouterr().err.splitlines()
    assert len(line) > 150


def test_a_message_is_printed_to_the_letter(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """Neither brackets nor a line number between colons is read as a sign for something else."""
    project.edit(prompts__source="[red]prompts.jsonl", models__student="x/y", teacher__model="x/y")
    (project.root / "[red]prompts.jsonl").write_text("\n" * 99 + "{}\n")

    assert run(monkeypatch, "check") == 2
    assert capsys.readouterr().err.startswith("[red]prompts.jsonl:100: has no field 'prompt'")


def test_a_missing_params_file_exits_with_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)

    assert run(monkeypatch, "check", "--params", "else.yaml") == 2
    assert capsys.readouterr().err == (
        "else.yaml: no such file; run in the folder that holds it, or pass --params\n"
    )


def test_warnings_stand_on_standard_error_and_the_plan_on_standard_output(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    project.edit_paths({"arms.omniopd.settings": {"beta": 0}})

    assert run(monkeypatch, "check") == 0

    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 5
    assert err.startswith("warning: params.yaml: arms.omniopd: beta is 0: ")
    assert "69.08 to 8.28" in err


def test_a_fault_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch):
    """Exit code 2 is for what the user can fix; anything else must not hide behind it."""

    def broken(_: Path) -> None:
        raise AssertionError("ours")

    monkeypatch.setattr("omniopd.preflight.check.check", broken)
    monkeypatch.setattr(sys, "argv", ["omniopd", "check"])

    with pytest.raises(AssertionError, match="ours"):
        cli.main()


# --- stages in order


def test_prepare_writes_the_prompts_of_the_seed_beside_params(
    project: Project, monkeypatch: pytest.MonkeyPatch
):
    assert run(monkeypatch, "prepare", "--seed", "3") == 0

    assert {"heldout.jsonl", "train.jsonl", "validation.jsonl"} <= set(files(project.root / "data/seed-3"))


def test_prompts_are_shown_as_the_student_reads_them(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    of_own(project)
    assert run(monkeypatch, "prepare") == 0
    assert "prompts.jsonl: 80 prompts, 20 of them repeat another's text" in capsys.readouterr().err

    assert run(monkeypatch, "prompts", "show", "--split", "heldout", "--num", "2") == 0
    shown = capsys.readouterr().out
    assert run(monkeypatch, "prompts", "show", "--split", "heldout", "--num", "2", "--raw") == 0
    raw = capsys.readouterr().out

    prompts = read_prompts(Layout(project.root).prompts(0, "heldout"))[:2]
    heads = [
        f"--- {prompt.id}: {len(prompt.prompt) + 3} tokens; answer {prompt.answer}" for prompt in prompts
    ]
    assert shown.splitlines() == [
        line
        for head, prompt in zip(heads, prompts, strict=True)
        for line in (head, f"<start>>{prompt.prompt};")
    ]
    assert raw == shown.replace("<start>>", "").replace(";\n", "\n")


def test_the_report_of_prompts_lists_what_was_found(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    of_own(project)
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


@pytest.mark.usefixtures("project")
def test_a_built_in_task_has_no_report_and_its_prompts_can_be_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    assert run(monkeypatch, "prepare") == 0

    assert run(monkeypatch, "prompts", "show", "--num", "1") == 0
    assert capsys.readouterr().out.startswith("--- train-00000: ")
    assert run(monkeypatch, "prompts", "report") == 2


def of_own(project: Project) -> None:
    """80 rows of 60 texts, of which one has no answer; and a student with a chat template."""
    rows = [{"id": f"q{i:02d}", "prompt": f"{i}+1=", "answer": str(i + 1)} for i in range(60)]
    del rows[0]["answer"]
    lines = "".join(json.dumps(row) + "\n" for row in [*rows, *rows[40:]])
    (project.root / "prompts.jsonl").write_text(lines)
    tokenizer = character_tokenizer("0123456789+=;>")
    tokenizer.chat_template = "{{ bos_token }}{% for m in messages %}>{{ m['content'] }};{% endfor %}"
    save_model(project.root / "student", tiny_model(tokenizer), tokenizer)
    project.edit(prompts__source="prompts.jsonl", prompts__num_validation=4, prompts__num_heldout=6)
    project.edit(models__student="student", teacher__model="student")


def test_base_before_prepare_exits_with_2(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    before = files(project.root)

    assert run(monkeypatch, "base") == 2

    assert capsys.readouterr().err == (
        "data/seed-0/student-examples.jsonl: no such file; run `omniopd prepare` first (dvc repro does)\n"
    )
    assert files(project.root) == before


def test_base_says_how_often_the_student_was_drawn_and_that_none_fits(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    project.edit(
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
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    before = files(project.root)

    assert run(monkeypatch, "evaluate", "--arm", "omniopd") == 2

    [line] = capsys.readouterr().err.splitlines()
    assert line == (
        "runs/omniopd-0/config.json: no such file; run `omniopd distill --arm omniopd --seed 0` first"
    )
    assert files(project.root) == before


def test_evaluate_of_an_arm_that_does_not_exist_exits_with_2(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    before = files(project.root)

    assert run(monkeypatch, "evaluate", "--arm", "omniopd-basline") == 2

    assert capsys.readouterr().err == (
        "params.yaml: arms.omniopd-basline: no such arm; did you mean 'omniopd-baseline'?\n"
    )
    assert files(project.root) == before


def test_evaluate_before_the_run_is_finished_exits_with_2(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    params, layout = load_params(project.params_file), Layout(project.root)
    prepare(params, 0, layout)
    entries = {role: {"path": role, "digest": role} for role in ("student", "teacher")}
    write_json(layout.models(0) / "models.json", entries)
    start_run(params, "omniopd", 0, layout)
    before = files(project.root)

    assert run(monkeypatch, "evaluate", "--arm", "omniopd") == 2

    assert capsys.readouterr().err == (
        "runs/omniopd-0: has no checkpoint of its last round (5); finish it first: "
        "omniopd distill --arm omniopd --seed 0\n"
    )
    assert files(project.root) == before


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("compare", "omniopd evaluate --arm omniopd --seed 0"),
        ("table", "comparison.json: no such file; run `omniopd compare` first"),
    ],
)
def test_a_comparison_before_anything_is_evaluated_exits_with_2(
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
    said: str,
):
    before = files(project.root)

    assert run(monkeypatch, command) == 2

    [line] = capsys.readouterr().err.splitlines()
    assert said in line
    assert files(project.root) == before


# --- the flow

REFUSED_FLOWS = {
    "an arm that does not exist": (
        {},
        ["--arm", "omniopd-basline"],
        "params.yaml: arms.omniopd-basline: no such arm; did you mean 'omniopd-baseline'?",
    ),
    "a mistake in params": (
        {"methods.omniopd.chunk_len": 0},
        ["--arm", "omniopd"],
        "params.yaml: methods.omniopd.chunk_len: 0 is not positive; the published value is 50",
    ),
}


@pytest.mark.parametrize(("edits", "arguments", "message"), REFUSED_FLOWS.values(), ids=REFUSED_FLOWS)
def test_a_flow_that_cannot_start_starts_no_server_and_makes_no_folder(
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    edits: dict[str, object],
    arguments: list[str],
    message: str,
):
    def no_server(*command: object, **_: object) -> None:
        raise AssertionError(f"started {command}")

    monkeypatch.setattr(subprocess, "Popen", no_server)
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    project.edit_paths(edits)
    before = files(project.root)

    assert run(monkeypatch, "distill", *arguments, of=flows_cli) == 2

    out, err = capsys.readouterr()
    assert (out, err) == ("", f"{message}\n")
    assert files(project.root) == before
