"""prepare: prompts, split, one JSONL file a split."""

import random
from collections.abc import Sequence
from itertools import islice

from omniopd import __version__
from omniopd.config import Params, builtin_task
from omniopd.data.layout import Layout
from omniopd.data.prompts import Prompt, read_prompts
from omniopd.data.receipts import work_key, write_receipt
from omniopd.data.store import file_md5, write_jsonl
from omniopd.errors import DataError
from omniopd.tasks import TASKS, distinct_problems


def prepare(params: Params, seed: int, layout: Layout) -> None:
    """Write the train, validation and held-out prompts of a seed, and the demo's examples where there is a task.

    No problem stands in two of the files.

    Raises:
        DataError: prompts.source is a file that cannot be used, or holds too few prompts.
    """
    task = builtin_task(params)
    if task is None:
        _split_file(params, seed, layout)
    else:
        _draw(task, params, seed, layout)
    receipt = layout.made("prepare", seed)
    files = sorted(receipt.parent.glob("*.jsonl"))
    write_receipt(receipt, key=prepare_key(params, seed, layout), files=files, base=receipt.parent)


def prepare_key(params: Params, seed: int, layout: Layout) -> str:
    """What names the prompts of a seed: all that they are made from."""
    task, demo = builtin_task(params), params.models.demo
    source = None if task else file_md5(layout.root / params.prompts.source)
    num_examples = [demo.student.num_examples, demo.teacher.num_examples] if task else []
    return work_key("prepare", seed, params.prompts.model_dump(), source, num_examples, __version__)


def _draw(task_name: str, params: Params, seed: int, layout: Layout) -> None:
    problems = distinct_problems(TASKS[task_name], random.Random(f"prepare/{task_name}/{seed}"))
    sizes = params.prompts
    counts = {"heldout": sizes.num_heldout, "validation": sizes.num_validation, "train": sizes.num_train}
    for split, count in counts.items():
        drawn = [
            Prompt(f"{split}-{i:05d}", p.prompt, p.answer) for i, p in enumerate(islice(problems, count))
        ]
        _write_prompts(split, drawn, seed, layout)
    for name in ("student", "teacher"):
        count = getattr(params.models.demo, name).num_examples
        examples = [{"prompt": p.prompt, "solution": p.solution} for p in islice(problems, count)]
        write_jsonl(layout.prompts(seed, f"{name}-examples"), examples)


def _split_file(params: Params, seed: int, layout: Layout) -> None:
    prompts = read_prompts(layout.root / params.prompts.source)
    for split, own in split_prompts(prompts, params, seed).items():
        _write_prompts(split, own, seed, layout)


def split_prompts(prompts: Sequence[Prompt], params: Params, seed: int) -> dict[str, list[Prompt]]:
    """The prompts of a file by split, in an order of the seed's; no text stands in two of them.

    Raises:
        DataError: too few prompts, or too few with an answer.
    """
    source, sizes = params.prompts.source, params.prompts
    kept: dict[str, Prompt] = {}
    for prompt in prompts:  # of rows with one text the first with an answer, or else the first
        if prompt.prompt not in kept or (kept[prompt.prompt].answer is None and prompt.answer is not None):
            kept[prompt.prompt] = prompt
    shuffled = list(kept.values())
    random.Random(f"prepare/{seed}").shuffle(shuffled)
    num_measured = sizes.num_heldout + sizes.num_validation
    with_answer = [prompt for prompt in shuffled if prompt.answer is not None]
    if len(with_answer) < num_measured:
        raise DataError(
            f"{source}: {len(with_answer)} prompts have an answer, and {num_measured} are to be measured on; "
            "add answers, or lower prompts.num_heldout and prompts.num_validation"
        )
    measured = {prompt.id for prompt in with_answer[:num_measured]}
    train = [prompt for prompt in shuffled if prompt.id not in measured]
    if len(train) < sizes.num_train:
        raise DataError(
            f"{source}: {len(train)} prompts are left to train on after {num_measured} to measure on, "
            f"and prompts.num_train is {sizes.num_train}; add prompts or lower it"
        )
    return {
        "heldout": with_answer[: sizes.num_heldout],
        "validation": with_answer[sizes.num_heldout : num_measured],
        "train": train[: sizes.num_train],
    }


def _write_prompts(split: str, prompts: Sequence[Prompt], seed: int, layout: Layout) -> None:
    write_jsonl(layout.prompts(seed, split), [prompt.as_row() for prompt in prompts])
