"""The command that writes the report of a run, or of a comparison."""

from pathlib import Path
from typing import Annotated

import typer

from omniopd.command import PARAMS_FILE, ParamsFile, say
from omniopd.data.layout import Layout
from omniopd.errors import ConfigError


def report(
    runs: Annotated[
        list[str],
        typer.Argument(metavar="RUN", help="A directory name in runs/, its path, or an arm with --seed."),
    ],
    compare: Annotated[
        bool,
        typer.Option("--compare", help="One page of several evaluated runs: held-out prompts and the table."),
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="The seed of an arm.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="The file (default: reports/RUN.html or comparison.html).")
    ] = None,
    params: ParamsFile = PARAMS_FILE,
) -> None:
    """Write a run as one HTML file: curves, cost, alarms, and every response with the teacher's replies."""
    from omniopd.config import load_params
    from omniopd.report.gather import find_run, write_comparison, write_report

    if len(runs) > 1 and not compare:
        raise ConfigError(
            f"{' '.join(runs)}: a report shows one run; give one, or compare them with --compare"
        )
    run_dirs = [find_run(run, Layout(params.parent), seed=seed) for run in runs]
    if compare:  # runs that were copied elsewhere come without params.yaml
        against = load_params(params).comparison.against if params.is_file() else None
        path = write_comparison(run_dirs, against=against, out=out)
    else:
        path = write_report(run_dirs[0], out)
    say(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
