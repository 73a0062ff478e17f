"""The k values of smallest key of a stream: a sample without replacement, where keys are hashes."""

import heapq
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Smallest(Generic[T]):
    """Holds k values at most, whatever was offered, and in which order.

    >>> smallest = Smallest[str](2)
    >>> for key, value in ((3, "c"), (1, "a"), (2, "b")):
    ...     smallest.offer(key, value)
    >>> list(smallest)
    [(1, 'a'), (2, 'b')]
    """

    def __init__(self, k: int) -> None:
        self._k = k
        self._values: dict[int, T] = {}
        self._negated: list[int] = []  # keys, as a heap whose first is the largest

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> Iterator[tuple[int, T]]:
        """Keys and values, the smallest key first."""
        return iter(sorted(self._values.items(), key=lambda item: item[0]))

    def get(self, key: int) -> T | None:
        """The value of a key that is held."""
        return self._values.get(key)

    def offer(self, key: int, value: T) -> None:
        """Hold it, in place of the largest where there are k, unless it would be the largest; in place of its like."""
        if key in self._values:
            self._values[key] = value
        elif len(self._values) < self._k:
            heapq.heappush(self._negated, -key)
            self._values[key] = value
        elif self._k and key < -self._negated[0]:
            del self._values[-heapq.heapreplace(self._negated, -key)]
            self._values[key] = value
