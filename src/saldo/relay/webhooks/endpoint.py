"""Turns at one endpoint: how many attempts at once, and how it is spared while it seems to be down.

An endpoint seems to be down when the events of several users have failed since anything succeeded: then one attempt
is made at a time, with rests between. The events of one user alone may fail for a reason of their own.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

AILING_USERS_MIN = 5
"""Users whose events have failed since anything succeeded, before the endpoint is spared."""

REST_SECONDS_MAX = 30.0
"""Between attempts at an endpoint that seems to be down: so soon it is seen that it is back."""


class ClosedError(Exception):
    """No attempt is made any more: stopped or disabled."""


class Endpoint:
    """Its turns. Ask for one before an attempt, and tell what came of it."""

    def __init__(self, concurrency: int) -> None:
        self._free = asyncio.Semaphore(concurrency)
        self._alone = asyncio.Lock()
        self._closed = False
        self._stirred = asyncio.Event()
        self._failing_users: set[int] = set()
        self._rest_until = 0.0

    @property
    def closed(self) -> bool:
        """Whether no attempt is made any more."""
        return self._closed

    @property
    def ailing(self) -> bool:
        """Whether it seems to be down."""
        return len(self._failing_users) >= AILING_USERS_MIN

    def close(self) -> None:
        """No further attempt; those under way go on."""
        self._closed = True
        self._stirred.set()

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Waits for a turn.

        Raises:
            ClosedError: there is none any more.
        """
        async with self._free, contextlib.AsyncExitStack() as stack:
            if self.ailing:
                await stack.enter_async_context(self._alone)
            while not self.closed and (left := self._rest_until - _now()) > 0:
                await self.pause(left)
            if self.closed:
                raise ClosedError
            yield

    def succeeded(self) -> bool:
        """An attempt has; whether the endpoint seemed to be down until now."""
        was_ailing = self.ailing
        self._failing_users.clear()
        if was_ailing:
            self._rest_until = 0.0
            self._stirred.set()
            if not self._closed:
                self._stirred.clear()
        return was_ailing

    def failed(self, user_id: int, retry_seconds: float, asked_seconds: float) -> None:
        """An attempt has.

        Args:
            retry_seconds: after which this event is tried again.
            asked_seconds: for how long the endpoint wants to be left alone.
        """
        if len(self._failing_users) < AILING_USERS_MIN:
            self._failing_users.add(user_id)
        rest = min(retry_seconds, REST_SECONDS_MAX) if self.ailing else 0.0
        self._rest_until = max(self._rest_until, _now() + max(rest, asked_seconds))

    async def pause(self, seconds: float) -> None:
        """Waits, but not longer than until it is closed, or seems to be well again."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stirred.wait()


def _now() -> float:
    return asyncio.get_running_loop().time()
