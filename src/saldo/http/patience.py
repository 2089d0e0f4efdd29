"""How long the server waits for a client, and who looks whether it has waited so long.

One look a second at every connection, and no timer for any request: a limit holds to a second or two. What a
connection waits for is told by `saldo.http.protocol`, which also ends it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from saldo.settings import Settings

LOOK_SECONDS: Final = 1.0
"""Between two looks at a connection."""

SLICE_CONNECTIONS: Final = 200
"""That are looked at without a turn for others between them: some tenths of a millisecond."""

DISCARD_SECONDS_MAX: Final = 5.0
"""For what a client sends although it has its answer: to close at once could take the answer away from it."""

DISCARD_BYTES_MAX: Final = 16 * 1024 * 1024
"""Of what is read and not used, for the same reason: an array of transactions that is a few times too large."""

WaitsFor = Literal["head", "body", "stream", "answer", "end"]
"""A request; the rest of a body; more of a stream; an answer to be taken; the client's end of the connection."""

_log = logging.getLogger("saldo.http")


@dataclass(frozen=True, slots=True)
class WireLimits:
    """The bounds of what one connection may send; see the settings of the same names."""

    head_bytes_max: int
    headers_max: int
    url_bytes_max: int
    seconds: dict[WaitsFor, float]

    @classmethod
    def of(cls, settings: Settings) -> WireLimits:
        """As the operator set them."""
        return cls(
            head_bytes_max=settings.head_bytes_max,
            headers_max=settings.headers_max,
            url_bytes_max=settings.url_bytes_max,
            seconds={
                "head": settings.head_seconds,
                "body": settings.body_seconds,
                "stream": settings.stream_stall_seconds,
                "answer": settings.answer_stall_seconds,
                "end": DISCARD_SECONDS_MAX,
            },
        )


class Connection(Protocol):
    """One of the server's, as far as it is looked at."""

    def look(self, now: float) -> None:
        """Ends it if it has waited too long. `now`: of the loop's clock."""


class Sweep:
    """Looks at all connections of a process, again and again."""

    def __init__(self) -> None:
        self.connections: set[Connection] = set()
        """The server's own set, which it keeps."""

    @asynccontextmanager
    async def looking(self) -> AsyncIterator[None]:
        """Looks while the context is entered."""
        task = asyncio.create_task(self._work(), name="looking at connections")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            now = loop.time()
            for count, connection in enumerate(tuple(self.connections), start=1):
                try:
                    connection.look(now)
                except Exception:
                    _log.exception("a connection could not be looked at")
                if count % SLICE_CONNECTIONS == 0:
                    await asyncio.sleep(0)
