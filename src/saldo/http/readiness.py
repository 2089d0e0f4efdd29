"""Readiness of the service: concurrent probes share one query to the database."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from saldo.http.request_state import get_request_state
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
        is_draining: Whether the service is about to stop and should get no new requests.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.is_draining = False
        self._clock = clock
        self._query_task: asyncio.Task[bool] | None = None
        self._queried_at = float("-inf")
        self._is_ready = False
        self._answered_at = float("-inf")

    async def check(
        self,
        query_database: Callable[[], Awaitable[bool]],
        is_gone: Callable[[], bool] = lambda: False,
    ) -> bool:
        """Return whether the database is ready, from a recent result or a new query. Return False if the query takes
        too long.

        Args:
            query_database: Queries the database. Only one query runs at a time, however many probes wait.
            is_gone: Returns whether the probe has closed its connection, or its side of it.

        Raises:
            ProbeDisconnectedError: The probe no longer waits for the result.
        """
        if self._clock() < self._answered_at + CACHE_SECONDS:
            return self._is_ready
        if self._query_task is None:
            self._queried_at = self._clock()
            self._query_task = asyncio.create_task(
                self._query(query_database), name="readiness check"
            )
        query_task = self._query_task
        # While the database hangs, probes that arrive after this time are answered immediately.
        deadline = self._queried_at + WAIT_SECONDS_MAX
        while not query_task.done() and (seconds_left := deadline - self._clock()) > 0:
            await asyncio.wait({query_task}, timeout=min(seconds_left, DISCONNECT_CHECK_SECONDS))
            if not query_task.done() and is_gone():
                raise ProbeDisconnectedError
        return query_task.done() and not query_task.cancelled() and query_task.result()

    async def _query(self, query_database: Callable[[], Awaitable[bool]]) -> bool:
        try:
            self._is_ready = await query_database()
        except StoreError:
            self._is_ready = False
        except Exception:
            _log.exception("the readiness check of the database failed unexpectedly")
            self._is_ready = False
        finally:
            self._query_task = None
        self._answered_at = self._clock()
        return self._is_ready


def create_disconnect_check(scope: Any) -> Callable[[], bool]:
    """Return a function that returns whether the client has disconnected (`saldo.http.connection.protocol`)."""
    connection = get_request_state(scope).connection
    return (lambda: False) if connection is None else connection.is_gone
