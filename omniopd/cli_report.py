"""The command that writes the report of a run."""

from pathlib import Path
from typing import Annotated

import typer

from omniopd.console import PARAMS_FILE, ParamsFile, say


def report(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="A run as runs/ names it, its path, or an arm with --seed.")
    ],
    seed: Annotated[int, typer.Option(min=0, help="Of an arm.")] = 0,
    out: Annotated[Path | None, typer.Option(help="The file; reports/RUN.html where none is given.")] = None,
    params: ParamsFile = PARAMS_FILE,
) -> None:
    """Write a run as one HTML file: curves, spend, alarms, and every response with what the teacher said of it."""
    from omniopd.data.layout import Layout
    from omniopd.stages.report import find_run, write_report

    path = write_report(find_run(run, Layout(params.parent), seed=seed), out)
    say(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
