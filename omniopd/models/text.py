"""Decodes and encodes text in the middle of a response."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from omniopd.data.conversation import Conversation
from omniopd.models.chat import Chat
from omniopd.models.token_text import PART, characters

HEADS = ("\n", ".", "a")  # texts that few tokens reach across


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

    @property
    def last_id(self) -> int | None:
        """The token before the text that follows; None at the start of a text."""
        return (self.response_ids or self.prompt_ids or [None])[-1]


class TextDecoder:
    """The text of tokens, and the tokens of texts, at any place of a response; see `TokenText`.

    A place is named by the token before it: the prompt's last token before a response. None is the start of a text.
    Results are cached, since short chunks recur.
    """

    def __init__(self, chat: Chat):
        self._chat, self._tokenizer, self._tokens = chat, chat.tokenizer, chat.token_text
        self._decoded = lru_cache(maxsize=65_536)(self._decode)

    def text(self, token_ids: list[int], before: int | None = None) -> str:
        """The text of a whole response after the token `before`, without the stop token at its end."""
        return self._decode(before, self._without_stop(token_ids))

    def text_after(self, before: int | None, token_ids: list[int]) -> str:
        """The text of token_ids after the token `before`, without a stop token at their end."""
        return self._decoded(before, tuple(self._without_stop(token_ids)))

    def pieces(self, before: int | None, token_ids: Sequence[int]) -> list[str]:
        """The text of each token; a character of several tokens is at the last of them."""
        return characters(self._tokens.after(before, token_ids))

    def prefix(self, context: Context) -> str | None:
        """The text of a response so far; None where it ends within a character, or holds bytes that are none."""
        before = context.prompt_ids[-1] if context.prompt_ids else None
        try:
            return b"".join(self._tokens.after(before, context.response_ids)).decode("utf-8")
        except UnicodeDecodeError:
            return None

    def read_after(self, contexts: Sequence[Context], texts: Sequence[str]) -> list[list[int] | None]:
        """The tokens of each text after its context, or None where no tokens there have just that text.

        That happens where a token would reach from the context into the text, where the text of a context does not show
        all its tokens, and where the student cannot write the text (special tokens, unknown characters, forms that the
        tokenizer normalises). The context and the text are encoded together. Where the result begins with the
        context's own tokens, or else with the tokens of the context encoded alone, the rest is returned.
        """
        distinct = {id(context): context for context in contexts}  # the replies to a chunk share one
        prefix_of = {key: self._whole_prefix(context) for key, context in distinct.items()}
        prefixes = [prefix_of[id(context)] for context in contexts]  # None where it does not show all tokens
        joined = [(prefix or "") + text for prefix, text in zip(prefixes, texts, strict=True)]
        rows = self._encoded(
            [text for prefix, text in zip(prefixes, joined, strict=True) if prefix is not None]
        )
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
        return [
            ids if ids is not None and self.reads(context.last_id, ids, text) else None
            for context, ids, text in zip(contexts, results, texts, strict=True)
        ]

    def read_alone(self, text: str, before: int | None = None) -> list[int]:
        """The tokens of a text that is not joined to the token `before`; `reads` says whether they have that text."""
        ids = list(self._tokenizer.encode(text, add_special_tokens=False))
        if before is None or self.reads(before, ids, text):
            return ids
        for head in HEADS:  # the tokenizer adds a space at the start of a text, but not after these
            head_ids = list(self._tokenizer.encode(head, add_special_tokens=False))
            row = list(self._tokenizer.encode(head + text, add_special_tokens=False))
            if row[: len(head_ids)] == head_ids and self.reads(before, row[len(head_ids) :], text):
                return row[len(head_ids) :]
        return ids

    def reads(self, before: int | None, token_ids: list[int], text: str) -> bool:
        """Whether that is the text of the tokens after the token `before`."""
        if PART in text or self.hides(token_ids):
            return False
        decoded = self._decoded(before, tuple(token_ids))
        return decoded == text or (self._tokens.collapses_space and self._bare(decoded) == self._bare(text))

    def hides(self, token_ids: Sequence[int]) -> bool:
        """Whether a token has no text: a special one, such as that of unknown characters."""
        return not self._tokens.special.isdisjoint(token_ids)

    def _bare(self, text: str) -> str:
        """A text as a tokenizer that ignores white space reads it."""
        backend = getattr(self._tokenizer, "backend_tokenizer", None)
        normalizer = backend and backend.normalizer
        return "".join((normalizer.normalize_str(text) if normalizer else text).split())

    def _whole_prefix(self, context: Context) -> str | None:
        """The text of prompt and response so far; None where it hides a token of the response."""
        if self.hides(context.response_ids):
            return None
        text = self.prefix(context)
        return None if text is None else self._chat.render(context.prompt) + text

    def _encoded(self, texts: Sequence[str]) -> dict[str, list[int]]:
        """The tokens of each text, equal ones encoded once."""
        distinct = list(dict.fromkeys(texts))
        return dict(zip(distinct, self._chat.encode_rendered(distinct), strict=True))

    def _without_stop(self, token_ids: list[int]) -> list[int]:
        return token_ids[:-1] if token_ids and token_ids[-1] in self._chat.stop_ids else token_ids

    def _decode(self, before: int | None, token_ids: Sequence[int]) -> str:
        return b"".join(self._tokens.after(before, token_ids)).decode("utf-8", "replace")
