"""The part of check that reads models."""

from collections.abc import Sequence

from omniopd.data.prompts import Prompt
from omniopd.errors import DataError
from omniopd.models.loading import check_model_dir, context_len, encode_prompt, load_config, load_tokenizer


def check_teacher(teacher: str) -> None:
    """Raise where a teacher of transformers' cannot be used.

    Raises:
        ModelError: what is wrong with it.
    """
    check_model_dir(teacher)
    load_config(teacher)
    load_tokenizer(teacher)


def check_student(student: str, prompts: Sequence[Prompt], source: str, max_new_tokens: int) -> int:
    """Raise where the student cannot be used, or cannot hold a prompt and its response; its vocabulary's size.

    Raises:
        ModelError: what is wrong with the student.
        DataError: a prompt that does not fit, with the lengths.
    """
    check_model_dir(student)
    limit = context_len(load_config(student))
    tokenizer = load_tokenizer(student)
    for prompt in prompts:
        num_tokens = len(encode_prompt(tokenizer, prompt.prompt))
        if limit is not None and num_tokens + max_new_tokens > limit:
            raise DataError(
                f"{source}: prompt {prompt.id!r} has {num_tokens} tokens, and with rollout.max_new_tokens = "
                f"{max_new_tokens} passes the context of {limit} of {student}; shorten or remove it"
            )
    return len(tokenizer)
