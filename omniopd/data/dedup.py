"""Which texts count as the same."""

import hashlib
import unicodedata


def text_digest(text: str) -> bytes:
    """16 bytes that identify a text up to white space and Unicode composition.

    Case and punctuation count: in a formula they are the question.

    Raises:
        UnicodeEncodeError: the text holds half of a surrogate pair.
    """
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    return hashlib.blake2b(" ".join(text.split()).encode(), digest_size=16).digest()
