"""What the commands share: their options, what they print, how they end, and the seconds that they took.

Exit codes: 0 done; 2 an error that the user can fix, in one line; 1 a bug in this program.
"""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from omniopd.data.disk import naming
from omniopd.errors import OmniOPDError
from omniopd.garbage import collect_rarely
from omniopd.redaction import redacted

_STARTED = time.monotonic()

PARAMS_FILE = Path("params.yaml")
ParamsFile = Annotated[Path, typer.Option("--params", help="Settings file; results are written next to it.")]
Seed = Annotated[int | None, typer.Option(min=0, help="One of `seeds` in params.yaml (default: the first).")]
Arm = Annotated[str | None, typer.Option(help="One of `arms` in params.yaml (default: the only one).")]
Arms = Annotated[list[str] | None, typer.Option("--arm", help="Only these arms; may be given several times.")]
Seeds = Annotated[
    list[int] | None, typer.Option("--seed", help="Only these seeds; may be given several times.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="A setting to override for this run, as path=value; may be given several times."
    ),
]


def run(program: Callable[[], object]) -> None:
    """Run a program; an error that the user can fix is printed without a traceback, and ends it with status 2."""
    # Keep the libraries' own bars and notices off the screen; the user's own settings win.
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    collect_rarely()
    try:
        with naming(Path.cwd()):
            program()
    except OmniOPDError as error:
        _print(str(error), style="red", stderr=True)
        sys.exit(2)


def say(line: str) -> None:
    """Print a line on standard output, as it is."""
    _print(line)


def note(line: str) -> None:
    """Print a line on standard error, as it is."""
    _print(line, stderr=True)


def warn(*lines: str) -> None:
    """Print warnings on standard error."""
    for line in lines:
        _print(f"warning: {line}", style="yellow", stderr=True)


def clock(stage: str, params: Path) -> None:
    """Record the seconds that this process has taken for a stage, for the table of where time went."""
    from omniopd.data.layout import Layout
    from omniopd.data.store import write_json

    write_json(Layout(params.parent).seconds(stage), {"seconds": round(time.monotonic() - _STARTED, 1)})


def _print(line: str, *, style: str | None = None, stderr: bool = False) -> None:
    console = Console(stderr=stderr, soft_wrap=True, emoji=False)
    console.print(redacted(line), markup=False, highlight=False, style=style)
