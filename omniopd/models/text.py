"""Tokens to text and back in the middle of a response."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from transformers import PreTrainedTokenizerBase

from omniopd.models.chat import encode_rendered, render_prompt

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
        self.token_after = lru_cache(maxsize=65_536)(self._decode_token_after)
        added = tokenizer.added_tokens_decoder  # pyright: ignore[reportAttributeAccessIssue]
        self._special = {*tokenizer.all_special_ids, *(id for id, token in added.items() if token.special)}

    def text(self, token_ids: list[int]) -> str:
        """The text of a whole response."""
        return str(self._tokenizer.decode(token_ids, skip_special_tokens=True))

    def text_after(self, before: int | None, token_ids: list[int]) -> str:
        """The text of token_ids where they follow the token `before`, or stand first (None)."""
        return self._after(before, tuple(token_ids))

    def read_after(self, contexts: Sequence[Context], texts: Sequence[str]) -> list[list[int] | None]:
        """The tokens of each text behind its context, or None where no token ends between the two.

        That happens where a token would reach across, and behind a context whose text does not say all of it. Where the
        tokenizer reads the context in the tokens that the model wrote, what is behind these counts; where it would
        take others, what is behind its own reading of the context alone.
        """
        prefix_of: dict[tuple[str, tuple[int, ...]], str | None] = {}  # None where it does not say all of it
        prefixes: list[str | None] = []
        for context in contexts:  # the replies to a chunk have one and the same
            key = context.prompt, tuple(context.response_ids)
            if key not in prefix_of:
                prefix_of[key] = self._prefix(context)
            prefixes.append(prefix_of[key])
        joined = [(prefix or "") + text for prefix, text in zip(prefixes, texts, strict=True)]
        rows = self._read(joined)
        found: list[list[int] | None] = [None] * len(joined)
        otherwise: list[int] = []
        for i, (context, prefix, text) in enumerate(zip(contexts, prefixes, joined, strict=True)):
            own = [*context.prompt_ids, *context.response_ids]
            if prefix is not None and rows[text][: len(own)] == own:
                found[i] = rows[text][len(own) :]
            elif prefix is not None:
                otherwise.append(i)
        heads = self._read([prefixes[i] or "" for i in otherwise])
        for i in otherwise:
            head, row = heads[prefixes[i] or ""], rows[joined[i]]
            found[i] = row[len(head) :] if row[: len(head)] == head else None
        return found

    def _prefix(self, context: Context) -> str | None:
        """The text before a place, or None where it does not show each token: a special one, or part of a character."""
        ids = context.response_ids
        text = self.text(ids)
        shows_all = self._special.isdisjoint(ids) or text == self._tokenizer.decode(ids)
        return (
            render_prompt(self._tokenizer, context.prompt) + text if shows_all and PART not in text else None
        )

    def _read(self, texts: Sequence[str]) -> dict[str, list[int]]:
        """The tokens of each text, equal ones read once."""
        distinct = list(dict.fromkeys(texts))
        return dict(zip(distinct, encode_rendered(self._tokenizer, distinct), strict=True))

    def read_alone(self, text: str) -> list[int]:
        """The tokens of a text with nothing before it."""
        return self._tokenizer.encode(text, add_special_tokens=False)

    def _decode_token_after(self, before: int | None, token_id: int) -> str:
        """The text of a token where it follows the token `before`, or stands first (None)."""
        return self._decode_after(before, (token_id,))

    def _decode_after(self, before: int | None, token_ids: tuple[int, ...]) -> str:
        alone = self.text(list(token_ids))
        if before is None:
            return alone
        head, whole = self.text([before]), self.text([before, *token_ids])
        return whole[len(head) :] if whole.startswith(head) else alone
