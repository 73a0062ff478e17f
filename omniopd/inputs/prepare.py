"""prepare: prompts, drawn or read, split, one JSONL file a split; and of those that were read a report."""

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from omniopd import __version__
from omniopd.config import Params, builtin_task
from omniopd.data.columns import Columns
from omniopd.data.decontaminate import EvaluationItems
from omniopd.data.layout import Layout
from omniopd.data.prompts import Prompt
from omniopd.data.receipts import work_key, write_receipt
from omniopd.data.sources import Source, source_of
from omniopd.data.split import Findings, Rules, Splits, draw, read_rows
from omniopd.data.store import file_md5, write_json, write_jsonl
from omniopd.grading.graders import grader_of
from omniopd.inputs.stages import prompt_settings
from omniopd.tasks import TASKS, distinct_problems


def prepare(params: Params, seed: int, layout: Layout) -> None:
    """Write the train, validation and held-out prompts of a seed, and the demo's examples where there is a task.

    No problem stands in two of the files.

    Raises:
        DataError: prompts.source cannot be used, or holds too few prompts.
    """
    task = builtin_task(params)
    if task is None:
        _split_source(params, seed, layout)
    else:
        layout.prompt_report(seed).unlink(missing_ok=True)
        _draw(task, params, seed, layout)
    receipt = layout.made("prepare", seed)
    report = layout.prompt_report(seed)
    files = [*sorted(receipt.parent.glob("*.jsonl")), *([report] if report.exists() else [])]
    write_receipt(receipt, key=prepare_key(params, seed, layout), files=files, base=receipt.parent)


def prepare_key(params: Params, seed: int, layout: Layout) -> str:
    """What names the prompts of a seed: all that they are made from."""
    files: list[str] = []
    if builtin_task(params) is None:  # a hub dataset stands for itself
        sources = [prompt_source(params, layout), *(item for item, _ in _evaluation_sources(params, layout))]
        files = [file_md5(source.path) for source in sources if source.path is not None]
        if params.prompts.max_prompt_tokens:
            files += _tokenizer_md5(params, layout)
    return work_key("prepare", seed, prompt_settings(params), files, __version__)


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


def _split_source(params: Params, seed: int, layout: Layout) -> None:
    drawn, findings = draw_prompts(params, [seed], layout)
    for split, own in drawn[seed].items():
        _write_prompts(split, own, seed, layout)
    write_json(layout.prompt_report(seed), findings.report(seed, drawn[seed]))


def draw_prompts(params: Params, seeds: Sequence[int], layout: Layout) -> tuple[dict[int, Splits], Findings]:
    """The prompts of a source by seed and split, within the template; and what was found on the way.

    Raises:
        DataError: prompts.source or an evaluation set cannot be used, or there are too few prompts.
        ModelError: prompts are to be measured in tokens, and the student has no tokenizer.
    """
    settings = params.prompts
    drawn, findings = draw(
        prompt_source(params, layout),
        Rules(
            Columns(**settings.columns.model_dump()),
            num_train=settings.num_train,
            num_validation=settings.num_validation,
            num_heldout=settings.num_heldout,
            answer_pattern=re.compile(settings.answer_pattern) if settings.answer_pattern else None,
            measured_by=grader_of(params.evaluation).needs,
            max_tokens=settings.max_prompt_tokens,
            count_tokens=_counter(params, layout) if settings.max_prompt_tokens else None,
        ),
        seeds,
        evaluation=_evaluation_items(params, layout),
    )
    return {
        seed: {name: [_within(settings.template, prompt) for prompt in own] for name, own in splits.items()}
        for seed, splits in drawn.items()
    }, findings


def prompt_source(params: Params, layout: Layout) -> Source:
    """The file or the hub dataset that prompts.source names."""
    settings = params.prompts
    return source_of(settings.source, layout.root, subset=settings.subset, split=settings.split)


def _evaluation_sources(params: Params, layout: Layout) -> list[tuple[Source, str]]:
    """What training prompts may not overlap with, each with the column of its questions."""
    rule = params.prompts.decontaminate
    setting = "prompts.decontaminate.against"
    return [
        (
            source_of(item.source, layout.root, subset=item.subset, split=item.split, setting=setting),
            item.prompt or params.prompts.columns.prompt,
        )
        for item in (rule.against if rule else ())
    ]


def _evaluation_items(params: Params, layout: Layout) -> EvaluationItems | None:
    if params.prompts.decontaminate is None:
        return None
    items = EvaluationItems(params.prompts.decontaminate.ngram)
    for source, column in _evaluation_sources(params, layout):
        columns = Columns(prompt=column, answer=None, id=None, tests=None)
        for row, prompt, _ in read_rows(source, columns, Findings(source)):
            items.add(f"{source.name}, row {row.number}", prompt.prompt)
    return items


def _within(template: str | None, prompt: Prompt) -> Prompt:
    return prompt if template is None else replace(prompt, prompt=_filled(template, prompt.prompt))


def _filled(template: str | None, text: str) -> str:
    return text if template is None else template.replace("{prompt}", text)


def _counter(params: Params, layout: Layout) -> Callable[[Sequence[str]], list[int]]:
    """What counts the tokens of prompts as the student reads them."""
    from omniopd.models.chat import encode_rendered, render_prompt
    from omniopd.models.loading import load_tokenizer

    tokenizer, template = load_tokenizer(layout.named_model(params.models.student)), params.prompts.template

    def count(texts: Sequence[str]) -> list[int]:
        rendered = [render_prompt(tokenizer, _filled(template, text)) for text in texts]
        return list(map(len, encode_rendered(tokenizer, rendered)))

    return count


def _tokenizer_md5(params: Params, layout: Layout) -> list[str]:
    """What a count of tokens depends on besides the student's name."""
    folder = Path(layout.named_model(params.models.student))
    return [
        file_md5(file)
        for file in sorted(folder.glob("*"))
        if file.suffix in (".json", ".jinja", ".model", ".txt")
    ]


def _write_prompts(split: str, prompts: Sequence[Prompt], seed: int, layout: Layout) -> None:
    write_jsonl(layout.prompts(seed, split), [prompt.as_row() for prompt in prompts])
