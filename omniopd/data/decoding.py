"""How tokens are chosen from a model's distributions, and the strings that end a response."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Decoding:
    """The settings of sampling; the defaults sample from the model's own distribution.

    The temperature applies first, then min_p, top_k and top_p, each to what the one before has left (vLLM's order).

    >>> Decoding(temperature=0.6, top_p=0.95).is_truncated
    True
    """

    temperature: float = 1.0  # 0 is greedy
    top_p: float = 1.0  # the likeliest tokens whose probabilities first sum to this
    top_k: int | None = None  # the k likeliest tokens, and those that tie with the last
    min_p: float = 0.0  # tokens at least this likely relative to the likeliest
    stop: tuple[str, ...] = ()  # a response ends at the first of these, which is no part of its text

    @property
    def is_truncated(self) -> bool:
        """Whether some tokens are never chosen."""
        return self.top_p < 1 or self.top_k is not None or self.min_p > 0


GREEDY = Decoding(temperature=0.0)


def before_stop(text: str, stop: Sequence[str]) -> str:
    """The text before the stop string that is completed first.

    >>> before_stop("4. Question: 3+5=", ["5", " Question:"])
    '4.'
    """
    place = _first(text, stop)
    return text if place is None else text[: place[1]]


def through_stop(text: str, stop: Sequence[str]) -> str:
    """The text up to the end of the stop string that is completed first.

    >>> through_stop("4. Question: 3+5=", ["5", " Question:"])
    '4. Question:'
    """
    place = _first(text, stop)
    return text if place is None else text[: place[0]]


def _first(text: str, stop: Sequence[str]) -> tuple[int, int] | None:
    """(end, start) of the stop string that ends first; None where there is none."""
    places = [(start + len(string), start) for string in stop if (start := text.find(string)) >= 0]
    return min(places, default=None)
