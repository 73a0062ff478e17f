"""Prompts as a model reads them: rendered by its chat template, and encoded."""

from collections.abc import Sequence
from itertools import takewhile

from transformers import PreTrainedTokenizerBase

from omniopd.errors import ModelError, one_line

# Prompts that differ only at the beginning, in the middle or at the end.
_TEXT = "What is the sum of {} and {}? Write each step on a line of its own, and the result after {}."
PROBES = tuple(_TEXT.format(*words) for words in ((2, 3, "="), (7, 3, "="), (2, 8, "="), (2, 3, "#")))
PROBES += (f"Now: {PROBES[0]}", "2+2=", "3+5=")
SHOWN_LEN = 120  # characters of a prompt in a message


def encode_prompt(tokenizer: PreTrainedTokenizerBase, prompt: str) -> list[int]:
    """The prompt's tokens, rendered by the chat template if there is one."""
    return encode_prompts(tokenizer, [prompt])[0]


def encode_prompts(tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str]) -> list[list[int]]:
    """The tokens of each prompt, as encode_prompt."""
    return encode_rendered(tokenizer, [render_prompt(tokenizer, prompt) for prompt in prompts])


def encode_rendered(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """The tokens of texts that begin with a rendered prompt."""
    if not texts:
        return []
    if tokenizer.chat_template:  # which brings its own special tokens
        return tokenizer(list(texts), add_special_tokens=False)["input_ids"]  # pyright: ignore[reportReturnType]
    # Else the tokenizer adds them. Those at the end are dropped: the text is to be continued.
    encoded = tokenizer(list(texts), return_special_tokens_mask=True)
    pairs = zip(encoded["input_ids"], encoded["special_tokens_mask"], strict=True)  # pyright: ignore[reportArgumentType]
    return [ids[: len(ids) - len(list(takewhile(bool, reversed(mask))))] for ids, mask in pairs]


def render_prompt(tokenizer: PreTrainedTokenizerBase, prompt: str) -> str:
    """The prompt's text, rendered by the chat template if there is one.

    Raises:
        ModelError: the chat template fails on it.
    """
    if not tokenizer.chat_template:
        return prompt
    message = [{"role": "user", "content": prompt}]
    try:
        return str(tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True))
    except Exception as error:  # a template can raise anything
        raise ModelError(
            f"{tokenizer.name_or_path}: its chat template does not take a prompt ({one_line(error)}); fix "
            "chat_template.jinja or tokenizer_config.json"
        ) from error


def check_template(name: str, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str]) -> None:
    """Raise where the chat template renders two different prompts alike, so that one cannot be told from the other.

    Args:
        name: The directory or hub name.
        tokenizer: The tokenizer with the chat template.
        prompts: Texts that differ by more than white space.

    Raises:
        ModelError: naming two of them.
    """
    first: dict[str, str] = {}
    for prompt in dict.fromkeys([*PROBES, *prompts]):
        rendered = render_prompt(tokenizer, prompt)
        other = first.setdefault(rendered, prompt)
        if other.split() != prompt.split():
            raise ModelError(
                f"{name}: its chat template renders {other[:SHOWN_LEN]!r} and {prompt[:SHOWN_LEN]!r} alike, so that "
                "prompts do not reach the model; fix chat_template.jinja or tokenizer_config.json"
            )


def template_warning(name: str, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """A warning where there is no chat template."""
    if tokenizer.chat_template:
        return []
    return [
        f"{name}: has no chat template, so that prompts are given to it as they are; that is right for a base "
        "model, and else take the tokenizer that belongs to the model"
    ]


def end_token(tokenizer: PreTrainedTokenizerBase) -> int:
    """The id of the end token, which load_tokenizer requires."""
    end_id = tokenizer.eos_token_id
    assert isinstance(end_id, int)
    return end_id
