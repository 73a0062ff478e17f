"""The commands that show prompts as the student reads them, and the findings in their source."""

from typing import Annotated, Any, Literal

import typer

from omniopd.command import PARAMS_FILE, ParamsFile, Seed, say
from omniopd.data.layout import Layout
from omniopd.errors import DataError

prompts = typer.Typer(no_args_is_help=True)


@prompts.callback()
def about() -> None:
    """The prompts that `omniopd prepare` wrote."""


@prompts.command()
def show(
    seed: Seed = 0,
    split: Annotated[Literal["train", "validation", "heldout"], typer.Option(help="The split.")] = "train",
    num: Annotated[int, typer.Option(min=1, help="Number of prompts.")] = 3,
    raw: Annotated[bool, typer.Option("--raw", help="Without the chat template.")] = False,
    teacher: Annotated[
        bool, typer.Option("--teacher", help="The messages as the teacher reads them, with context and hint.")
    ] = False,
    params: ParamsFile = PARAMS_FILE,
) -> None:
    """Show prompts exactly as the student reads them: chat template, special tokens, number of tokens."""
    from omniopd.config import load_params
    from omniopd.data.conversation import transcript
    from omniopd.preflight.show import show as shown
    from omniopd.teachers.briefing import briefing_of

    loaded = load_params(params)
    briefing = briefing_of(loaded.teacher)
    for entry in shown(loaded, seed, split, _layout_with(params, seed), num=num):
        answer, tests = entry.prompt.answer, entry.prompt.tests
        head = [f"--- {entry.prompt.id}: {entry.num_tokens:,} tokens"]
        head += [f"answer {answer}"] if answer is not None else []
        head += ["with tests"] if tests is not None else []
        say("; ".join(head))
        messages = briefing.messages(entry.prompt) if teacher else entry.prompt.messages
        say(transcript(messages) if raw or teacher else entry.text)


@prompts.command()
def report(seed: Seed = 0, params: ParamsFile = PARAMS_FILE) -> None:
    """Count the repeated, unusable, too long, unanswered and overlapping prompts of the source."""
    from omniopd.config import builtin_task, load_params
    from omniopd.data.store import read_json
    from omniopd.report.prompts import report_lines

    if task := builtin_task(load_params(params)):
        raise DataError(
            f"{params}: {task} is a built-in task, whose prompts are generated, so there is no report"
        )
    for line in report_lines(read_json(_layout_with(params, seed).prompt_report(seed), like=dict[str, Any])):
        say(line)


def _layout_with(params: ParamsFile, seed: int):
    """The layout of a project whose prompts of the seed exist."""
    layout = Layout(params.parent)
    if not layout.prompts(seed, "train").exists():
        raise DataError(
            f"{layout.prompts(seed, 'train')}: no such file; run `omniopd prepare --seed {seed}` first"
        )
    return layout
