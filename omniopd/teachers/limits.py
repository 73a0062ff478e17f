"""Rate limits: one limiter per process, whose rate is divided by the number of processes that ask the same teacher.

Existing limiters cannot change their rate while callers wait, nor take more than their capacity.
"""

import asyncio
import time
from collections.abc import Callable


class Bucket:
    """A token bucket of `per_minute` units a minute, which holds those of one second; None: no limit.

    Callers are served in order. One that takes more than the bucket holds leaves a debt, for which the next ones wait.
    """

    def __init__(self, per_minute: float | None, *, clock: Callable[[], float] = time.monotonic):
        self._per_minute = per_minute
        self._clock = clock
        self._share = 1.0
        self._level = (per_minute or 0.0) / 60
        self._filled_at = clock()
        self._turn = asyncio.Lock()

    def divide(self, num_clients: int) -> None:
        """Divide the rate by the number of clients."""
        self._fill()
        self._share = 1.0 / num_clients

    async def take(self, amount: float) -> None:
        """Wait until the units may be used, and take them."""
        if self._per_minute is None:
            return
        async with self._turn:
            while (wait_s := self._wait_s()) > 0:
                await asyncio.sleep(wait_s)
            self._level -= amount

    def give_back(self, amount: float) -> None:
        """Return units that were taken and not used."""
        if self._per_minute is not None:
            self._level += amount

    @property
    def _rate(self) -> float:
        return (self._per_minute or 0.0) * self._share / 60

    def _fill(self) -> None:
        now = self._clock()
        self._level = min(self._level + (now - self._filled_at) * self._rate, max(self._level, self._rate))
        self._filled_at = now

    def _wait_s(self) -> float:
        """Seconds until the level is above 0."""
        self._fill()
        return 0.0 if self._level > 0 else (1e-3 - self._level) / self._rate
