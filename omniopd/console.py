"""What the commands share: the option that names params.yaml, and lines on standard error."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from omniopd.redaction import redacted

ParamsFile = Annotated[Path, typer.Option("--params", help="The file of settings; results lie beside it.")]
PARAMS_FILE = Path("params.yaml")


def warn(lines: list[str]) -> None:
    """Print warnings on standard error."""
    console = Console(stderr=True, soft_wrap=True, emoji=False)
    for line in lines:
        console.print(f"warning: {redacted(line)}", markup=False, highlight=False, style="yellow")


def say(line: str) -> None:
    """Print a line on standard output, as it is."""
    Console(soft_wrap=True, emoji=False).print(redacted(line), markup=False, highlight=False)
