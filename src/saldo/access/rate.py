"""How often one may ask: a token bucket, of one process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import NamedTuple


class Rate(NamedTuple):
    """A limit: so many a second in the long run, and so many at once after a rest."""

    per_second: float
    burst: int


class Bucket:
    """Holds what may be taken; fills by itself.

    It may be overdrawn by the last who takes from it: a request for many transactions is let in whole, and the next one
    waits for longer. So a request is never too large to be let in at all.
    """

    __slots__ = ("_clock", "_filled_at", "_level", "_rate")

    def __init__(self, rate: Rate, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._clock = clock
        self._level = float(rate.burst)
        self._filled_at = clock()

    def take(self, count: int = 1) -> float:
        """Takes so many if it isn't empty.

        Returns:
            0: taken; else the seconds until something can be, and nothing was taken.
        """
        now = self._clock()
        level = self._level + (now - self._filled_at) * self._rate.per_second
        self._level = min(level, float(self._rate.burst))
        self._filled_at = now
        if self._level < 1:
            return (1 - self._level) / self._rate.per_second
        self._level -= count
        return 0.0

    async def taken(self, count: int) -> None:
        """Takes so many, as soon as it isn't empty."""
        while True:
            seconds = self.take(count)
            if not seconds:
                return
            await asyncio.sleep(seconds)

    def overdraw(self, count: int) -> None:
        """Takes so many more, whatever there is: of a request that has been let in already."""
        self._level -= count
