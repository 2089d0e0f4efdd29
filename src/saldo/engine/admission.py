"""The admission limit: the number of requests that may wait, so that none of them waits too long.

A fixed limit on the length of the queue is too high while the database is slow: all requests are then answered late, to
clients that have timed out. This module therefore limits the waiting time. The oldest request of each batch gives one
sample of the throughput: the number of requests that were ahead of it, divided by the time until it was decided.
"""

from __future__ import annotations

from typing import Final

AHEAD_MIN: Final = 256
"""Minimum number of requests ahead for a sample. With fewer, the request waited for the commit and not for other
requests."""

REQUESTS_MIN: Final = 1000
"""Minimum of the limit, however long the wait is. A pause of the disk must not reject clients that send one request
at a time."""

REQUESTS_FIRST: Final = 2000
"""Limit before the first sample. Under load, requests to a service that has just started must not wait for seconds."""

LEARNING_SHARE: Final = 0.25
"""Weight of a new sample in the moving average (EWMA). It is low, because one slow fsync is no overload."""


class Room:
    """A limit on the number of waiting requests, derived from their expected waiting time.

    Attributes:
        requests: The current limit.
    """

    __slots__ = ("_requests_max", "_seconds_max", "requests")

    def __init__(self, seconds_max: float, requests_max: int) -> None:
        self._seconds_max = seconds_max
        self._requests_max = requests_max
        self.requests = min(REQUESTS_FIRST, requests_max)

    def learn(self, ahead: int, seconds: float) -> None:
        """Update the limit with a sample.

        Args:
            ahead: The number of requests that were ahead of the request when it was queued.
            seconds: The time until it was decided.
        """
        if ahead < AHEAD_MIN or seconds <= 0:
            return
        told = min(ahead * self._seconds_max / seconds, self._requests_max)
        learnt = self.requests + (told - self.requests) * LEARNING_SHARE
        self.requests = min(max(int(learnt), REQUESTS_MIN), self._requests_max)
