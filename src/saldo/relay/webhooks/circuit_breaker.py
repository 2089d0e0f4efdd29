"""The circuit breaker of one endpoint: the breaker limits concurrent attempts, and reduces their number while the
endpoint seems down.

An endpoint seems down if the events of several users have failed since the last success. Attempts are then made one at
a time, with pauses between them. Failures of a single user's events are not enough, because their cause may be in these
events.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

FAILING_USERS_MIN = 5
"""Number of users whose events must have failed since the last success before the endpoint seems down."""

PROBE_INTERVAL_SECONDS_MAX = 30.0
"""Maximum pause between attempts at an endpoint that seems down, so that its recovery is detected soon."""


class CircuitBreakerStoppedError(Exception):
    """Raised when no attempt is made any more, because the webhook was stopped or disabled."""


class CircuitBreaker:
    """The circuit breaker of an endpoint. Callers enter `acquire_turn` for each attempt, and report the result of the
    attempt."""

    def __init__(self, concurrency: int) -> None:
        self._free = asyncio.Semaphore(concurrency)
        self._alone = asyncio.Lock()
        self._stopped = False
        self._wake_event = asyncio.Event()
        self._failing_users: set[int] = set()
        self._open_until = 0.0

    @property
    def is_shut_down(self) -> bool:
        """True if no further attempt is made."""
        return self._stopped

    @property
    def is_open(self) -> bool:
        """True if the endpoint seems down, so that attempts are made one at a time."""
        return len(self._failing_users) >= FAILING_USERS_MIN

    def stop(self) -> None:
        """Allow no further attempt. Attempts in flight continue."""
        self._stopped = True
        self._wake_event.set()

    @contextlib.asynccontextmanager
    async def acquire_turn(self) -> AsyncIterator[None]:
        """Wait until an attempt may be made.

        Raises:
            CircuitBreakerStoppedError: the webhook was stopped or disabled.
        """
        async with self._free, contextlib.AsyncExitStack() as stack:
            if self.is_open:
                await stack.enter_async_context(self._alone)
            while not self.is_shut_down and (left := self._open_until - _now()) > 0:
                await self.pause(left)
            if self.is_shut_down:
                raise CircuitBreakerStoppedError
            yield

    def record_success(self) -> bool:
        """Record a successful attempt, and return whether the endpoint seemed down until then."""
        was_open = self.is_open
        self._failing_users.clear()
        if was_open:
            self._open_until = 0.0
            self._wake_event.set()
            if not self._stopped:
                self._wake_event.clear()
        return was_open

    def record_failure(
        self, user_id: int, retry_seconds: float, retry_after_seconds: float
    ) -> None:
        """Record a failed attempt.

        Args:
            retry_seconds: the delay until the event is retried.
            retry_after_seconds: the delay that the endpoint requested, which applies to all events; 0 if it requested
                none.
        """
        if len(self._failing_users) < FAILING_USERS_MIN:
            self._failing_users.add(user_id)
        probe_pause = min(retry_seconds, PROBE_INTERVAL_SECONDS_MAX) if self.is_open else 0.0
        self._open_until = max(self._open_until, _now() + max(probe_pause, retry_after_seconds))

    async def pause(self, seconds: float) -> None:
        """Wait for this many seconds, until the breaker is stopped, or until the endpoint has recovered."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake_event.wait()


def _now() -> float:
    return asyncio.get_running_loop().time()
