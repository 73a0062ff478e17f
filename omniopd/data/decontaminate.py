"""Which training prompts overlap with evaluation items: word n-grams in common."""

import re
from collections import Counter
from dataclasses import dataclass

from omniopd.data.dedup import text_digest

MAX_ITEMS = 10  # an n-gram of more items than this is boilerplate
_WORD = re.compile(r"\w+")
_WORD_OR_SIGN = re.compile(r"\w+|[^\w\s.,;:!?'\"]")


@dataclass(frozen=True)
class Overlap:
    """The words that a prompt shares with an item, and the name of the item.

    >>> Overlap(item="test.jsonl:12", words="how many clips did natalia sell").item
    'test.jsonl:12'
    """

    item: str
    words: str


class EvaluationItems:
    """The n-grams of evaluation items, by hash.

    Words are runs of letters and digits in lower case; punctuation and white space make no difference. A text of
    fewer than n words has no n-gram and is compared as a whole, signs such as + and - included: in `1+1=` they are the
    question. An n-gram of more than MAX_ITEMS different items is ignored.
    """

    def __init__(self, ngram: int) -> None:
        self.ngram = ngram
        self._items: list[tuple[str, list[str]]] = []  # name and words
        self._digests: set[bytes] = set()
        self._first: dict[int, int] = {}  # hash of an n-gram → index of the first item that has it
        self._num_more: Counter[int] = Counter()  # hash of an n-gram → number of further items
        self._short: dict[str, str] = {}  # text of fewer than n words → name

    def __len__(self) -> int:
        return len(self._digests)

    def add(self, name: str, text: str) -> None:
        """Add an item; a text that was added before changes nothing."""
        digest = text_digest(text)
        if digest in self._digests:
            return
        self._digests.add(digest)
        words = _words(text)
        if len(words) < self.ngram:
            self._short.setdefault(_with_signs(text), name)
            return
        for ngram in set(self._hashes(words)):
            if self._first.setdefault(ngram, len(self._items)) != len(self._items):
                self._num_more[ngram] += 1
        self._items.append((name, words))

    def overlap(self, text: str) -> Overlap | None:
        """The first n-gram, or the whole short text, that an item has too; None where there is none."""
        words = _words(text)
        if len(words) < self.ngram:
            short = _with_signs(text)
            return Overlap(self._short[short], short) if short in self._short else None
        for start, ngram in enumerate(self._hashes(words)):
            if ngram not in self._first or self._num_more[ngram] >= MAX_ITEMS:
                continue
            name, item_words = self._items[self._first[ngram]]
            shared = words[start : start + self.ngram]
            if any(item_words[i : i + self.ngram] == shared for i in range(len(item_words) - self.ngram + 1)):
                return Overlap(name, " ".join(shared))
        return None

    def _hashes(self, words: list[str]) -> list[int]:
        return [hash(tuple(words[i : i + self.ngram])) for i in range(len(words) - self.ngram + 1)]


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _with_signs(text: str) -> str:
    return " ".join(_WORD_OR_SIGN.findall(text.casefold()))
