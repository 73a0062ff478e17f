"""The part of check that reads models: transformers takes seconds to import."""

from collections.abc import Sequence
from dataclasses import dataclass

from omniopd.data.prompts import Prompt
from omniopd.models.loading import (
    check_model_dir,
    check_same_vocabulary,
    context_len,
    encode_prompt,
    load_config,
    load_tokenizer,
)


@dataclass(frozen=True)
class StudentFacts:
    """What check must know of a student."""

    vocab_size: int
    context: int | None  # tokens that it can read, where its configuration says so
    prompt_lens: list[int]  # tokens of each prompt


def check_teacher(teacher: str) -> None:
    """Raise where a teacher of transformers' cannot be used.

    Raises:
        ModelError: what is wrong with it.
    """
    check_model_dir(teacher)
    load_config(teacher)
    load_tokenizer(teacher)


def check_vocabularies(student: str, teacher: str) -> None:
    """Raise where the teacher's distributions are not over the student's tokens.

    Raises:
        ModelError: the vocabularies differ.
    """
    check_same_vocabulary(load_tokenizer(student), load_tokenizer(teacher), teacher_name=teacher)


def check_student(student: str, prompts: Sequence[Prompt]) -> StudentFacts:
    """What a student makes of the prompts.

    Raises:
        ModelError: what is wrong with it.
    """
    check_model_dir(student)
    context = context_len(load_config(student))
    tokenizer = load_tokenizer(student)
    lengths = [len(encode_prompt(tokenizer, prompt.prompt)) for prompt in prompts]
    return StudentFacts(len(tokenizer), context, lengths)
