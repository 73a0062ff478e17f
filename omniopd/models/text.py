"""Tokens to text and back in the middle of a response."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from transformers import PreTrainedTokenizerBase

from omniopd.models.loading import encode_rendered, render_prompt

PART = "\ufffd"  # as a part of a character is decoded, in tokenizers over bytes


def legible(text: str, finish_reason: str) -> str:
    """The text without what a cut may have left of a last character: no token of that is one that was written."""
    return text if finish_reason == "stop" else text.rstrip(PART)


@dataclass(frozen=True)
class Context:
    """What a text stands behind: a prompt, and the tokens of a response so far.

    >>> Context("1+2=", [1, 10, 2, 11], [3]).response_ids
    [3]
    """

    prompt: str
    prompt_ids: list[int]
    response_ids: list[int]


class TextDecoder:
    """Decodes tokens as they read after the token before them; special tokens have no text.

    Alone, a token may lose what joins it to its neighbour (a leading space, in some tokenizers), so
    the token before is decoded with it and its own text taken off again. Short chunks recur, and are
    remembered.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase):
        self._tokenizer = tokenizer
        self._after = lru_cache(maxsize=65_536)(self._decode_after)

    def text(self, token_ids: list[int]) -> str:
        """The text of a whole response."""
        return str(self._tokenizer.decode(token_ids, skip_special_tokens=True))

    def text_after(self, before: int | None, token_ids: list[int]) -> str:
        """The text of token_ids where they follow the token `before`, or stand first (None)."""
        return self._after(before, tuple(token_ids))

    def read_after(self, contexts: Sequence[Context], texts: Sequence[str]) -> list[list[int] | None]:
        """The tokens of each text behind its context, or None where no token ends between the two.

        That happens where a token would reach across, and behind a context whose text does not say all of it. A context
        that the model wrote in other tokens than the tokenizer would is read as the tokenizer reads its text: the
        tokens behind it are the same.
        """
        if not texts:
            return []
        prefixes = [
            render_prompt(self._tokenizer, context.prompt) + self.text(context.response_ids)
            for context in contexts
        ]
        joined = [prefix + text for prefix, text in zip(prefixes, texts, strict=True)]
        heads, rows = self._read(prefixes), encode_rendered(self._tokenizer, joined)
        return [
            row[len(head) :] if row[: len(head)] == head and self._says_all(context.response_ids) else None
            for context, head, row in zip(contexts, heads, rows, strict=True)
        ]

    def _read(self, texts: Sequence[str]) -> list[list[int]]:
        """The tokens of each text, equal ones read once."""
        distinct = list(dict.fromkeys(texts))
        tokens = dict(zip(distinct, encode_rendered(self._tokenizer, distinct), strict=True))
        return [tokens[text] for text in texts]

    def _says_all(self, token_ids: list[int]) -> bool:
        """Whether the text of the tokens shows each of them: no special token, no part of a character."""
        text = self.text(token_ids)
        return PART not in text and text == self._tokenizer.decode(token_ids, skip_special_tokens=False)

    def read_alone(self, text: str) -> list[int]:
        """The tokens of a text with nothing before it."""
        return self._tokenizer.encode(text, add_special_tokens=False)

    def _decode_after(self, before: int | None, token_ids: tuple[int, ...]) -> str:
        alone = self.text(list(token_ids))
        if before is None:
            return alone
        head, whole = self.text([before]), self.text([before, *token_ids])
        return whole[len(head) :] if whole.startswith(head) else alone
