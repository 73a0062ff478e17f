"""The commands that start from a run in MLflow: list and check out its data, or repeat the run."""

import json
from pathlib import Path
from typing import Annotated

import typer

from omniopd.command import PARAMS_FILE, ParamsFile, say, warn
from omniopd.data.layout import Layout
from omniopd.errors import DataError

data = typer.Typer(no_args_is_help=True, help="The data that runs were trained on, as recorded in MLflow.")


@data.command("list")
def list_runs(
    run: Annotated[str | None, typer.Argument(metavar="[RUN]", help="The files of this run.")] = None,
    params: ParamsFile = PARAMS_FILE,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the runs in MLflow; or the files of each round of one run, and where they are available."""
    from omniopd.config import load_params
    from omniopd.report.archive import files_table, runs_table
    from omniopd.tracking import archive
    from omniopd.tracking.lookup import Lookup
    from omniopd.versions import Store

    lookup = Lookup(load_params(params).tracking)
    if run is None:
        listing = [archive.as_json(tracked) for tracked in lookup.runs()]
    else:
        name, round_ = _name_and_round(run)
        tracked, layout = lookup.find(name), Layout(params.parent)
        located = archive.locate(tracked, layout, Store(layout.root), round_=round_)
        listing = archive.as_json(tracked, located)
    if as_json:
        typer.echo(json.dumps(listing, indent=1))
    else:
        say(runs_table(listing) if isinstance(listing, list) else files_table(listing))


@data.command()
def checkout(
    run: Annotated[str, typer.Argument(metavar="RUN[/ROUND]", help="A run of `list`, or one of its rounds.")],
    into: Annotated[Path | None, typer.Option(help="The directory (default: checkout/RUN).")] = None,
    params: ParamsFile = PARAMS_FILE,
) -> None:
    """Write the trajectories, verdicts and rewards that a run was trained on, byte for byte."""
    from omniopd.config import load_params
    from omniopd.tracking import archive
    from omniopd.tracking.lookup import Lookup
    from omniopd.versions import Store

    name, round_ = _name_and_round(run)
    tracked, layout = Lookup(load_params(params).tracking).find(name), Layout(params.parent)
    target = into or layout.checkout(tracked.short_id)
    located = archive.checkout(tracked, layout, Store(layout.root), target, round_=round_)
    say(f"{len(located)} files of run {tracked.short_id} ({tracked.name}) are in {target}")


def reproduce(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN", help="MLflow's run id, a prefix of it, or arm-seed for the latest such run."
        ),
    ],
    into: Annotated[Path | None, typer.Option(help="The directory (default: reproduced/RUN).")] = None,
    params: ParamsFile = PARAMS_FILE,
) -> None:
    """Repeat a run from its record in MLflow, and compare their digests; resume where it stopped."""
    from omniopd.config import load_params
    from omniopd.report.archive import compared_table
    from omniopd.tracking import reproduce as reproduction
    from omniopd.tracking.lookup import Lookup

    lookup, layout = Lookup(load_params(params).tracking), Layout(params.parent)
    tracked = lookup.find(run)
    differences = reproduction.code_differences(tracked, layout.root)
    warn(*differences)
    target = into or layout.reproduced(tracked.short_id)
    say(f"run {tracked.short_id} ({tracked.name}) is repeated in {target}")
    compared = reproduction.reproduce(tracked, lookup, layout.root, target)
    say(compared_table(compared))
    reproduction.check_same(tracked, compared, differences)


def _name_and_round(run: str) -> tuple[str, int | None]:
    name, slash, round_ = run.partition("/")
    if slash and not round_.isdecimal():
        raise DataError(
            f"{run}: {round_!r} is not the number of a round; write RUN or RUN/ROUND, such as {name}/7"
        )
    return name, int(round_) if slash else None
