"""Readiness of the service: concurrent probes share one query to the database."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from saldo.http.request_state import request_state
from saldo.store.errors import StoreError

CACHE_SECONDS: Final = 0.25
"""Time in seconds for which a result is reused for further probes, because probes are not authenticated and
the reader has few connections."""

WAIT_SECONDS_MAX: Final = 2.0
"""Maximum time in seconds that a probe waits for the database. After that the service counts as not ready. Most probes
have a timeout of one to five seconds."""

DISCONNECT_CHECK_SECONDS: Final = 0.25
"""Interval in seconds between checks whether a waiting probe has closed its side of the connection. Such a probe gets
no response, because few programs that have closed their side still read."""

_log = logging.getLogger("saldo.http")


class ProbeDisconnectedError(Exception):
    """Raised when a probe has disconnected before the database answered."""


class Readiness:
    """The readiness of the service.

    Attributes:
        draining: Whether the service is about to stop and should get no new requests.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.draining = False
        self._clock = clock
        self._asking: asyncio.Task[bool] | None = None
        self._asked_at = float("-inf")
        self._answer = False
        self._answered_at = float("-inf")

    async def check(
        self, ask: Callable[[], Awaitable[bool]], gone: Callable[[], bool] = lambda: False
    ) -> bool:
        """Return whether the database is ready, from a recent result or a new query. Return False if the query takes
        too long.

        Args:
            ask: Queries the database. Only one query runs at a time, however many probes wait.
            gone: Returns whether the probe has closed its connection, or its side of it.

        Raises:
            ProbeDisconnectedError: The probe no longer waits for the result.
        """
        if self._clock() < self._answered_at + CACHE_SECONDS:
            return self._answer
        if self._asking is None:
            self._asked_at = self._clock()
            self._asking = asyncio.create_task(self._ask(ask), name="readiness check")
        asking = self._asking
        # While the database hangs, probes that arrive after this time are answered immediately.
        until = self._asked_at + WAIT_SECONDS_MAX
        while not asking.done() and (left := until - self._clock()) > 0:
            await asyncio.wait({asking}, timeout=min(left, DISCONNECT_CHECK_SECONDS))
            if not asking.done() and gone():
                raise ProbeDisconnectedError
        return asking.done() and not asking.cancelled() and asking.result()

    async def _ask(self, ask: Callable[[], Awaitable[bool]]) -> bool:
        try:
            self._answer = await ask()
        except StoreError:
            self._answer = False
        except Exception:
            _log.exception("the readiness check of the database failed unexpectedly")
            self._answer = False
        finally:
            self._asking = None
        self._answered_at = self._clock()
        return self._answer


def disconnect_check(scope: Any) -> Callable[[], bool]:
    """Return a function that returns whether the client has disconnected (`saldo.http.connection.protocol`)."""
    connection = request_state(scope).connection
    return (lambda: False) if connection is None else connection.is_gone
