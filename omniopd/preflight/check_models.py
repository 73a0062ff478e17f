"""The part of check that reads models, in a module of its own because transformers takes seconds to import."""

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
    check_weights,
    context_len,
    load_config,
    load_tokenizer,
)

CONVERSATION = ({"role": "user", "content": "2+2="}, {"role": "assistant", "content": "4"})


@dataclass(frozen=True)
class StudentFacts:
    """What check reads of a student."""

    config: PretrainedConfig
    vocab_size: int
    context: int | None  # tokens; None if its configuration does not say
    prompt_lens: list[int]  # tokens of each prompt
    warnings: list[str]


def check_teacher(teacher: str, *, on_vllm: bool) -> list[str]:
    """The warnings of a usable local teacher.

    vLLM reads formats of weights that transformers does not, so only the files are checked there.

    Raises:
        ModelError: the teacher cannot be used.
    """
    check_model_dir(teacher) if on_vllm else check_weights(teacher)
    return end_warnings(teacher, _checked_tokenizer(teacher, load_config(teacher)))


def check_student(student: str, prompts: Sequence[Prompt]) -> StudentFacts:
    """The facts of a student that can read the prompts.

    Raises:
        ModelError: the student cannot be used.
    """
    check_weights(student)
    config = load_config(student)
    tokenizer = _checked_tokenizer(student, config)
    check_template(student, tokenizer, [prompt.prompt for prompt in prompts])
    lengths = [len(ids) for ids in encode_prompts(tokenizer, [prompt.prompt for prompt in prompts])]
    warnings = [*end_warnings(student, tokenizer), *template_warning(student, tokenizer)]
    return StudentFacts(config, len(tokenizer), context_len(config), lengths, warnings)


def _checked_tokenizer(name: str, config: PretrainedConfig) -> PreTrainedTokenizerBase:
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
    """Where chat template, generation config and tokenizer disagree on how a turn begins or ends."""
    warnings, eos = [], f"{tokenizer.eos_token!r} ({tokenizer.eos_token_id})"
    config = generation_config(name)
    ends = config.eos_token_id if config is not None else None
    ends = [ends] if isinstance(ends, int) else ends
    if ends and tokenizer.eos_token_id not in ends:
        listed = ", ".join(f"{tokenizer.convert_ids_to_tokens(end)!r} ({end})" for end in ends)
        warnings.append(
            f"{name}: generation_config.json stops at {listed}, but the tokenizer's end token is {eos}: code that "
            "waits for one of them does not stop at the other; set eos_token of the tokenizer to the stop token that "
            "the model was trained to write"
        )
    if not tokenizer.chat_template:
        return warnings
    try:
        conversation = str(tokenizer.apply_chat_template(list(CONVERSATION), tokenize=False))
    except Exception as error:  # whatever a template raises
        return [*warnings, f"{name}: its chat template does not accept an answer ({one_line(error)}); fix it"]
    prompt = encode_prompt(tokenizer, CONVERSATION[0]["content"])
    turn = encode_rendered(tokenizer, [conversation])[0]
    if turn[: len(prompt)] != prompt:
        pairs = zip(prompt, turn, strict=False)
        common = next((i for i, (wanted, given) in enumerate(pairs) if wanted != given), len(turn))
        warnings.append(
            f"{name}: its chat template renders another prefix for a given answer than for one to be generated (from "
            f"{tokenizer.decode(prompt[common:])!r} on), so the student is trained on another text than the model was; "
            "make sure that this is intended, as with reasoning models"
        )
    while turn and not str(tokenizer.decode(turn[-1:])).strip():
        turn.pop()  # a newline after the end token
    if not turn or turn[-1] != tokenizer.eos_token_id:
        last = f"{tokenizer.decode(turn[-1:])!r} ({turn[-1]})" if turn else "nothing"
        warnings.append(
            f"{name}: its chat template ends a turn with {last}, but the tokenizer's end token is {eos}: the student "
            "does not stop after its answers, but writes to rollout.max_new_tokens; set eos_token of the tokenizer to "
            "the token that ends a turn in the template"
        )
    return warnings
