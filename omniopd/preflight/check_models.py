"""The part of check that reads models: transformers takes seconds to import."""

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PretrainedConfig, PreTrainedTokenizerBase

from omniopd.data.prompts import Prompt
from omniopd.errors import ModelError, one_line
from omniopd.models.chat import (
    check_template,
    encode_prompt,
    encode_prompts,
    encode_rendered,
    template_warning,
)
from omniopd.models.generation_config import generation_config
from omniopd.models.loading import (
    check_model_dir,
    check_same_vocabulary,
    check_weights,
    context_len,
    load_config,
    load_tokenizer,
)

TURN = ({"role": "user", "content": "2+2="}, {"role": "assistant", "content": "4"})


@dataclass(frozen=True)
class StudentFacts:
    """What check must know of a student."""

    config: PretrainedConfig
    vocab_size: int
    context: int | None  # tokens that it can read, where its configuration says so
    prompt_lens: list[int]  # tokens of each prompt
    warnings: list[str]


def check_teacher(teacher: str, *, on_vllm: bool) -> list[str]:
    """Raise where a teacher whose weights are at hand cannot be used; else what to be warned of.

    vLLM reads forms of weights that transformers does not, so there its files alone are inspected.

    Raises:
        ModelError: what is wrong with it.
    """
    check_model_dir(teacher) if on_vllm else check_weights(teacher)
    return end_warnings(teacher, _checked_tokenizer(teacher, load_config(teacher)))


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
    check_weights(student)
    config = load_config(student)
    tokenizer = _checked_tokenizer(student, config)
    check_template(student, tokenizer, [prompt.prompt for prompt in prompts])
    lengths = [len(ids) for ids in encode_prompts(tokenizer, [prompt.prompt for prompt in prompts])]
    warnings = [*end_warnings(student, tokenizer), *template_warning(student, tokenizer)]
    return StudentFacts(config, len(tokenizer), context_len(config), lengths, warnings)


def _checked_tokenizer(name: str, config: PretrainedConfig) -> PreTrainedTokenizerBase:
    """The tokenizer, whose tokens the model has, and whose template takes a prompt."""
    tokenizer = load_tokenizer(name)
    num_embeddings, last = config.get_text_config().vocab_size, max(tokenizer.get_vocab().values())
    if last >= num_embeddings:
        raise ModelError(
            f"{name}: the tokenizer's last token is {last}, and the model has {num_embeddings} (vocab_size in "
            "config.json); save the tokenizer that belongs to the model"
        )
    check_template(name, tokenizer, [])
    return tokenizer


def end_warnings(name: str, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Where template, generation config and tokenizer disagree on how a turn begins or ends."""
    found, own = [], f"{tokenizer.eos_token!r} ({tokenizer.eos_token_id})"
    ends = _generation_ends(name)
    if ends and tokenizer.eos_token_id not in ends:
        listed = ", ".join(f"{tokenizer.convert_ids_to_tokens(end)!r} ({end})" for end in ends)
        found.append(
            f"{name}: generation_config.json ends at {listed}, and the tokenizer's end token is {own}: responses that "
            "end with the one are not seen to end by what waits for the other; set eos_token of the tokenizer to "
            "what the model was trained to write"
        )
    if not tokenizer.chat_template:
        return found
    try:
        whole = str(tokenizer.apply_chat_template(list(TURN), tokenize=False))
    except Exception as error:  # whatever a template raises
        return [*found, f"{name}: its chat template does not take an answer ({one_line(error)}); fix it"]
    prompt, turn = encode_prompt(tokenizer, TURN[0]["content"]), encode_rendered(tokenizer, [whole])[0]
    if turn[: len(prompt)] != prompt:
        same = next(
            (i for i, pair in enumerate(zip(prompt, turn, strict=False)) if pair[0] != pair[1]), len(turn)
        )
        found.append(
            f"{name}: its chat template does not put before an answer what it puts before one to be written (from "
            f"{tokenizer.decode(prompt[same:])!r} on), so the student is trained on other text than it was; make sure "
            "that this is meant, as with models that think first"
        )
    while turn and not str(tokenizer.decode(turn[-1:])).strip():
        turn.pop()  # a line's end behind the end token
    if not turn or turn[-1] != tokenizer.eos_token_id:
        last = f"{tokenizer.decode(turn[-1:])!r} ({turn[-1]})" if turn else "nothing"
        found.append(
            f"{name}: its chat template ends a turn with {last}, and the tokenizer's end token is {own}: the student "
            "writes on behind its answers, to rollout.max_new_tokens; set eos_token of the tokenizer to what the "
            "template ends a turn with"
        )
    return found


def _generation_ends(name: str) -> list[int]:
    """The end tokens of the generation config, where there is one."""
    config = generation_config(name)
    ends = None if config is None else config.eos_token_id
    return [ends] if isinstance(ends, int) else list(ends or [])
