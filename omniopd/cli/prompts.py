"""The commands that look at prompts: as the student reads them, and what was found in their source."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from omniopd.command import PARAMS_FILE, ParamsFile, say
from omniopd.errors import DataError

prompts = typer.Typer(no_args_is_help=True)

Seed = Annotated[int, typer.Option(min=0, help="One of `seeds` in params.yaml.")]


class Split(StrEnum):
    """The splits that `prepare` writes."""

    train = "train"
    validation = "validation"
    heldout = "heldout"


@prompts.callback()
def about() -> None:
    """The prompts that `omniopd prepare` wrote."""


@prompts.command()
def show(
    seed: Seed = 0,
    split: Annotated[Split, typer.Option(help="Of which split.")] = Split.train,
    num: Annotated[int, typer.Option(min=1, help="How many, from the first.")] = 3,
    raw: Annotated[bool, typer.Option("--raw", help="Without the chat template.")] = False,
    params: ParamsFile = PARAMS_FILE,
) -> None:
    """Prompts to the character as the student reads them: chat template, special tokens, number of tokens."""
    from omniopd.config import load_params
    from omniopd.preflight.show import show as shown

    layout = _layout_with(params, seed)
    for one in shown(load_params(params), seed, split, layout, num=num):
        known = [f"answer {one.prompt.answer}"] if one.prompt.answer is not None else []
        known += ["with tests"] if one.prompt.tests is not None else []
        say("; ".join([f"--- {one.prompt.id}: {one.num_tokens:,} tokens", *known]))
        say(one.prompt.prompt if raw else one.text)


@prompts.command()
def report(seed: Seed = 0, params: ParamsFile = PARAMS_FILE) -> None:
    """What was found in the source of the prompts: repeated, unusable, too long, without answer, overlapping."""
    from omniopd.config import builtin_task, load_params
    from omniopd.data.store import read_json
    from omniopd.report.prompts import report_lines

    if task := builtin_task(load_params(params)):
        raise DataError(
            f"{params}: {task} is a built-in task, whose prompts are made, so that there is no report"
        )
    for line in report_lines(read_json(_layout_with(params, seed).prompt_report(seed), like=dict[str, Any])):
        say(line)


def _layout_with(params: ParamsFile, seed: int):
    """The layout, where the prompts of the seed are there."""
    from omniopd.data.layout import Layout

    layout = Layout(params.parent)
    if not layout.prompts(seed, "train").exists():
        raise DataError(
            f"{layout.prompts(seed, 'train')}: no such file; run `omniopd prepare --seed {seed}` first"
        )
    return layout
