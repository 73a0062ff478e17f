"""Prompts as a model reads them: rendered by its chat template, encoded, and with the tokens that end a turn."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from itertools import takewhile
from typing import Any

from transformers import PreTrainedTokenizerBase

from omniopd.data.conversation import Conversation, Message, conversation, plain_text
from omniopd.errors import ModelError, one_line
from omniopd.models.token_text import TokenText

# Prompts that differ only at the beginning, in the middle or at the end.
_TEXT = "What is the sum of {} and {}? Write each step on a line of its own, and the result after {}."
PROBES = tuple(_TEXT.format(*words) for words in ((2, 3, "="), (7, 3, "="), (2, 8, "="), (2, 3, "#")))
PROBES += (f"Now: {PROBES[0]}", "2+2=", "3+5=")
# The beginning and the end of thoughts, in templates of Qwen3 and DeepSeek-R1, and of gpt-oss.
THOUGHTS = (("<think>", "</think>"), ("<|channel|>analysis", "<|channel|>final<|message|>"))
STOP_MARGIN = 8  # tokens without text that may lie within a stop string
SHOWN_LEN = 120  # characters of a prompt in a message
_ANSWER = "Forty-two."  # of a conversation that shows how the template ends a turn


@dataclass(frozen=True, eq=False)
class Chat:
    """A tokenizer with the settings of its chat template, and the tokens that end a turn.

    `generation_ends` are the end tokens of the model's generation config. A prompt is a list of messages, and a string
    is one message of the user. Without a chat template a prompt is its text, see `plain_text`.
    """

    tokenizer: PreTrainedTokenizerBase
    template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    generation_ends: Sequence[int] = ()

    def render(self, prompt: str | Sequence[Message]) -> str:
        """The prompt's text, rendered by the chat template if there is one.

        Raises:
            ModelError: the chat template fails on it.
        """
        messages = conversation(prompt)
        if not self.tokenizer.chat_template:
            return plain_text(messages)
        try:
            return self.render_conversation(messages, add_generation_prompt=True)
        except Exception as error:  # a template can raise anything
            roles = ", ".join(dict.fromkeys(message.role for message in messages))
            what = "a prompt" if len(messages) == 1 else f"messages of {roles}"
            raise ModelError(
                f"{self.tokenizer.name_or_path}: its chat template does not take {what} ({one_line(error)}); fix "
                "chat_template.jinja or tokenizer_config.json"
                + ("" if len(messages) == 1 else ", or leave such messages out")
            ) from error

    def encode(self, prompts: Sequence[str | Sequence[Message]]) -> list[list[int]]:
        """The tokens of each prompt, rendered."""
        return self.encode_rendered([self.render(prompt) for prompt in prompts])

    def encode_rendered(self, texts: Sequence[str]) -> list[list[int]]:
        """The tokens of texts that begin with a rendered prompt."""
        if not texts:
            return []
        if self.tokenizer.chat_template:  # which brings its own special tokens
            return self.tokenizer(list(texts), add_special_tokens=False)["input_ids"]  # pyright: ignore[reportReturnType]
        # Else the tokenizer adds them. Those at the end are dropped: the text is to be continued.
        encoded = self.tokenizer(list(texts), return_special_tokens_mask=True)
        pairs = zip(encoded["input_ids"], encoded["special_tokens_mask"], strict=True)  # pyright: ignore[reportArgumentType]
        return [ids[: len(ids) - len(list(takewhile(bool, reversed(mask))))] for ids, mask in pairs]

    @cached_property
    def token_text(self) -> TokenText:
        """The text of each token."""
        return TokenText(self.tokenizer)

    @property
    def end_id(self) -> int:
        """The token that ends a turn: the one that the chat template writes after an answer, else the tokenizer's.

        The student is trained to write it, and it is audited.
        """
        assert self.stop_ids, "load_tokenizer requires an end token"
        return self.stop_ids[0]

    @cached_property
    def stop_ids(self) -> tuple[int, ...]:
        """The tokens at which generation stops: the end token, the tokenizer's, and those of the generation config."""
        special = self.tokenizer.added_tokens_decoder  # pyright: ignore[reportAttributeAccessIssue]
        ends = [id for id in self.turn_end()[:1] if id in special]
        ends += [id for id in (self.tokenizer.eos_token_id,) if isinstance(id, int)]
        return tuple(dict.fromkeys([*ends, *self.generation_ends]))

    def stop_strings(self, stop: Sequence[str]) -> "StopStrings":
        """How the stop strings are recognised in a response that grows by one token after the other."""
        return StopStrings(self.token_text, tuple(stop))

    @cached_property
    def thinks(self) -> bool:
        """Whether the chat template lets the model think before it answers: it has thoughts and leaves them open."""
        template = str(self.tokenizer.chat_template or "")
        return any(
            begin in template and not self.render("2+2=").rstrip().endswith(end) for begin, end in THOUGHTS
        )

    def turn_end(self) -> list[int]:
        """The tokens that the chat template writes after an answer; empty without a template that accepts answers."""
        if not self.tokenizer.chat_template:
            return []
        try:
            text = self.render_conversation([Message("user", "2+2="), Message("assistant", _ANSWER)])
        except Exception:  # a template can raise anything; check reports it
            return []
        _, answer, after = text.rpartition(_ANSWER)
        if not answer:  # the template changes it
            return []
        ids = self.tokenizer(after.lstrip(), add_special_tokens=False)["input_ids"]
        return list(ids)  # pyright: ignore[reportArgumentType]

    def render_conversation(self, messages: Sequence[Message], *, add_generation_prompt: bool = False) -> str:
        """The text of a conversation by the chat template. Any error of the template passes."""
        return str(
            self.tokenizer.apply_chat_template(
                [message.as_row() for message in messages],
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                **self.template_kwargs,
            )
        )


@dataclass(frozen=True, eq=False)
class StopStrings:
    """Strings that end a response. Of its tokens, the last `num_tokens` show whether one has just been completed."""

    token_text: TokenText
    stop: tuple[str, ...]

    @cached_property
    def num_tokens(self) -> int:
        """Every token has at least a byte, except special ones, which have no text."""
        return max(len(string.encode()) for string in self.stop) + STOP_MARGIN

    def end(self, token_ids: Sequence[int]) -> bool:
        """Whether a stop string is among the last tokens of a response."""
        tail = self.token_text.middle(token_ids[-self.num_tokens :]).decode("utf-8", "replace")
        return any(string in tail for string in self.stop)


@lru_cache(maxsize=8)
def excluded_ids(tokenizer: PreTrainedTokenizerBase, vocab_size: int) -> tuple[int, ...]:
    """The ids below vocab_size, the number of a model's logits, that are no token: never sampled.

    Models pad their vocabulary, to a multiple of 64 or more. A sample with such an id would have no text, and no
    teacher could continue it. They are excluded where a token is chosen, rather than everywhere: entropies,
    log-probabilities and losses stay those of the model, which gives these ids hardly any probability. The self-test
    of `check` refuses a model that does not.
    """
    return tuple(sorted(set(range(vocab_size)) - set(tokenizer.get_vocab().values())))


def check_template(name: str, chat: Chat, prompts: Sequence[Conversation]) -> None:
    """Raise where the chat template loses a part of a prompt: it renders two prompts alike, or leaves out a message.

    Args:
        name: The directory or hub name.
        chat: Its tokenizer with the chat template.
        prompts: Conversations that differ by more than white space.

    Raises:
        ModelError: naming two prompts, or the message.
    """
    first: dict[str, Conversation] = {}
    for prompt in dict.fromkeys([*map(conversation, PROBES), *prompts]):
        other = first.setdefault(chat.render(prompt), prompt)
        if plain_text(other).split() != plain_text(prompt).split():
            raise ModelError(
                f"{name}: its chat template renders {plain_text(other)[:SHOWN_LEN]!r} and "
                f"{plain_text(prompt)[:SHOWN_LEN]!r} alike, so that prompts do not reach the model; fix "
                "chat_template.jinja or tokenizer_config.json"
            )
    # One prompt of each kind of history: a template treats messages by their roles.
    histories = {tuple(message.role for message in prompt): prompt for prompt in prompts}
    for prompt in histories.values():
        for i, message in enumerate(prompt[:-1]):
            changed = Message(message.role, f"{message.content} ({PROBES[0]})")
            if chat.render(prompt) == chat.render([*prompt[:i], changed, *prompt[i + 1 :]]):
                raise ModelError(
                    f"{name}: its chat template leaves out the {message.role} message "
                    f"{message.content[:SHOWN_LEN]!r}, so that it does not reach the model; fix chat_template.jinja or "
                    "tokenizer_config.json, or take the message out of the prompts"
                )


def template_warning(name: str, chat: Chat) -> list[str]:
    """A warning where there is no chat template."""
    if chat.tokenizer.chat_template:
        return []
    return [
        f"{name}: has no chat template, so prompts are given to it as they are; that is right for a base model, and "
        "else take the tokenizer that belongs to the model"
    ]
