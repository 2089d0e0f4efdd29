"""The admission limit, which decides whether a request may be queued.

With a fixed limit and a slow database, all requests would be answered late, when their clients have already timed out.
The limit for single requests is therefore computed from the measured throughput, so that none waits too long. The
oldest request of each batch gives one sample of the throughput: the number of requests that were queued before it,
divided by the time until it was decided. Requests of arrays and streams are admitted until the queue is full, because
their number is limited elsewhere.
"""

from __future__ import annotations

from typing import Final

from saldo.engine.queue import RequestQueue

QUEUED_BEFORE_MIN: Final = 256
"""Minimum number of requests queued before the sampled request. With fewer, the sampled request waited for the commit
and not for other requests, so that the sample says nothing about the throughput."""

LIMIT_MIN: Final = 1000
"""Minimum value of the limit, however long requests wait. Clients that send one request at a time must not be rejected
because the disk pauses for a moment."""

LIMIT_FIRST: Final = 2000
"""Limit until the first sample. It is low, so that requests don't wait for seconds if a service starts under load."""

SAMPLE_WEIGHT: Final = 0.25
"""Weight of a new sample in the moving average (EWMA). It is low, because a single slow fsync does not mean an
overload."""


class AdmissionLimit:
    """The limit on admitted requests. The engine checks it for each request, and the load shedder before a request is
    parsed.

    Attributes:
        admitted_requests: The number of admitted requests that wait for their decision.
        is_open: Whether any requests are admitted. It is false until the engine starts, and from its stop on.
        limit: The current limit. Single requests are admitted while `admitted_requests` is below it.
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
        """The number of requests that count towards `requests_max`."""
        # Expired requests stay in the queue until a lane reaches them.
        return max(self.admitted_requests, self._queue.requests)

    @property
    def is_full(self) -> bool:
        """True if no request is admitted: the queue is full, or the engine is not running."""
        return not self.is_open or self.waiting_requests >= self._requests_max

    @property
    def admissible_requests(self) -> int:
        """The number of further single requests up to the limit. If the queue is full, none of them is admitted."""
        return self.limit - self.admitted_requests

    def try_admit(self, count: int = 1, *, bulk: bool = False) -> bool:
        """Admit and count requests, if they may be queued. The caller must pass their number to `release` after their
        decision.

        Args:
            count: The number of requests. They are admitted together or not at all.
            bulk: Whether the requests are from an array or a stream. They may wait longer than single requests, so that
                only `requests_max` applies to them.

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
            requests_ahead: The number of requests that were waiting when the sampled request was queued.
            wait_seconds: The time from then until the sampled request was decided.
        """
        if requests_ahead < QUEUED_BEFORE_MIN or wait_seconds <= 0:
            return
        sample = min(requests_ahead * self._seconds_max / wait_seconds, self._requests_max)
        average = self.limit + (sample - self.limit) * SAMPLE_WEIGHT
        self.limit = min(max(int(average), LIMIT_MIN), self._requests_max)
