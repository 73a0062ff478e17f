"""Text of a few tokens in the middle of a response."""

from functools import lru_cache

from transformers import PreTrainedTokenizerBase


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

    def _decode_after(self, before: int | None, token_ids: tuple[int, ...]) -> str:
        alone = self.text(list(token_ids))
        if before is None:
            return alone
        head, whole = self.text([before]), self.text([before, *token_ids])
        return whole[len(head) :] if whole.startswith(head) else alone
