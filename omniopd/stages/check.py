"""check: every mistake that can be found before work starts, and what a run would do."""

from pathlib import Path

from transformers import AutoConfig

from omniopd.config import Params, builtin_task, load_params, resolve
from omniopd.data.layout import Layout
from omniopd.data.prompts import Prompt, read_prompts
from omniopd.errors import DataError, ModelError
from omniopd.models.loading import check_model_dir, context_len, encode_prompt, load_tokenizer
from omniopd.stages.base import DEMO, check_demo_models


def check(params_file: Path) -> tuple[Params, list[str], list[str]]:
    """(params, warnings, what would be done), or the first error of its kind.

    Raises:
        ConfigError, DataError, ModelError: what is wrong, where, and what to do.
    """
    params = load_params(params_file)
    layout = Layout(params_file.parent)
    check_demo_models(params)
    prompts = None if builtin_task(params) else read_prompts(layout.root / params.prompts.source)
    vocab_size = None
    if params.models.student != DEMO:
        vocab_size = _check_student(params, params.models.student, prompts or [])
    if params.teacher.kind == "transformers" and params.teacher.model != DEMO:
        check_model_dir(params.teacher.model)
        load_tokenizer(params.teacher.model)
    warnings = [
        f"{params_file}: arms.{arm}: {warning}"
        for arm in params.arms
        for warning in resolve(params, arm, params.seeds[0]).method.warnings(vocab_size=vocab_size or 0)
    ]
    return params, warnings, _plan(params, prompts)


def check_fit(prompts: list[Prompt], params: Params, student: str) -> None:
    """Raise where a prompt and its longest response do not fit the student's context.

    Raises:
        DataError: names the prompt and the lengths.
    """
    limit = context_len(AutoConfig.from_pretrained(student, trust_remote_code=False))
    tokenizer = load_tokenizer(student)
    room = params.rollout.max_new_tokens
    for prompt in prompts:
        num_tokens = len(encode_prompt(tokenizer, prompt.prompt))
        if limit is not None and num_tokens + room > limit:
            raise DataError(
                f"{params.prompts.source}: prompt {prompt.id!r} has {num_tokens} tokens, and with "
                f"rollout.max_new_tokens = {room} passes the context of {limit} of {student}; shorten or remove it"
            )


def _check_student(params: Params, student: str, prompts: list[Prompt]) -> int:
    check_model_dir(student)
    tokenizer = load_tokenizer(student)
    try:
        AutoConfig.from_pretrained(student, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{student}: its config.json cannot be used ({str(error).splitlines()[0]})"
        ) from error
    check_fit(prompts, params, student)
    return len(tokenizer)


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
