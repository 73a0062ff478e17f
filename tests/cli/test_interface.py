"""The commands, their options, and their help."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer import Context
from typer.core import TyperGroup
from typer.main import get_command

from flows import __main__ as flows_cli
from omniopd import __version__
from omniopd.cli.app import COMMANDS, STEPS, app

pytestmark = pytest.mark.usefixtures("restored_environment")


def test_the_commands_are_these_in_this_order_and_no_others():
    assert " ".join(COMMANDS) == "init plan distill evaluate report export prompts data reproduce doctor"
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
    assert len(lines) <= 30
    assert max(map(len, lines)) <= 80
    first = next(number for number, line in enumerate(lines) if "Commands" in line)
    listed = [line.split()[1] for line in lines[first:] if line.startswith("│")]
    assert listed == list(COMMANDS)
    assert all(step in done.stdout for step in STEPS)


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        app(["--version"])
    assert (ended.value.code, capsys.readouterr().out) == (0, f"omniopd {__version__}\n")


def test_the_flows_are_distill_and_sweep_with_their_server_and_no_others():
    assert sorted(get_command(flows_cli.app).commands) == ["distill", "serve", "stop", "sweep"]


OPTIONS = {
    "init": ["--prompts", "--recipe", "--student", "--teacher", "folder"],
    "distill": ["--arm", "--params", "--seed", "--set"],
    "doctor": ["--json", "--params", "--teacher"],
    "check": ["--params", "--resolved", "--self-test"],
    "plan": ["--arm", "--json", "--num-prompts", "--params", "--seed"],
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
    "export": ["--data", "--merge", "--out", "--params", "--private", "--push", "--round", "--seed", "run"],
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
        "show": ["--num", "--params", "--raw", "--seed", "--split", "--teacher"],
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
