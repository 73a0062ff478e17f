"""A measured figure, and how it is measured: alternately with what it is compared with."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """How many units a second, ours and theirs; `theirs` is 0 where there is nothing to compare with.

    >>> Figure("reads", "1/s", ours=90.0, beside="bare calls", theirs=100.0).ratio
    0.9
    """

    what: str
    unit: str
    ours: float
    beside: str = ""
    theirs: float = 0.0

    @property
    def ratio(self) -> float:
        """Ours over theirs."""
        return self.ours / self.theirs if self.theirs else 0.0


def alternating(ours: Callable[[], int], theirs: Callable[[], int], *, rounds: int) -> tuple[float, float]:
    """Median units a second of each, in turns, so that what disturbs one disturbs the other; the first is left out."""
    rates: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds + 1):
        for work, found in zip((ours, theirs), rates, strict=True):
            start = time.perf_counter()
            count = work()
            found.append(count / (time.perf_counter() - start))
    return statistics.median(rates[0][1:]), statistics.median(rates[1][1:])
