"""What the commands share: their options, and how they end.

Exit codes: 0 done; 2 an error that the user can fix, in one line; 1 a fault of this program.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from omniopd.data.disk import naming
from omniopd.errors import OmniOPDError
from omniopd.garbage import look_seldom
from omniopd.redaction import redacted

Seed = Annotated[int, typer.Option(min=0, help="One of `seeds` in params.yaml.")]
Arm = Annotated[str, typer.Option(help="One of `arms` in params.yaml.")]
Arms = Annotated[
    list[str] | None, typer.Option("--arm", help="Of these arms alone; may be given several times.")
]
Seeds = Annotated[
    list[int] | None, typer.Option("--seed", help="Of these seeds alone; may be given several times.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="A setting that this run has otherwise, as path=value; may be given several times."
    ),
]


def run(program: Callable[[], object]) -> None:
    """Run a program; an error that the user can fix is printed without a traceback, and ends it with status 2."""
    _quieten()
    look_seldom()
    try:
        with naming(Path.cwd()):
            program()
    except OmniOPDError as error:
        Console(stderr=True, soft_wrap=True, emoji=False).print(
            redacted(str(error)), markup=False, highlight=False, style="red"
        )
        sys.exit(2)


def _quieten() -> None:
    """Keep the libraries' own bars and notices off the screen; the user's own settings win."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
