"""How many requests may wait, so that none of them waits for long.

A queue that is bounded by its length only is too long on a slow day: all that is answered is answered late, to clients
that have given up. What is bounded here is the wait. Each batch tells how many were before its oldest request, and how
long that has waited until it was decided: so many are decided in such a time, whatever it is that limits them.
"""

from __future__ import annotations

from typing import Final

AHEAD_MIN: Final = 256
"""Of a request that tells something. With fewer before it, it waits for the commit, and not for others."""

REQUESTS_MIN: Final = 1000
"""That may wait, however long that takes: a pause of the disk must not shut out those who come one by one."""

REQUESTS_FIRST: Final = 2000
"""That may wait while nothing is known: a crowd that meets a service just started must not wait for seconds."""

LEARNING_SHARE: Final = 0.25
"""Of what the newest batch tells, against all before it: one slow fsync is no overload."""


class Room:
    """Bounds those who wait by the wait of those before them.

    Attributes:
        requests: so many may wait.
    """

    __slots__ = ("_requests_max", "_seconds_max", "requests")

    def __init__(self, seconds_max: float, requests_max: int) -> None:
        self._seconds_max = seconds_max
        self._requests_max = requests_max
        self.requests = min(REQUESTS_FIRST, requests_max)

    def learn(self, ahead: int, seconds: float) -> None:
        """A request was decided after so long, and at first so many were ahead of it."""
        if ahead < AHEAD_MIN or seconds <= 0:
            return
        told = min(ahead * self._seconds_max / seconds, self._requests_max)
        learnt = self.requests + (told - self.requests) * LEARNING_SHARE
        self.requests = min(max(int(learnt), REQUESTS_MIN), self._requests_max)
