"""check: every mistake that can be found before work starts, and what a run would do."""

from pathlib import Path

from omniopd.config import DEMO, Params, builtin_task, load_params, resolve
from omniopd.data.layout import Layout
from omniopd.data.prompts import Prompt, read_prompts


def check(params_file: Path) -> tuple[Params, list[str], list[str]]:
    """(params, warnings, what would be done), or the first error of its kind.

    Raises:
        ConfigError, DataError, ModelError: what is wrong, where, and what to do.
    """
    params = load_params(params_file)
    layout = Layout(params_file.parent)
    prompts = None if builtin_task(params) else read_prompts(layout.root / params.prompts.source)
    vocab_size = _check_models(params, prompts or [])
    warnings = [
        f"{params_file}: arms.{arm}: {warning}"
        for arm in params.arms
        for warning in resolve(params, arm, params.seeds[0]).method.warnings(vocab_size=vocab_size)
    ]
    return params, warnings, _plan(params, prompts)


def _check_models(params: Params, prompts: list[Prompt]) -> int:
    """Check the models that are named; the size of the student's vocabulary, or 0 where it is yet to be made."""
    named_teacher = params.teacher.kind == "transformers" and params.teacher.model != DEMO
    if params.models.student == DEMO and not named_teacher:
        return 0
    from omniopd.stages.check_models import (  # transformers takes seconds to import
        check_student,
        check_teacher,
    )

    if named_teacher:
        check_teacher(params.teacher.model)
    if params.models.student == DEMO:
        return 0
    return check_student(params.models.student, prompts, params.prompts.source, params.rollout.max_new_tokens)


def _plan(params: Params, prompts: list[Prompt] | None) -> list[str]:
    source = (
        params.prompts.source if prompts is None else f"{params.prompts.source} ({len(prompts):,} prompts)"
    )
    lines = [
        f"prompts   {source}: {params.prompts.num_train:,} to train, "
        f"{params.prompts.num_validation:,} to watch, {params.prompts.num_heldout:,} held out",
        f"student   {_model(params.models.student)}",
        f"teacher   {_model(params.teacher.model)}, kind {params.teacher.kind}",
    ]
    for arm in params.arms:
        config = resolve(params, arm, params.seeds[0])
        num_responses = config.rollout.num_prompts * config.rollout.num_samples
        text = f"{config.train.num_rounds} rounds of {num_responses} responses, lr {config.train.lr:g}"
        if audit := config.method.audit:
            text += f", {audit.num_replies} replies of {audit.chunk_len} tokens a chunk"
        seeds = ", ".join(map(str, params.seeds))
        lines.append(f"arm       {arm} ({config.method_name}): {text}; seeds {seeds}")
    return lines


def _model(name: str) -> str:
    return "demo, trained by `omniopd base`" if name == DEMO else name
