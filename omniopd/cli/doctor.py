"""The command that examines the machine: what the library can see of it, and the server that flows would run on."""

import importlib.metadata
import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from flows.runtime.service import answers, running_server
from omniopd.command import PARAMS_FILE, ParamsFile
from omniopd.report.doctor import Finding, doctor_line, doctor_table

WAIT_S = 5.0


def doctor(
    params: ParamsFile = PARAMS_FILE,
    ask_teacher: Annotated[
        bool,
        typer.Option(
            "--teacher/--no-teacher", help="Ask a teacher behind an API one question, which it bills."
        ),
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Examine the machine, and what params.yaml names; say what to do about each thing that is wrong.

    Exits with 2 where something is.
    """
    from omniopd.preflight.doctor import examine

    findings = []
    with Console(stderr=True).status("looking") as status:
        for finding in chain(
            examine(params, ask_teacher=ask_teacher), [prefect_server(params.absolute().parent)]
        ):
            findings.append(finding)
            status.update(f"{finding.subject} was looked at")
    _tell(findings, as_json=as_json)
    if any(finding.state == "wrong" for finding in findings):
        raise typer.Exit(2)


def prefect_server(root: Path) -> Finding:
    """The server that PREFECT_API_URL names, or that `make server` started in root, or else one of the run's own."""
    version = importlib.metadata.version("prefect")
    if url := os.environ.get("PREFECT_API_URL"):
        if answers(url, within_s=WAIT_S):
            return Finding("Prefect", "ok", f"{version}; {url} answers")
        return Finding(
            "Prefect", "wrong", f"{version}; PREFECT_API_URL is {url}, where nothing answers",
            "start that server, or unset PREFECT_API_URL: a run then starts one of its own",
        )  # fmt: skip
    if url := running_server(root):
        return Finding("Prefect", "ok", f"{version}; {url}, of make server, answers")
    return Finding("Prefect", "ok", f"{version}; each run starts a server of its own")


def _tell(findings: Sequence[Finding], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings], indent=1))
        return
    console = Console()
    console.print(doctor_table(findings))
    console.print(doctor_line(findings), highlight=False, soft_wrap=True)
