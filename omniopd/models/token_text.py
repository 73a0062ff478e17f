"""The bytes that each token adds to a text: a character may be spread over several tokens."""

import codecs
from collections.abc import Iterable, Sequence
from functools import cached_property, lru_cache
from itertools import chain

from transformers import PreTrainedTokenizerBase
from transformers.convert_slow_tokenizer import bytes_to_unicode

from omniopd.errors import ModelError

PART = "\ufffd"  # bytes that are no character: part of one, where a text was cut
UNKNOWN = b"\xff"  # of a token whose bytes the tokenizer does not show; never part of UTF-8
_BYTES_OF = {character: byte for byte, character in bytes_to_unicode().items()}  # of byte-level tokenizers
_CANDIDATES = ("a", "1", "0", "x", "=")  # texts whose last token may be the visible one
_PROBES = ("{0} {0}", "{0}{0}{0}", "{0}, {0}.\n")


class TokenText:
    """The text of tokens in the middle of a text, one token at a time, so that every cut of a text adds up to it.

    Tokenizers decode a whole text: SentencePiece ones drop the space that they put before it, WordPiece ones put none
    before the first word, and bytes are joined to characters. Here a token is decoded after a visible one, and a part
    of a character remains bytes. A space that the tokenizer itself adds, at the start of a text or after an added
    token, is no text. Special tokens have no text. Spaces before punctuation stay (`clean_up_tokenization_spaces`
    would remove them): the text is what the tokens say.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase):
        self._tokenizer = tokenizer
        added = tokenizer.added_tokens_decoder  # pyright: ignore[reportAttributeAccessIssue]
        self._added = frozenset(added)
        self.special = frozenset({*tokenizer.all_special_ids, *(id for id in added if added[id].special)})
        self._bytes_of = lru_cache(maxsize=None)(self._decoded)
        self._adds = lru_cache(maxsize=None)(self._adds_space)

    def after(self, before: int | None, token_ids: Sequence[int]) -> list[bytes]:
        """The bytes of each token after the token `before`, or at the start of a text (None)."""
        pieces: list[bytes] = []
        for token_id in token_ids:
            piece = self._bytes_of(token_id)
            is_start = before is None or before in self._added
            if is_start and piece.startswith(b" ") and self._adds(before):
                piece = piece[1:]
            pieces.append(piece)
            before = token_id
        return pieces

    def middle(self, token_ids: Sequence[int]) -> bytes:
        """The bytes of tokens in the middle of a text."""
        return b"".join(map(self._bytes_of, token_ids))

    @cached_property
    def collapses_space(self) -> bool:
        """Whether texts that differ in white space have the same tokens, as with WordPiece."""
        _, text = self._visible
        return self._encode(f"{text} {text}") == self._encode(f"{text}  {text}")

    def check(self, name: str) -> None:
        """Raise where the text of several tokens is not that of each token, one after the other.

        Raises:
            ModelError: naming the tokenizer.
        """
        visible_id, visible = self._visible
        for probe in _PROBES:
            ids = self._encode(probe.format(visible))
            if (
                b"".join(self.after(visible_id, ids))
                != self._decode([visible_id, *ids])[len(visible) :].encode()
            ):
                raise ModelError(
                    f"{name}: the text of its tokens depends on the tokens after them, so that a text cannot be cut "
                    "between two; take a model with a byte-level, SentencePiece or WordPiece tokenizer"
                )

    def _encode(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False))

    def _decode(self, token_ids: Sequence[int]) -> str:
        return str(
            self._tokenizer.decode(
                list(token_ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
            )
        )

    @cached_property
    def _visible(self) -> tuple[int, str]:
        """An ordinary token and its text, which no decoder changes: no white space, and no part of a character."""
        likely = (self._encode(text)[-1:] for text in _CANDIDATES)
        for token_id in chain(chain.from_iterable(likely), range(len(self._tokenizer))):
            text = "" if token_id in self._added else self._decode([token_id])
            if (
                text
                and text.isprintable()
                and " " not in text
                and self._decode([token_id] * 2).startswith(text)
            ):
                return token_id, text
        raise ModelError(f"{self._tokenizer.name_or_path}: no token of its tokenizer has a text")

    def _decoded(self, token_id: int) -> bytes:
        """The bytes of a token in the middle of a text."""
        if token_id in self.special:
            return b""
        visible_id, visible = self._visible
        text = self._decode([visible_id, token_id])[len(visible) :]
        if PART not in text:
            return text.encode()
        token = str(self._tokenizer.convert_ids_to_tokens(token_id))
        if token_id in self._added:  # a byte-level decoder takes its characters for bytes
            return token.encode()
        return next((raw for raw in _readings(token) if raw.decode("utf-8", "replace") == text), UNKNOWN)

    def _adds_space(self, before: int | None) -> bool:
        """Whether the tokenizer inserts a space after the added token `before`, or at the start of a text (None)."""
        _, visible = self._visible
        head = "" if before is None else str(self._tokenizer.convert_ids_to_tokens(before))
        ids = self._encode(head + visible)
        following = ids if before is None else ids[ids.index(before) + 1 :] if before in ids else []
        return bool(following) and self._bytes_of(following[0]).startswith(b" ")


def _readings(token: str) -> Iterable[bytes]:
    """The bytes that a token may stand for: byte fallback (`<0xE5>`), or the alphabet of byte-level tokenizers."""
    if len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
        yield bytes.fromhex(token[3:5])
    if all(character in _BYTES_OF for character in token):
        yield bytes(_BYTES_OF[character] for character in token)


def characters(pieces: Sequence[bytes]) -> list[str]:
    """The text of each piece. A character of several pieces is at the last of them; PART is where bytes are none.

    >>> characters([b"a", b"\\xe5\\xad", b"\\xa6!", b"\\xe5"])
    ['a', '', '学!', '\ufffd']
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    texts: list[str] = []
    for i, piece in enumerate(pieces):
        is_within = bool(decoder.getstate()[0])
        text = decoder.decode(piece)
        if is_within and text.startswith(PART):  # what was pending is no character
            texts[-1] += PART
            text = text[1:]
        if i == len(pieces) - 1:
            text += decoder.decode(b"", final=True)
        texts.append(text)
    return texts
