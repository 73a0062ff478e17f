"""Tokens to text and back in the middle of a response."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from transformers import PreTrainedTokenizerBase

from omniopd.models.loading import encode_rendered, render_prompt


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
        """The tokens of each text behind its context, or None where the context's own tokens come out changed.

        That happens where a token would reach across the boundary, and where the model wrote a text in
        other tokens than the tokenizer would.
        """
        if not texts:
            return []
        joined = [
            render_prompt(self._tokenizer, context.prompt) + self.text(context.response_ids) + text
            for context, text in zip(contexts, texts, strict=True)
        ]
        found: list[list[int] | None] = []
        for context, row in zip(contexts, encode_rendered(self._tokenizer, joined), strict=True):
            before = [*context.prompt_ids, *context.response_ids]
            found.append(row[len(before) :] if row[: len(before)] == before else None)
        return found

    def read_alone(self, text: str) -> list[int]:
        """The tokens of a text with nothing before it."""
        return self._tokenizer.encode(text, add_special_tokens=False)

    def _decode_after(self, before: int | None, token_ids: tuple[int, ...]) -> str:
        alone = self.text(list(token_ids))
        if before is None:
            return alone
        head, whole = self.text([before]), self.text([before, *token_ids])
        return whole[len(head) :] if whole.startswith(head) else alone
