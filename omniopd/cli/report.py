"""The command that writes the report of a run, or of a comparison."""

from pathlib import Path
from typing import Annotated

import typer

from omniopd.command import PARAMS_FILE, ParamsFile, say
from omniopd.errors import ConfigError


def report(
    runs: Annotated[
        list[str],
        typer.Argument(metavar="RUN", help="A run as runs/ names it, its path, or an arm with --seed."),
    ],
    compare: Annotated[
        bool,
        typer.Option("--compare", help="One page of several evaluated runs: held-out prompts and the table."),
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of an arm.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="The file; reports/RUN.html or comparison.html where none is given.")
    ] = None,
    params: ParamsFile = PARAMS_FILE,
) -> None:
    """Write a run as one HTML file: curves, spend, alarms, and every response with what the teacher said of it."""
    from omniopd.data.layout import Layout
    from omniopd.report.gather import find_run, write_comparison, write_report

    if len(runs) > 1 and not compare:
        raise ConfigError(
            f"{' '.join(runs)}: a report is of one run; give one, or compare them with --compare"
        )
    found = [find_run(run, Layout(params.parent), seed=seed) for run in runs]
    path = (
        write_comparison(found, against=_against(params), out=out) if compare else write_report(found[0], out)
    )
    say(f"{path}: {path.stat().st_size / 1e6:.1f} MB")


def _against(params: Path) -> str | None:
    """The arm that others are compared with; none where the runs lie without their params.yaml."""
    from omniopd.config import load_params

    return load_params(params).comparison.against if params.is_file() else None
