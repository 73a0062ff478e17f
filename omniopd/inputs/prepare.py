"""prepare: prompts of a built-in task or a source, one JSONL file per split; for a source also a report."""

import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from omniopd import RESULTS_VERSION
from omniopd.config import Params, Prompts, builtin_task
from omniopd.data.columns import Columns
from omniopd.data.decontaminate import EvaluationItems
from omniopd.data.layout import Layout
from omniopd.data.lock import one_at_a_time
from omniopd.data.prompts import Prompt
from omniopd.data.receipts import valid_receipt, work_key, write_receipt
from omniopd.data.sources import Source, source_of
from omniopd.data.split import Findings, Rules, Splits, draw, read_rows
from omniopd.data.store import file_md5, write_json, write_jsonl
from omniopd.grading.graders import grader_of
from omniopd.inputs.stages import prompt_settings
from omniopd.tasks import TASKS, Problem, distinct_problems


def make_prompts(params: Params, seed: int, layout: Layout) -> bool:
    """Make the prompts of a seed unless they are complete and of these settings. Returns whether they were made."""
    key, receipt = prepare_key(params, seed, layout), layout.made("prepare", seed)
    with one_at_a_time(layout.making(seed)):
        if valid_receipt(receipt, key=key, base=receipt.parent) is not None:
            return False
        prepare(params, seed, layout)
    return True


def prepare(params: Params, seed: int, layout: Layout) -> None:
    """Write the train, validation and held-out prompts of a seed, and for a built-in task the demo's examples.

    No problem is in two of the files.

    Raises:
        DataError: prompts.source cannot be used, or holds too few prompts.
    """
    report = layout.prompt_report(seed)
    if builtin_task(params) is None:
        drawn, findings = draw_prompts(params, [seed], layout)
        splits = drawn[seed]
        write_json(report, findings.report(seed, splits))
    else:
        report.unlink(missing_ok=True)
        splits, problems = task_prompts(params, seed)
        for name in ("student", "teacher"):
            count = getattr(params.models.demo, name).num_examples
            examples = [{"prompt": p.prompt, "solution": p.solution} for p in islice(problems, count)]
            write_jsonl(layout.prompts(seed, f"{name}-examples"), examples)
    for split, prompts in splits.items():
        write_jsonl(layout.prompts(seed, split), [prompt.as_row() for prompt in prompts])
    receipt = layout.made("prepare", seed)
    files = [*sorted(receipt.parent.glob("*.jsonl")), *([report] if report.exists() else [])]
    write_receipt(receipt, key=prepare_key(params, seed, layout), files=files, base=receipt.parent)


def prepare_key(params: Params, seed: int, layout: Layout) -> str:
    """The key of the prompts of a seed: a hash of everything that they are made from."""
    files: list[str] = []
    if builtin_task(params) is None:  # a hub dataset is identified by its name
        sources = [prompt_source(params, layout), *(item for item, _ in _evaluation_sources(params, layout))]
        files = [file_md5(source.path) for source in sources if source.path is not None]
        if params.prompts.max_prompt_tokens:
            files += _tokenizer_md5(params, layout)
    return work_key("prepare", seed, prompt_settings(params), files, RESULTS_VERSION)


def task_prompts(params: Params, seed: int) -> tuple[Splits, Iterator[Problem]]:
    """The prompts of a built-in task by split, and further problems that are in none of them."""
    task, sizes = params.prompts.source, params.prompts
    problems = distinct_problems(TASKS[task], random.Random(f"prepare/{task}/{seed}"))
    counts = {"heldout": sizes.num_heldout, "validation": sizes.num_validation, "train": sizes.num_train}
    splits = {
        split: [
            Prompt(
                f"{split}-{i:05d}", problem.prompt, problem.answer,
                columns={name: getattr(problem, name) for name in params.hint_columns},
            )
            for i, problem in enumerate(islice(problems, count))
        ]
        for split, count in counts.items()
    }  # fmt: skip
    return splits, problems


def draw_prompts(params: Params, seeds: Sequence[int], layout: Layout) -> tuple[dict[int, Splits], Findings]:
    """The prompts of a source by seed and split, with the template applied; and the findings.

    Raises:
        DataError: prompts.source or an evaluation set cannot be used, or there are too few prompts.
        ModelError: max_prompt_tokens is set, and the student has no tokenizer.
    """
    settings = params.prompts
    drawn, findings = draw(
        prompt_source(params, layout),
        Rules(
            Columns(**settings.columns.model_dump(), hint=tuple(params.hint_columns)),
            num_train=settings.num_train,
            num_validation=settings.num_validation,
            num_heldout=settings.num_heldout,
            answer_pattern=re.compile(settings.answer_pattern) if settings.answer_pattern else None,
            measured_by=grader_of(params.evaluation).needs,
            max_tokens=settings.max_prompt_tokens,
            shown=[example.prompt for example in settings.examples],
            count_tokens=_token_counter(params, layout) if settings.max_prompt_tokens else None,
        ),
        seeds,
        evaluation=_evaluation_items(params, layout),
    )
    for splits in drawn.values():
        for name, prompts in splits.items():
            splits[name] = [_asked(prompt, settings) for prompt in prompts]
    return drawn, findings


def _asked(prompt: Prompt, settings: Prompts) -> Prompt:
    """The prompt in its template, after the system message and the worked examples."""

    def filled(text: str) -> str:
        return settings.template.replace("{prompt}", text) if settings.template else text

    examples = [(filled(example.prompt), example.response) for example in settings.examples]
    return replace(prompt, prompt=filled(prompt.prompt)).after(settings.system, examples)


def prompt_source(params: Params, layout: Layout) -> Source:
    """The file or hub dataset of prompts.source."""
    settings = params.prompts
    return source_of(settings.source, layout.root, subset=settings.subset, split=settings.split)


def _evaluation_sources(params: Params, layout: Layout) -> list[tuple[Source, str]]:
    """The sources that training prompts may not overlap with, each with the column of its questions."""
    rule, setting = params.prompts.decontaminate, "prompts.decontaminate.against"
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
            items.add(f"{source.name}, row {row.number}", prompt.turns)
    return items


def _token_counter(params: Params, layout: Layout) -> Callable[[Sequence[Prompt]], list[int]]:
    """A function that counts the tokens of prompts as the student reads them: with all that is put around them."""
    from omniopd.models.loading import load_chat

    chat = load_chat(layout.named_model(params.models.student), params.models.chat_template_kwargs)
    return lambda prompts: list(
        map(len, chat.encode([_asked(prompt, params.prompts).messages for prompt in prompts]))
    )


def _tokenizer_md5(params: Params, layout: Layout) -> list[str]:
    files = sorted(Path(layout.named_model(params.models.student)).glob("*"))
    return [file_md5(file) for file in files if file.suffix in (".json", ".jinja", ".model", ".txt")]
