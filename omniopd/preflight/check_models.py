"""The checks that read models, in a separate module because transformers takes seconds to import."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PretrainedConfig

from omniopd.config.schema.benchmark import Benchmark
from omniopd.data.conversation import Conversation, Message
from omniopd.data.prompts import Prompt
from omniopd.errors import ModelError, one_line
from omniopd.models.chat import Chat, check_template, template_warning
from omniopd.models.loading import (
    check_model_dir,
    check_weights,
    context_len,
    load_chat,
    load_config,
)
from omniopd.models.reading import common_len
from omniopd.preflight.check_chat import (
    benchmark_conversations,
    control_token_warnings,
    stop_warnings,
    template_warnings,
)

THOUGHT_LEN = 2048  # tokens of a response that leave room for thoughts
CONVERSATION = (Message("user", "2+2="), Message("assistant", "4"))


@dataclass(frozen=True)
class ModelFacts:
    """What check reads of a student or a local teacher."""

    name: str
    config: PretrainedConfig
    chat: Chat
    prompt_lens: list[int]  # tokens of each prompt, as the model reads it
    warnings: list[str]

    @property
    def context(self) -> int | None:
        """In tokens; None if the configuration does not say."""
        return context_len(self.config)

    @property
    def longest_prompt(self) -> int:
        """In tokens; 0 if there is no prompt."""
        return max(self.prompt_lens, default=0)


def check_teacher(
    teacher: str,
    template_kwargs: Mapping[str, Any],
    prompts: Sequence[Conversation],
    *,
    on_vllm: bool,
) -> ModelFacts:
    """The facts of a usable local teacher; prompts: as it reads them.

    vLLM reads formats of weights that transformers does not, so only the files are checked there.

    Raises:
        ModelError: the teacher cannot be used.
    """
    check_model_dir(teacher) if on_vllm else check_weights(teacher)
    config = load_config(teacher)
    chat = _checked_chat(teacher, template_kwargs, config, prompts)
    warnings = [*end_warnings(teacher, chat), *template_warnings(teacher, chat)]
    return ModelFacts(teacher, config, chat, list(map(len, chat.encode(prompts))), warnings)


def check_student(
    student: str,
    template_kwargs: Mapping[str, Any],
    prompts: Sequence[Prompt],
    *,
    suite: Sequence[Benchmark],
    stop: Sequence[str],
) -> ModelFacts:
    """The facts of a student that can read the prompts, and the messages of the benchmarks; stop: of rollouts.

    Raises:
        ModelError: the student cannot be used.
    """
    check_weights(student)
    config = load_config(student)
    conversations = [prompt.messages for prompt in prompts]
    chat = _checked_chat(student, template_kwargs, config, conversations)
    if messages := benchmark_conversations(suite):
        try:
            check_template(student, chat, messages)
        except ModelError as error:
            raise ModelError(f"system and examples of benchmarks: {error}") from error
    warnings = [
        *end_warnings(student, chat), *template_warning(student, chat), *template_warnings(student, chat),
        *control_token_warnings(student, chat, conversations),
        *stop_warnings(student, chat, [*stop, *(string for one in suite for string in one.sampling.stop)]),
    ]  # fmt: skip
    return ModelFacts(student, config, chat, list(map(len, chat.encode(conversations))), warnings)


def _checked_chat(
    name: str, template_kwargs: Mapping[str, Any], config: PretrainedConfig, prompts: Sequence[Conversation]
) -> Chat:
    chat = load_chat(name, template_kwargs)
    num_embeddings, last = config.get_text_config().vocab_size, max(chat.tokenizer.get_vocab().values())
    if last >= num_embeddings:
        raise ModelError(
            f"{name}: the tokenizer's last token is {last}, and the model has {num_embeddings} (vocab_size in "
            "config.json); save the tokenizer that belongs to the model"
        )
    check_template(name, chat, prompts)
    return chat


def end_warnings(name: str, chat: Chat) -> list[str]:
    """Where chat template, tokenizer and generation config disagree on how a turn begins or ends."""
    tokenizer = chat.tokenizer
    if not tokenizer.chat_template:
        return _generation_end_warnings(name, chat)
    try:
        conversation = chat.render_conversation(CONVERSATION)
    except Exception as error:  # whatever a template raises
        return [f"{name}: its chat template does not accept an answer ({one_line(error)}); fix it"]
    warnings = _generation_end_warnings(name, chat)
    [prompt], [turn] = chat.encode([CONVERSATION[:1]]), chat.encode_rendered([conversation])
    if turn[: len(prompt)] != prompt:
        common = common_len([prompt, turn])
        warnings.append(
            f"{name}: its chat template renders another prefix for a given answer than for one to be generated (from "
            f"{tokenizer.decode(prompt[common:])!r} on), so the student is trained on another text than the model was; "
            "make sure that this is intended, as with reasoning models"
        )
    elif header := _unprompted(chat, conversation):
        warnings.append(
            f"{name}: its chat template begins an answer with {header!r} and does not write it at the end of a prompt, "
            "so the model would have to; have the template write it where add_generation_prompt is set"
        )
    after = chat.turn_end()
    if not after or after[0] != chat.end_id:
        last = f"{tokenizer.decode(after)!r}" if after else "nothing"
        warnings.append(
            f"{name}: its chat template ends a turn with {last}, which is no special token: the tokenizer's end token "
            f"{tokenizer.eos_token!r} ({chat.end_id}) is trained and stops generation; if the model was trained "
            "to write another token, set eos_token of the tokenizer to that"
        )
    return warnings


def _unprompted(chat: Chat, conversation: str) -> str:
    """The text with which the template begins an answer where it ignores add_generation_prompt."""
    prompt = chat.render(CONVERSATION[:1])
    if not conversation.startswith(prompt) or prompt != chat.render_conversation(CONVERSATION[:1]):
        return ""
    header, _, _ = conversation.removeprefix(prompt).partition(CONVERSATION[1].content)
    return header.strip()


def _generation_end_warnings(name: str, chat: Chat) -> list[str]:
    """Where the generation config ends generation at other tokens than the tokenizer or the template."""
    ends, tokenizer, vocabulary = chat.generation_ends, chat.tokenizer, chat.tokenizer.get_vocab().values()
    special = [*tokenizer.added_tokens_decoder, tokenizer.eos_token_id]  # pyright: ignore[reportAttributeAccessIssue]
    warnings = [
        f"{name}: generation_config.json ends a response at {id}, which its tokenizer does not have; fix its "
        "eos_token_id, or take the tokenizer that belongs to the model"
        if id not in vocabulary
        else f"{name}: generation_config.json ends a response at {tokenizer.decode([id])!r} ({id}), which is an "
        "ordinary token, so responses end wherever it is written; fix its eos_token_id"
        for id in ends
        if id not in special
    ]
    others = [id for id in chat.stop_ids if id not in ends]
    if ends and others:
        warnings.append(
            f"{name}: {tokenizer.decode([others[0]])!r} ({others[0]}) ends a turn by its tokenizer or chat template, "
            f"and is none of the end tokens of generation_config.json ({', '.join(map(str, ends))}), so the model was "
            "perhaps never trained to write it; make sure that all three belong to the model"
        )
    return warnings


def check_length(teacher: ModelFacts, max_new_tokens: int) -> None:
    """Raise where the longest prompt and a response do not fit the teacher's context.

    Raises:
        ModelError: they do not.
    """
    if teacher.context is not None and teacher.longest_prompt + max_new_tokens > teacher.context:
        raise ModelError(
            f"{teacher.name}: a prompt has {teacher.longest_prompt} tokens as the teacher reads it, and with "
            f"rollout.max_new_tokens = {max_new_tokens} exceeds its context of {teacher.context}; shorten "
            "teacher.context or teacher.hint, leave out long prompts with prompts.max_prompt_tokens, or make "
            "responses shorter"
        )


def side_warnings(student: Chat, teacher: ModelFacts | None, *, max_new_tokens: int) -> list[str]:
    """Where only one side thinks or has a chat template, or a response has no room for thoughts; None: unknown."""
    warnings = []
    if teacher is not None and teacher.chat.thinks != student.thinks:
        who, other = ("teacher", "student") if teacher.chat.thinks else ("student", "teacher")
        warnings.append(
            f"teacher.chat_template_kwargs: the {who}'s chat template lets it think before it answers, the {other}'s "
            "does not, so one would continue the other's answers as thoughts; set it and models.chat_template_kwargs "
            "alike, such as { enable_thinking: false }"
        )
    if student.thinks and max_new_tokens < THOUGHT_LEN:
        warnings.append(
            "models.chat_template_kwargs: the student's chat template lets it think before it answers, and with "
            f"rollout.max_new_tokens {max_new_tokens} most responses would be cut within their thoughts; set "
            f"{{ enable_thinking: false }}, or raise max_new_tokens to {THOUGHT_LEN} or more"
        )
    if teacher is not None and student.tokenizer.chat_template and not teacher.chat.tokenizer.chat_template:
        warnings.append(
            f"teacher.model: {teacher.name}: has no chat template, and the student has one, so the teacher reads "
            "prompts as they are; that is right for a base model, else take the tokenizer that belongs to the teacher"
        )
    return warnings
