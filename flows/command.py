"""The `omniopd` command: the library's commands, and those that Prefect has a part in."""

from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperGroup

from flows.__main__ import distill
from flows.doctor import doctor
from omniopd import cli

# In the order in which they are needed.
COMMANDS = ("plan", "distill", "evaluate", "report", "prompts", "data", "reproduce", "doctor")
STEPS = ("check", "prepare", "base", "rates", "compare", "table")


class InOrder(TyperGroup):
    """A group that lists its commands in the order of COMMANDS, and those that are not there after them."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Their names."""
        return sorted(super().list_commands(ctx), key=_place)


app = typer.Typer(
    cls=InOrder,
    help="On-policy distillation from a teacher that only answers text.",
    epilog=f"Steps of the pipeline, which dvc repro calls: {', '.join(STEPS)}; each has --help.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(cli.app)
app.command(short_help="Distil one arm with one seed; go on where it stands.")(distill)
app.command(short_help="Say what is wrong here, and what to do about it.")(doctor)


def main() -> None:
    """The command."""
    cli.run(app)


def _place(name: str, order: Sequence[str] = COMMANDS) -> int:
    return order.index(name) if name in order else len(order)
