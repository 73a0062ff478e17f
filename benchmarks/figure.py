"""A measured figure, and how it is measured: alternately with what it is compared with."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """Units per second, ours and theirs; `theirs` is 0 without a comparison, which `beside` names.

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


def in_turns(works: Mapping[str, Callable[[], int]], *, rounds: int) -> dict[str, float]:
    """Median units per second of each, in turns, so that noise hits all alike; the first round is a warm-up."""
    rates: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds + 1):
        for name, work in works.items():
            start = time.perf_counter()
            count = work()
            rates[name].append(count / (time.perf_counter() - start))
    return {name: statistics.median(measured[1:]) for name, measured in rates.items()}


def alternating(ours: Callable[[], int], theirs: Callable[[], int], *, rounds: int) -> tuple[float, float]:
    """in_turns for two."""
    rates = in_turns({"ours": ours, "theirs": theirs}, rounds=rounds)
    return rates["ours"], rates["theirs"]
