"""Timeouts of connections, and the task that checks them.

The task checks every connection once a second, so no request needs a timer, and a timeout is accurate to a second or
two. `saldo.http.connection.timeout_tracker` determines what a connection waits for, and
`saldo.http.connection.protocol` ends the connection. The values of the timeouts are settings of the section
`ConnectionSettings` in `settings/sections/http.py`. The keep-alive timeout of an idle connection is not checked here:
it has a timer of its own in `saldo.http.connection.protocol`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, Literal, Protocol, get_args

from saldo.observability.metrics import HTTP_CONNECTIONS, HTTP_CONNECTIONS_LIMIT, HTTP_CUT
from saldo.settings.model import Settings

CHECK_INTERVAL_SECONDS: Final = 1.0
"""Interval between two checks of a connection, in seconds."""

SLICE_CONNECTIONS: Final = 200
"""Number of connections that are checked before the task yields to the event loop. This takes a few tenths of a
millisecond."""

DISCARD_SECONDS_MAX: Final = 5.0
"""Maximum time in seconds for which the server reads and discards a request that has its response already. If the
server closed the connection immediately, the client could lose the response."""

DISCARD_BYTES_MAX: Final = 16 * 1024 * 1024
"""Maximum number of bytes of such a request that are discarded. An array of transactions that is a few times too large
still fits."""

TimeoutPhase = Literal["head", "body", "stream", "answer", "end"]
"""The next action of the client that a connection waits for.

- `head`: sending a request
- `body`: sending the rest of a body
- `stream`: sending more of a stream
- `answer`: reading a response
- `end`: closing its side of the connection
"""

_log = logging.getLogger("saldo.http")


@dataclass(frozen=True, slots=True)
class InputLimits:
    """Limits on the input of one connection, and its timeouts; see the settings of the same names."""

    head_bytes_max: int
    headers_max: int
    url_bytes_max: int
    seconds: dict[TimeoutPhase, float]

    @classmethod
    def from_settings(cls, settings: Settings) -> InputLimits:
        """Return the limits of the settings."""
        return cls(
            head_bytes_max=settings.head_bytes_max,
            headers_max=settings.headers_max,
            url_bytes_max=settings.url_bytes_max,
            seconds={
                "head": settings.header_timeout_seconds,
                "body": settings.body_timeout_seconds,
                "stream": settings.stream_idle_timeout_seconds,
                "answer": settings.response_write_timeout_seconds,
                "end": DISCARD_SECONDS_MAX,
            },
        )


SHUTDOWN_WRITE_TIMEOUT_SECONDS: Final = 3.0
"""Maximum time in seconds in which a client must read a part of its response while the service stops. A client
that doesn't read delays the stop."""

BEFORE_CANCEL_SECONDS: Final = 1.0
"""Time in seconds after the connections were aborted at which requests that have not ended by themselves are
cancelled."""


class SweptConnection(Protocol):
    """The methods of a connection that the periodic check uses."""

    def check_timeout(self, now: float) -> None:
        """End the connection if it has waited too long. `now` is the time by the loop's clock, in seconds."""

    def abort(self) -> None:
        """End the connection immediately."""


class TimeoutSweeper:
    """A periodic check of all connections of a process."""

    def __init__(self, connections_max: int) -> None:
        self._connections_max = connections_max
        self.connections: set[SweptConnection] = set()
        """The set of connections that the server maintains."""
        self.tasks: set[asyncio.Task[None]] = set()
        """The set of tasks of requests. The server maintains this set, too."""
        self.is_stopping = False

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Check the connections periodically, until the context manager exits."""
        HTTP_CONNECTIONS_LIMIT.set(self._connections_max)
        # A rate does not include the first increase of a counter that was not exported before.
        for phase in get_args(TimeoutPhase):
            HTTP_CUT.labels(phase)
        task = asyncio.create_task(self._check_repeatedly(), name="connection timeouts")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def end_connections_within(self, seconds: float) -> None:
        """Wait for `seconds`, then abort all connections, and cancel the requests that do not end by themselves.

        During the wait, requests are answered as usual, but clients that don't read are disconnected after
        `SHUTDOWN_WRITE_TIMEOUT_SECONDS`.
        """
        self.is_stopping = True
        await asyncio.sleep(seconds)
        _log.warning(
            "closing %d connections that did not end within %g s",
            len(self.connections),
            seconds,
        )
        for connection in tuple(self.connections):
            connection.abort()
        tasks = tuple(self.tasks)
        if tasks:
            # Most requests end by themselves, because their clients are disconnected.
            await asyncio.wait(tasks, timeout=BEFORE_CANCEL_SECONDS)
            logging.getLogger("uvicorn.error").addFilter(_is_not_cancelled)
            for task in tasks:
                task.cancel()

    async def _check_repeatedly(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(CHECK_INTERVAL_SECONDS)
            now = loop.time()
            HTTP_CONNECTIONS.set(len(self.connections))
            for count, connection in enumerate(tuple(self.connections), start=1):
                try:
                    connection.check_timeout(now)
                except Exception:
                    _log.exception("checking the timeouts of a connection failed")
                if count % SLICE_CONNECTIONS == 0:
                    await asyncio.sleep(0)


def _is_not_cancelled(record: logging.LogRecord) -> bool:
    """Return False for a log record of a request that was cancelled at the end of a stop."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, asyncio.CancelledError)
