"""The event loop of a service process, with options for which the HTTP server has no settings.

The loop's library accepts one connection per iteration. An iteration that reads a thousand requests takes some
hundredths of a second, so connections that arrive together would be accepted at a rate of fifty per second. The others
would wait until the kernel's backlog is full, and clients beyond it would retry seconds later.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any, Final

import uvloop

HANDSHAKE_SECONDS_MAX: Final = 10.0
"""Time limit of the TLS handshake. Until the handshake is done the HTTP server does not know the connection."""

ACCEPTED_AT_ONCE_MAX: Final = 100
"""Maximum number of connections accepted per iteration, which takes some milliseconds."""

ProtocolFactory = Callable[[], asyncio.BaseProtocol]


class BacklogAcceptingLoop(uvloop.Loop):
    """An event loop that accepts many connections per iteration, and limits the time of TLS handshakes."""

    async def create_server(
        self, protocol_factory: ProtocolFactory, *args: Any, **options: Any
    ) -> Any:
        """Create a server as the parent class does, with both additions."""
        if options.get("ssl") is not None:
            options.setdefault("ssl_handshake_timeout", HANDSHAKE_SECONDS_MAX)
        listening = options.get("sock")
        if listening is not None:
            acceptor = _BacklogAcceptor(self, protocol_factory, listening, options)
            protocol_factory = acceptor.create_protocol
        return await super().create_server(protocol_factory, *args, **options)


class _BacklogAcceptor:
    """An acceptor of the connections that wait in the backlog behind the one that the loop has accepted."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        create_protocol: ProtocolFactory,
        listening: socket.socket,
        options: dict[str, Any],
    ) -> None:
        self._loop = loop
        self._protocol_factory = create_protocol
        self._listening = listening
        listening.setblocking(False)
        self._options = {
            name: options[name] for name in ("ssl", "ssl_handshake_timeout") if options.get(name)
        }
        self._tasks: set[asyncio.Task[Any]] = set()

    def create_protocol(self) -> asyncio.BaseProtocol:
        """Create the protocol of the connection that the loop has accepted."""
        self._loop.call_soon(self._accept)
        return self._protocol_factory()

    def _accept(self) -> None:
        for _ in range(ACCEPTED_AT_ONCE_MAX):
            try:
                connection, _ = self._listening.accept()
            except OSError:  # the backlog is empty, or no file is free: the loop sees to that
                return
            connection.setblocking(False)
            task = self._loop.create_task(self._connect(connection))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _connect(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(
                self._protocol_factory, connection, **self._options
            )
        except OSError:  # the handshake failed, or the client has gone
            connection.close()
