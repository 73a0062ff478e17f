"""Prompts as a model reads them: rendered by its chat template, and encoded."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from omniopd.errors import ModelError, one_line

# Prompts that differ at their beginning, in the middle and at the end alone.
_TEXT = "What is the sum of {} and {}? Write each step on a line of its own, and the result after {}."
PROBES = tuple(_TEXT.format(*words) for words in ((2, 3, "="), (7, 3, "="), (2, 8, "="), (2, 3, "#")))
PROBES += (f"Now: {PROBES[0]}", "2+2=", "3+5=")
PROBE_LEN = 120  # characters of a prompt in a message


def encode_prompt(tokenizer: PreTrainedTokenizerBase, prompt: str) -> list[int]:
    """The prompt's tokens as the model sees them: after its chat template, where it has one."""
    return encode_prompts(tokenizer, [prompt])[0]


def encode_prompts(tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str]) -> list[list[int]]:
    """The tokens of each prompt as the model sees them, read at once."""
    return encode_rendered(tokenizer, [render_prompt(tokenizer, prompt) for prompt in prompts])


def encode_rendered(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """The tokens of texts that begin with a rendered prompt."""
    if not texts:
        return []
    if tokenizer.chat_template:  # which brings its own special tokens
        return tokenizer(list(texts), add_special_tokens=False)["input_ids"]  # pyright: ignore[reportReturnType]
    # Else the tokenizer adds them: those before the text, since what it adds after it ends a text that is to go on.
    read = tokenizer(list(texts), return_special_tokens_mask=True)
    pairs = zip(read["input_ids"], read["special_tokens_mask"], strict=True)  # pyright: ignore[reportArgumentType]
    return [ids[: len(mask) - _num_last(mask)] for ids, mask in pairs]


def _num_last(mask: Sequence[int]) -> int:
    """The number of ones at the end."""
    return next((n for n, added in enumerate(reversed(mask)) if not added), len(mask))


def render_prompt(tokenizer: PreTrainedTokenizerBase, prompt: str) -> str:
    """The prompt's text as the model sees it.

    Raises:
        ModelError: the chat template does not take it.
    """
    if not tokenizer.chat_template:
        return prompt
    message = [{"role": "user", "content": prompt}]
    try:
        return str(tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True))
    except Exception as error:  # whatever a template raises
        raise ModelError(
            f"{tokenizer.name_or_path}: its chat template does not take a prompt ({one_line(error)}); fix "
            "chat_template.jinja or tokenizer_config.json"
        ) from error


def check_template(name: str, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str]) -> None:
    """Raise where two different prompts read alike: the student cannot know which it is asked.

    Args:
        name: The directory or hub name.
        tokenizer: Whose chat template is used.
        prompts: Texts, no two the same but for white space.

    Raises:
        ModelError: naming two of them.
    """
    first: dict[str, str] = {}
    for prompt in dict.fromkeys([*PROBES, *prompts]):
        rendered = render_prompt(tokenizer, prompt)
        other = first.setdefault(rendered, prompt)
        if other.split() != prompt.split():
            raise ModelError(
                f"{name}: its chat template renders {other[:PROBE_LEN]!r} and {prompt[:PROBE_LEN]!r} alike, so that "
                "prompts do not reach the model; fix chat_template.jinja or tokenizer_config.json"
            )


def template_warning(name: str, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Where there is no chat template."""
    if tokenizer.chat_template:
        return []
    return [
        f"{name}: has no chat template, so that prompts are given to it as they are; that is right for a base "
        "model, and else take the tokenizer that belongs to the model"
    ]


def end_token(tokenizer: PreTrainedTokenizerBase) -> int:
    """The id of the end token; load_tokenizer has made sure that there is one."""
    end_id = tokenizer.eos_token_id
    assert isinstance(end_id, int)
    return end_id
