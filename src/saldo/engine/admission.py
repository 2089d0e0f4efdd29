"""The admission limit, which decides whether a request may be queued.

A fixed limit on the length of the queue is too high while the database is slow: all requests are then answered late, to
clients that have timed out. Single requests are therefore admitted up to a limit that follows from their waiting time.
The oldest request of each batch gives one sample of the throughput: the number of requests that were queued before it,
divided by the time until it was decided. Requests of arrays and streams are admitted until the queue is full, because
their number is limited elsewhere.
"""

from __future__ import annotations

from typing import Final

from saldo.engine.queue import RequestQueue

QUEUED_BEFORE_MIN: Final = 256
"""Minimum number of requests queued before the sampled one. With fewer, it waited for the commit and not for other
requests."""

LIMIT_MIN: Final = 1000
"""Minimum of the limit, however long the wait is. A pause of the disk must not reject clients that send one request
at a time."""

LIMIT_FIRST: Final = 2000
"""Limit before the first sample. Under load, requests to a service that has just started must not wait for seconds."""

SAMPLE_WEIGHT: Final = 0.25
"""Weight of a new sample in the moving average (EWMA). It is low, because one slow fsync is no overload."""


class AdmissionLimit:
    """The limit on admitted requests, which both the engine and the load shedder ask.

    Attributes:
        admitted_requests: The number of admitted requests that wait for their decision.
        is_open: Whether any request is admitted. The engine closes it when it stops.
        limit: The number of requests up to which single ones are admitted now, so that none waits too long.
    """

    __slots__ = ("_queue", "_requests_max", "_seconds_max", "admitted_requests", "is_open", "limit")

    def __init__(self, seconds_max: float, requests_max: int, queue: RequestQueue) -> None:
        """
        Args:
            seconds_max: The maximum time in seconds that a single request waits.
            requests_max: The maximum number of requests in the queue.
            queue: The queue of the admitted requests.
        """
        self._seconds_max = seconds_max
        self._requests_max = requests_max
        self._queue = queue
        self.admitted_requests = 0
        self.is_open = False
        self.limit = min(LIMIT_FIRST, requests_max)

    @property
    def waiting_requests(self) -> int:
        """The number of requests that count towards the maximum of the queue."""
        # Expired requests stay in the queue until a lane reaches them.
        return max(self.admitted_requests, self._queue.requests)

    @property
    def is_full(self) -> bool:
        """True if no request is admitted: the queue is full, or the engine is not running."""
        return not self.is_open or self.waiting_requests >= self._requests_max

    @property
    def admissible_requests(self) -> int:
        """The number of further single requests that are admitted now, unless the queue is full."""
        return self.limit - self.admitted_requests

    def try_admit(self, count: int = 1, *, bulk: bool = False) -> bool:
        """Admit requests and count them, if they may be queued. Their number must be released after their decision.

        Args:
            count: The number of requests. They are admitted together or not at all.
            bulk: Whether they are from an array or a stream, which may wait longer than single requests.

        Returns:
            Whether the requests were admitted.
        """
        if (not bulk and self.admitted_requests >= self.limit) or self.is_full:
            return False
        self.admitted_requests += count
        return True

    def release(self, count: int = 1) -> None:
        """Release admitted requests, whether they are decided or not."""
        self.admitted_requests -= count

    def observe_wait(self, requests_ahead: int, wait_seconds: float) -> None:
        """Update the limit with a sample.

        Args:
            requests_ahead: The number of requests that were waiting when the request was queued.
            wait_seconds: The time until it was decided.
        """
        if requests_ahead < QUEUED_BEFORE_MIN or wait_seconds <= 0:
            return
        sample = min(requests_ahead * self._seconds_max / wait_seconds, self._requests_max)
        average = self.limit + (sample - self.limit) * SAMPLE_WEIGHT
        self.limit = min(max(int(average), LIMIT_MIN), self._requests_max)
