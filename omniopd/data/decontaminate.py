"""Which training prompts say what an evaluation item says: word n-grams in common."""

import re
from collections import Counter
from dataclasses import dataclass

from omniopd.data.dedup import text_digest

MAX_ITEMS = 10  # an n-gram of more items than this is how questions are put, not a question
_WORD = re.compile(r"\w+")
_WORD_OR_SIGN = re.compile(r"\w+|[^\w\s.,;:!?'\"]")


@dataclass(frozen=True)
class Overlap:
    """What a prompt has in common, and with which item.

    >>> Overlap(item="test.jsonl:12", words="how many clips did natalia sell").item
    'test.jsonl:12'
    """

    item: str
    words: str


class EvaluationItems:
    """The n-grams of evaluation items, by hash.

    Words are runs of letters and digits in lower case; punctuation and white space make no difference. A text of
    fewer than n words has no n-gram and is compared as a whole, signs such as + and - included: of `1+1=` they are the
    question. An n-gram that stands in more than MAX_ITEMS different items is not counted.
    """

    def __init__(self, ngram: int) -> None:
        self._n = ngram
        self._items: list[tuple[str, list[str]]] = []  # name and words
        self._texts: set[bytes] = set()
        self._first: dict[int, int] = {}  # hash of an n-gram → the first item that has it
        self._more: Counter[int] = Counter()  # how many items besides have it
        self._whole: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._texts)

    def like(self) -> "EvaluationItems":
        """An empty one of the same n."""
        return EvaluationItems(self._n)

    def add(self, name: str, text: str) -> None:
        """Take in an item; a text that was taken in before changes nothing."""
        digest = text_digest(text)
        if digest in self._texts:
            return
        self._texts.add(digest)
        words = _words(text)
        if len(words) < self._n:
            self._whole.setdefault(_whole(text), name)
            return
        for ngram in set(self._hashes(words)):
            if self._first.setdefault(ngram, len(self._items)) != len(self._items):
                self._more[ngram] += 1
        self._items.append((name, words))

    def overlap(self, text: str) -> Overlap | None:
        """The first n-gram, or the whole, that the text has in common with an item."""
        words = _words(text)
        if len(words) < self._n:
            whole = _whole(text)
            return Overlap(self._whole[whole], whole) if whole in self._whole else None
        for start, ngram in enumerate(self._hashes(words)):
            if ngram not in self._first or self._more[ngram] >= MAX_ITEMS:
                continue
            name, of_item = self._items[self._first[ngram]]
            own = words[start : start + self._n]
            if any(of_item[i : i + self._n] == own for i in range(len(of_item) - self._n + 1)):
                return Overlap(name, " ".join(own))
        return None

    def _hashes(self, words: list[str]) -> list[int]:
        n = self._n
        return [hash(tuple(words[i : i + n])) for i in range(len(words) - n + 1)]


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _whole(text: str) -> str:
    return " ".join(_WORD_OR_SIGN.findall(text.casefold()))
