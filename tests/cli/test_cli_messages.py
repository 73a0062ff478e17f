"""Exit codes, messages on standard error, and mistakes that stop a command before it writes."""

import subprocess
import sys
from pathlib import Path

import pytest
from commands import files, omniopd, run, start
from projects import REPOSITORY, Project

from flows import __main__ as flows_cli
from omniopd.cli import app as cli
from omniopd.config import load_params

pytestmark = pytest.mark.usefixtures("restored_environment")

# --- started as a user starts it


def test_check_resolved_prints_settings_that_give_the_same_run(
    bare_project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    assert run(monkeypatch, "check", "--resolved") == 0
    printed = bare_project.root / "resolved.yaml"
    printed.write_text(capsys.readouterr().out)
    assert load_params(printed) == load_params(bare_project.params_file)


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


def test_a_misspelt_key_exits_with_2_and_one_line_and_writes_nothing(bare_project: Project):
    bare_project.edit(methods__omniopd__chunk_length=2)
    before = files(bare_project.root)

    done = omniopd(bare_project.root, "check")

    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == (
        "params.yaml: methods.omniopd.chunk_length: unknown key; did you mean 'chunk_len'?\n"
    )
    assert files(bare_project.root) == before


def test_a_flow_of_an_arm_that_does_not_exist_exits_with_2_and_one_line_and_writes_nothing(
    bare_project: Project,
):
    before = files(bare_project.root)

    done = start(bare_project.root, sys.executable, "-m", "flows", "distill", "--arm", "nope")

    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "params.yaml: arms.nope: no such arm; known are omniopd, omniopd-baseline\n"
    assert files(bare_project.root) == before


# --- mistakes

STAGES = {
    "check": ["check"],
    "prepare": ["prepare"],
    "base": ["base"],
    "compare": ["compare"],
}


@pytest.mark.parametrize("arguments", STAGES.values(), ids=STAGES)
def test_every_stage_that_reads_params_refuses_a_mistake_before_it_writes(
    bare_project: Project,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
):
    bare_project.edit(train__lr=0)
    before = files(bare_project.root)

    assert run(monkeypatch, *arguments) == 2

    out, err = capsys.readouterr()
    assert (out, err) == ("", "params.yaml: train.lr: 0 is not positive; give another value\n")
    assert files(bare_project.root) == before


def test_two_mistakes_are_two_lines_on_standard_error(
    bare_project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    bare_project.edit(train__lr=0, methods__omniopd__chunk_len=0)

    assert run(monkeypatch, "check") == 2
    assert sorted(capsys.readouterr().err.splitlines()) == [
        "params.yaml: methods.omniopd.chunk_len: 0 is not positive; the published value is 50",
        "params.yaml: train.lr: 0 is not positive; give another value",
    ]


def test_a_long_message_stays_one_line(
    bare_project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("COLUMNS", "40")
    bare_project.edit(methods__omniopd__chunk_len=100, arms={"omniopd": {"method": "omniopd"}})

    assert run(monkeypatch, "check") == 2
    [line] = capsys.readouterr().err.splitlines()
    assert len(line) > 150


def test_a_message_is_printed_to_the_letter(
    bare_project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """Neither brackets nor a line number between colons is read as a sign for something else."""
    bare_project.edit(prompts__source="[red]prompts.jsonl", models__student="x/y", teacher__model="x/y")
    (bare_project.root / "[red]prompts.jsonl").write_text("\n" * 99 + "{}\n")

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


def test_warnings_go_to_standard_error_and_the_plan_to_standard_output(
    bare_project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    bare_project.edit_paths({"arms.omniopd.settings": {"beta": 0}})

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
    bare_project: Project,
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
    bare_project.edit_paths(edits)
    before = files(bare_project.root)

    assert run(monkeypatch, "distill", *arguments, of=flows_cli) == 2

    out, err = capsys.readouterr()
    assert (out, err) == ("", f"{message}\n")
    assert files(bare_project.root) == before
