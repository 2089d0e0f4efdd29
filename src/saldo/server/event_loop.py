"""The event loop of a service process. It accepts connections faster than uvloop, and limits the time of TLS
handshakes.

uvloop accepts one connection per iteration of the loop. An iteration that reads a thousand requests takes some
hundredths of a second, so under load only about fifty connections would be accepted per second. Further connections
would wait in the kernel's backlog. Once the backlog is full, new clients would have to retry seconds later.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any, Final

import uvloop

HANDSHAKE_SECONDS_MAX: Final = 10.0
"""Timeout of the TLS handshake, in seconds. The HTTP server's own timeouts begin after the handshake."""

ACCEPTED_AT_ONCE_MAX: Final = 100
"""Maximum number of connections accepted from the backlog per iteration. To accept so many takes some milliseconds."""

ProtocolFactory = Callable[[], asyncio.BaseProtocol]


class BacklogAcceptingLoop(uvloop.Loop):
    """An event loop that accepts many connections per iteration, and limits the time of TLS handshakes."""

    async def create_server(
        self, protocol_factory: ProtocolFactory, *args: Any, **options: Any
    ) -> Any:
        """Create a server that also accepts connections from the backlog, and has a timeout for TLS handshakes."""
        if options.get("ssl") is not None:
            options.setdefault("ssl_handshake_timeout", HANDSHAKE_SECONDS_MAX)
        listening = options.get("sock")
        if listening is not None:
            acceptor = _BacklogAcceptor(self, protocol_factory, listening, options)
            protocol_factory = acceptor.create_protocol
        return await super().create_server(protocol_factory, *args, **options)


class _BacklogAcceptor:
    """Accepts further connections from the backlog each time uvloop has accepted one."""

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
        """Create the protocol of the connection that uvloop has accepted, and accept further connections soon."""
        self._loop.call_soon(self._accept)
        return self._protocol_factory()

    def _accept(self) -> None:
        for _ in range(ACCEPTED_AT_ONCE_MAX):
            try:
                connection, _ = self._listening.accept()
            except (
                OSError
            ):  # the backlog is empty, or no file descriptor is free, which uvloop handles
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
        except OSError:  # the handshake failed, or the client has disconnected
            connection.close()
