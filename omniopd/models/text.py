"""Decodes and encodes text in the middle of a response."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from omniopd.data.conversation import Conversation
from omniopd.models.chat import Chat

PART = "\ufffd"  # a partial character, as byte-level tokenizers decode it


def legible(text: str, finish_reason: str) -> str:
    """The text without a last character that may be cut: its tokens were never written."""
    return text if finish_reason == "stop" else text.rstrip(PART)


@dataclass(frozen=True)
class Context:
    """What precedes a text: a prompt, and the tokens of a response so far.

    >>> Context(conversation("1+2="), [1, 10, 2, 11], [3]).response_ids
    [3]
    """

    prompt: Conversation
    prompt_ids: list[int]
    response_ids: list[int]


class TextDecoder:
    """Decodes tokens in the context of the token before; special tokens have no text.

    Decoded alone, a token may lose a leading space in some tokenizers, so the token before is decoded with it and its
    text removed again. Results are cached, since short chunks recur.
    """

    def __init__(self, chat: Chat):
        self._chat, self._tokenizer = chat, chat.tokenizer
        self._after = lru_cache(maxsize=65_536)(self._decode_after)
        # The text of a token after the token before it, or of a first one (None).
        self.token_after = lru_cache(maxsize=65_536)(
            lambda before, token_id: self._decode_after(before, (token_id,))
        )
        added = self._tokenizer.added_tokens_decoder  # pyright: ignore[reportAttributeAccessIssue]
        special = (id for id, token in added.items() if token.special)
        self._special = {*self._tokenizer.all_special_ids, *chat.stop_ids, *special}

    def text(self, token_ids: list[int]) -> str:
        """The text of a whole response, without the stop token at its end."""
        if token_ids and token_ids[-1] in self._chat.stop_ids:
            token_ids = token_ids[:-1]
        return str(self._tokenizer.decode(token_ids, skip_special_tokens=True))

    def text_after(self, before: int | None, token_ids: list[int]) -> str:
        """The text of token_ids after the token `before`, or at the start (None)."""
        return self._after(before, tuple(token_ids))

    def read_after(self, contexts: Sequence[Context], texts: Sequence[str]) -> list[list[int] | None]:
        """The tokens of each text after its context, or None where no token ends between the two.

        That happens where a token would reach across, and where the text of a context does not show all its tokens. The
        context and the text are encoded together. Where the result begins with the context's own tokens, or else with
        the tokens of the context encoded alone, the rest is returned.
        """
        # None where the text does not show all tokens.
        prefix_of: dict[tuple[Conversation, tuple[int, ...]], str | None] = {}
        prefixes: list[str | None] = []
        for context in contexts:  # the replies to a chunk share one
            key = context.prompt, tuple(context.response_ids)
            if key not in prefix_of:
                prefix_of[key] = self._prefix(context)
            prefixes.append(prefix_of[key])
        joined = [(prefix or "") + text for prefix, text in zip(prefixes, texts, strict=True)]
        rows = self._encoded(joined)
        results: list[list[int] | None] = [None] * len(joined)
        retokenised: list[int] = []
        for i, (context, prefix, text) in enumerate(zip(contexts, prefixes, joined, strict=True)):
            context_ids = [*context.prompt_ids, *context.response_ids]
            if prefix is not None and rows[text][: len(context_ids)] == context_ids:
                results[i] = rows[text][len(context_ids) :]
            elif prefix is not None:
                retokenised.append(i)
        heads = self._encoded([prefixes[i] or "" for i in retokenised])
        for i in retokenised:
            head, row = heads[prefixes[i] or ""], rows[joined[i]]
            results[i] = row[len(head) :] if row[: len(head)] == head else None
        return results

    def _prefix(self, context: Context) -> str | None:
        """The text of a context; None where it hides a token: a special one, or a partial character."""
        ids = context.response_ids
        text = self.text(ids)
        shows_all = self._special.isdisjoint(ids) or text == self._tokenizer.decode(ids)
        if not shows_all or PART in text:
            return None
        return self._chat.render(context.prompt) + text

    def _encoded(self, texts: Sequence[str]) -> dict[str, list[int]]:
        """The tokens of each text, equal ones encoded once."""
        distinct = list(dict.fromkeys(texts))
        return dict(zip(distinct, self._chat.encode_rendered(distinct), strict=True))

    def read_alone(self, text: str) -> list[int]:
        """The tokens of a text without a context."""
        return self._tokenizer.encode(text, add_special_tokens=False)

    def _decode_after(self, before: int | None, token_ids: tuple[int, ...]) -> str:
        alone = self.text(list(token_ids))
        if before is None:
            return alone
        head, whole = self.text([before]), self.text([before, *token_ids])
        return whole[len(head) :] if whole.startswith(head) else alone
