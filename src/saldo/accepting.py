"""The event loop of a service process: what the server has no setting for.

The loop's library accepts one connection a turn. A turn that reads a thousand requests takes some hundredths of a
second, so a crowd that comes at once would be let in at fifty a second: the rest would wait in the kernel until its
backlog is full, and try again seconds later.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any, Final

import uvloop

HANDSHAKE_SECONDS_MAX: Final = 10.0
"""For TLS to be agreed on; before that, the server knows nothing of the connection."""

ACCEPTED_AT_ONCE_MAX: Final = 100
"""Connections of one turn: some milliseconds of it."""

Protocols = Callable[[], asyncio.BaseProtocol]


class Loop(uvloop.Loop):
    """Accepts many connections a turn; a handshake may take so long and no longer."""

    async def create_server(self, protocol_factory: Protocols, *args: Any, **options: Any) -> Any:
        """As the parent's."""
        if options.get("ssl") is not None:
            options.setdefault("ssl_handshake_timeout", HANDSHAKE_SECONDS_MAX)
        listening = options.get("sock")
        if listening is not None:
            others = _Others(self, protocol_factory, listening, options)
            protocol_factory = others.protocol
        return await super().create_server(protocol_factory, *args, **options)


class _Others:
    """Accepts whoever waits behind the connection that the loop has accepted."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        protocols: Protocols,
        listening: socket.socket,
        options: dict[str, Any],
    ) -> None:
        self._loop = loop
        self._protocols = protocols
        self._listening = listening
        listening.setblocking(False)
        self._options = {
            name: options[name] for name in ("ssl", "ssl_handshake_timeout") if options.get(name)
        }
        self._tasks: set[asyncio.Task[Any]] = set()

    def protocol(self) -> asyncio.BaseProtocol:
        """For the one that the loop has accepted."""
        self._loop.call_soon(self._accept)
        return self._protocols()

    def _accept(self) -> None:
        for _ in range(ACCEPTED_AT_ONCE_MAX):
            try:
                connection, _ = self._listening.accept()
            except OSError:  # nobody, or no file for one: the loop sees to that
                return
            connection.setblocking(False)
            task = self._loop.create_task(self._connect(connection))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _connect(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._protocols, connection, **self._options)
        except OSError:  # no TLS, or gone already
            connection.close()
