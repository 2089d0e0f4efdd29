"""Rate limits, implemented as token buckets. Each process has its own buckets."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import NamedTuple


class RateLimit(NamedTuple):
    """A rate limit: the average number of requests per second, and the burst that is allowed after an idle time.

    Attributes:
        debt_seconds_max: maximum time, in seconds, for which one large request may block later requests.
    """

    per_second: float
    burst: int
    debt_seconds_max: float = 60.0


class TokenBucket:
    """A token bucket, which is refilled at a constant rate.

    A request may take more tokens than are left, unless the bucket is empty. An array of transactions is therefore
    admitted as a whole if it has at most `request_tokens_max` of them, and later requests wait correspondingly longer.
    """

    __slots__ = ("_clock", "_filled_at", "_level", "_rate_limit")

    def __init__(self, rate_limit: RateLimit, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate_limit = rate_limit
        self._clock = clock
        self._level = float(rate_limit.burst)
        self._filled_at = clock()

    def take_tokens(self, count: int = 1) -> float:
        """Take `count` tokens if the bucket is not empty.

        Returns:
            0 if the tokens were taken. Otherwise no token was taken, and the result is the number of seconds until the
            bucket is no longer empty.
        """
        now = self._clock()
        level = self._level + (now - self._filled_at) * self._rate_limit.per_second
        self._level = min(level, float(self._rate_limit.burst))
        self._filled_at = now
        if self._level < 1:
            return (1 - self._level) / self._rate_limit.per_second
        self._level -= count
        return 0.0

    async def take_tokens_when_available(self, count: int) -> None:
        """Take `count` tokens as soon as the bucket is not empty."""
        while True:
            seconds = self.take_tokens(count)
            if not seconds:
                return
            await asyncio.sleep(seconds)

    @property
    def request_tokens_max(self) -> int:
        """Maximum number of tokens for one request. A larger request would block later requests for more than
        `debt_seconds_max`."""
        return self._rate_limit.burst + int(
            self._rate_limit.per_second * self._rate_limit.debt_seconds_max
        )

    def overdraw(self, count: int) -> None:
        """Take `count` more tokens for a request that has already been admitted. The level may become negative."""
        self._level -= count
