"""check: every mistake that can be found before work starts, and what a run would do."""

from pathlib import Path

from omniopd.config import DEMO, DEMO_CONTEXT, Params, builtin_task, demo_problems, load_params, resolve
from omniopd.data.layout import Layout
from omniopd.data.prompts import Prompt, read_prompts
from omniopd.errors import ConfigError, DataError
from omniopd.stages.prepare import split_prompts
from omniopd.tasks import TASKS


def check(params_file: Path) -> tuple[Params, list[str], list[str]]:
    """(params, warnings, what would be done), or the first error of its kind.

    Raises:
        ConfigError, DataError, ModelError: what is wrong, where, and what to do.
    """
    params = load_params(params_file)
    if problems := demo_problems(params, str(params_file)):
        raise ConfigError("\n".join(problems))
    layout = Layout(params_file.parent)
    prompts = None if builtin_task(params) else _prompts(params, layout)
    vocab_size = _check_models(params, prompts or [])
    warnings = [
        f"{params_file}: arms.{arm}: {warning}"
        for arm in params.arms
        for warning in resolve(params, arm, params.seeds[0]).method.warnings(vocab_size=vocab_size)
    ]
    return params, warnings, _plan(params, prompts)


def _prompts(params: Params, layout: Layout) -> list[Prompt]:
    """The prompts of the file that prompts.source names, enough of them to split."""
    source = params.prompts.source
    if not (layout.root / source).exists():
        raise DataError(
            f"{source}: no such file of prompts, and no built-in task ({', '.join(map(repr, TASKS))}) is called so; "
            "mend prompts.source in params.yaml"
        )
    prompts = read_prompts(layout.root / source)
    split_prompts(prompts, params, params.seeds[0])
    return prompts


def _check_models(params: Params, prompts: list[Prompt]) -> int:
    """Check the models that are named; the size of the student's vocabulary, or 0 where it is yet to be made."""
    if params.teacher.kind != "transformers":
        from omniopd.teachers import teacher_class

        teacher_class(params.teacher.kind)
    named_teacher = params.teacher.kind == "transformers" and params.teacher.model != DEMO
    if params.models.student == DEMO and _longest_response(params) >= DEMO_CONTEXT:
        raise DataError(
            f"params.yaml: rollout.max_new_tokens = {_longest_response(params)} passes the context of {DEMO_CONTEXT} "
            "of the demo's student; make responses shorter"
        )
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
    return check_student(params.models.student, prompts, params.prompts.source, _longest_response(params))


def _longest_response(params: Params) -> int:
    return max(resolve(params, arm, params.seeds[0]).rollout.max_new_tokens for arm in params.arms)


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
