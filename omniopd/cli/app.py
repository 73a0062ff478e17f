"""The `omniopd` command."""

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from flows.__main__ import distill
from omniopd import __version__
from omniopd.cli import data, evaluate, export, prompts, report, steps
from omniopd.cli.doctor import doctor
from omniopd.cli.init import init
from omniopd.command import run

# In the order of use.
COMMANDS = (
    "init",
    "plan",
    "distill",
    "evaluate",
    "report",
    "export",
    "prompts",
    "data",
    "reproduce",
    "doctor",
)
STEPS = ("check", "resolve", "prepare", "base", "rates", "compare", "table")


class InOrder(TyperGroup):
    """A group that lists its commands in the order of COMMANDS, then of STEPS."""

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(super().list_commands(ctx), key=(*COMMANDS, *STEPS).index)


app = typer.Typer(
    cls=InOrder,
    help="On-policy distillation from a teacher that only answers text.",
    epilog=f"Steps of the pipeline, which dvc repro calls: {', '.join(STEPS)}; each has --help.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def print_version(asked: bool) -> None:
    """Print the version and end, if it was asked for."""
    if asked:
        typer.echo(f"omniopd {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options of no command."""
    del version


app.add_typer(steps.app)
app.add_typer(data.data, name="data", short_help="The data that runs were trained on, as recorded in MLflow.")
app.add_typer(prompts.prompts, name="prompts", short_help="Show the prompts as the student reads them.")
app.command(short_help="Start a project in a folder, from a recipe.")(init)
app.command(short_help="Distil one arm with one seed; resume where it stopped.")(distill)
app.command(short_help="Measure a run or any model: held-out prompts, benchmarks.")(evaluate.evaluate)
app.command(short_help="Repeat a run from MLflow, and compare its digests.")(data.reproduce)
app.command(short_help="Write a run, or a comparison, as one HTML page.")(report.report)
app.command(short_help="Write a run as a model to load, share and push.")(export.export)
app.command(short_help="Check this machine and params.yaml, with remedies.")(doctor)


def main() -> None:
    """The command."""
    run(app)
