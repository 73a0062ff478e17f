"""The commands that show prompts as the student reads them, and the findings in their source."""

from typing import Annotated, Any, Literal

import typer

from omniopd.command import PARAMS_FILE, ParamsFile, Seed, say
from omniopd.data.layout import Layout
from omniopd.errors import DataError

prompts = typer.Typer(no_args_is_help=True, help="The prompts that `omniopd prepare` wrote.")


@prompts.command()
def show(
    seed: Seed = None,
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
    from omniopd.data.prompts import read_prompts
    from omniopd.inputs.base import planned_chat
    from omniopd.teachers.briefing import briefing_of

    loaded = load_params(params)
    seed = loaded.seeds[0] if seed is None else seed
    layout = _layout_with(params, seed)
    briefing, chat = briefing_of(loaded.teacher), planned_chat(loaded, seed, layout, "student")
    for prompt in read_prompts(layout.prompts(seed, split))[:num]:
        [ids] = chat.encode([prompt.messages])
        head = [f"--- {prompt.id}: {len(ids):,} tokens"]
        head += [f"answer {prompt.answer}"] if prompt.answer is not None else []
        head += ["with tests"] if prompt.tests is not None else []
        say("; ".join(head))
        messages = briefing.messages(prompt) if teacher else prompt.messages
        text = str(chat.tokenizer.decode(ids, clean_up_tokenization_spaces=False))
        say(transcript(messages) if raw or teacher else text)


@prompts.command()
def report(seed: Seed = None, params: ParamsFile = PARAMS_FILE) -> None:
    """Count the repeated, unusable, too long, unanswered and overlapping prompts of the source."""
    from omniopd.config import builtin_task, load_params
    from omniopd.data.store import read_json
    from omniopd.report.prompts import report_lines

    loaded = load_params(params)
    if task := builtin_task(loaded):
        raise DataError(
            f"{params}: {task} is a built-in task, whose prompts are generated, so there is no report"
        )
    seed = loaded.seeds[0] if seed is None else seed
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
