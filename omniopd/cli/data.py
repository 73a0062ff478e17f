"""The commands that start from a run in MLflow: its data, and the run itself once more."""

import json
from pathlib import Path
from typing import Annotated

import typer

from omniopd.command import PARAMS_FILE, ParamsFile, say, warn
from omniopd.errors import DataError

data = typer.Typer(no_args_is_help=True)

RunName = Annotated[
    str,
    typer.Argument(
        metavar="RUN", help="An id of MLflow, its beginning, or arm-seed for the latest such run."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="For programs.")]


@data.callback()
def about() -> None:
    """The data that runs were trained on, by what MLflow recorded of it."""


@data.command("list")
def list_runs(
    run: Annotated[str | None, typer.Argument(metavar="[RUN]", help="The files of this run.")] = None,
    params: ParamsFile = PARAMS_FILE,
    as_json: AsJson = False,
) -> None:
    """The runs that MLflow knows; or of one run the files of each round, and where they can be had."""
    from omniopd.config import load_params
    from omniopd.data.layout import Layout
    from omniopd.report.archive import files_table, runs_table
    from omniopd.tracking import Lookup, archive
    from omniopd.versions import Store

    lookup = Lookup(load_params(params).tracking)
    if run is None:
        rows = [archive.as_json(found) for found in lookup.runs()]
    else:
        name, round_ = _named(run)
        found, layout = lookup.find(name), Layout(params.parent)
        located = archive.locate(found, layout, Store(layout.root), round_=round_)
        rows = archive.as_json(found, located)
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
    elif isinstance(rows, list):
        say(runs_table(rows))
    else:
        say(files_table(rows))


@data.command()
def checkout(
    run: Annotated[str, typer.Argument(metavar="RUN[/ROUND]", help="As of `list`; one round, or all.")],
    into: Annotated[Path | None, typer.Option(help="The folder; checkout/RUN where none is given.")] = None,
    params: ParamsFile = PARAMS_FILE,
) -> None:
    """Write the trajectories, verdicts and rewards that a run was trained on, to the byte."""
    from omniopd.config import load_params
    from omniopd.data.layout import Layout
    from omniopd.tracking import Lookup, archive
    from omniopd.versions import Store

    name, round_ = _named(run)
    found, layout = Lookup(load_params(params).tracking).find(name), Layout(params.parent)
    target = into or layout.checkout(found.short_id)
    located = archive.checkout(found, layout, Store(layout.root), target, round_=round_)
    say(f"{len(located)} files of run {found.short_id} ({found.name}) are in {target}")


def reproduce(
    run: RunName,
    into: Annotated[Path | None, typer.Option(help="The folder; reproduced/RUN where none is given.")] = None,
    params: ParamsFile = PARAMS_FILE,
) -> None:
    """Make a run again from what MLflow recorded of it, and compare digest by digest; go on where that stands."""
    from omniopd.config import load_params
    from omniopd.data.layout import Layout
    from omniopd.report.archive import compared_table
    from omniopd.tracking import Lookup
    from omniopd.tracking import reproduce as again

    lookup, layout = Lookup(load_params(params).tracking), Layout(params.parent)
    found = lookup.find(run)
    differences = again.code_differences(found, layout.root)
    warn(differences)
    target = into or layout.reproduced(found.short_id)
    say(f"run {found.short_id} ({found.name}) is made again in {target}")
    compared = again.reproduce(found, lookup, layout.root, target)
    say(compared_table(compared))
    again.check_same(found, compared, differences)


def _named(run: str) -> tuple[str, int | None]:
    """A run's name, and the number of a round where one is given."""
    name, slash, round_ = run.partition("/")
    if slash and not round_.isdecimal():
        raise DataError(
            f"{run}: {round_!r} is no number of a round; write RUN or RUN/ROUND, such as {name}/7"
        )
    return name, int(round_) if slash else None
