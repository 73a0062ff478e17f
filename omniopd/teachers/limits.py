"""Requests and tokens a minute: one limiter a process, whose share is divided with the processes that ask the same.

Our own, since the limiters at hand neither change their rate while callers wait nor take more at once than they hold.
"""

import asyncio
import time
from collections.abc import Callable


class Bucket:
    """`per_minute` units a minute, of which a second's worth may be taken at once; None: no limit.

    Takers are served in the order in which they came. One that wants more than is there goes into debt, and those
    after it wait until it is paid.
    """

    def __init__(self, per_minute: float | None, *, clock: Callable[[], float] = time.monotonic):
        self._per_minute = per_minute
        self._clock = clock
        self._share = 1.0
        self._level = (per_minute or 0.0) / 60
        self._filled_at = clock()
        self._turn = asyncio.Lock()

    def divide(self, num_clients: int) -> None:
        """Take one share of as many as there are."""
        self._fill()
        self._share = 1.0 / num_clients

    async def take(self, amount: float) -> None:
        """Wait until the units may be used."""
        if self._per_minute is None:
            return
        async with self._turn:
            while (wait_s := self._wait_s()) > 0:
                await asyncio.sleep(wait_s)
            self._level -= amount

    def give_back(self, amount: float) -> None:
        """Units that were taken and turned out not to be used."""
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
        """Seconds until the level is above 0, for the first in line."""
        self._fill()
        return 0.0 if self._level > 0 else (1e-3 - self._level) / self._rate
