"""The command that checks the machine, and the Prefect server that flows would run on."""

import importlib.metadata
import json
import os
from dataclasses import asdict
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
            "--teacher/--no-teacher", help="Send a teacher behind an API one question, which it bills."
        ),
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check the machine and everything that params.yaml names, and print a remedy for each problem.

    Exits with 2 if something is wrong.
    """
    from omniopd.preflight.doctor import examine

    findings = []
    with Console(stderr=True).status("checking") as status:
        for finding in examine(params, ask_teacher=ask_teacher):
            findings.append(finding)
            status.update(f"checked {finding.subject}")
        findings.append(prefect_server(params.absolute().parent))
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings], indent=1))
    else:
        console = Console()
        console.print(doctor_table(findings))
        console.print(doctor_line(findings), highlight=False, soft_wrap=True)
    if any(finding.state == "wrong" for finding in findings):
        raise typer.Exit(2)


def prefect_server(root: Path) -> Finding:
    """The server of PREFECT_API_URL, or of `make server` in root, or else an embedded one per run."""
    version = importlib.metadata.version("prefect")
    if url := os.environ.get("PREFECT_API_URL"):
        if answers(url, within_s=WAIT_S):
            return Finding("Prefect", "ok", f"{version}; {url} answers")
        return Finding(
            "Prefect", "wrong", f"{version}; PREFECT_API_URL is {url}, which does not answer",
            "start that server, or unset PREFECT_API_URL: a run then starts an embedded one",
        )  # fmt: skip
    if url := running_server(root):
        return Finding("Prefect", "ok", f"{version}; {url} of make server answers")
    return Finding("Prefect", "ok", f"{version}; each run starts an embedded server")
