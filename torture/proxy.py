"""A TCP proxy that can harm its connections: cut, delay, lose, half-close or refuse them.

The proxy never does what TCP can't do: after a connection has lost bytes in one direction, the proxy forwards no
further bytes in that direction.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

Streams: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]

Direction: TypeAlias = Literal["there", "back"]
"""The direction of data: "there" is from the client to the server, "back" from the server to the client."""

CHUNK_BYTES_MAX = 65_536

_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER with a timeout of zero: closing sends RST, and unsent data is discarded."""


class DirectionFaults:
    """The faults in one direction of all connections.

    Attributes:
        delay_seconds: delay of each chunk before it is passed on.
        lost: whether data is dropped; a connection that has lost data stays silent in this direction.
    """

    def __init__(self) -> None:
        self.delay_seconds = 0.0
        self.lost = False


class Proxy:
    """A proxy that listens on its own port and forwards connections. It is an asynchronous context manager."""

    def __init__(self, connect: Callable[[], Awaitable[Streams]]) -> None:
        """Create a proxy; it listens when it is entered.

        Args:
            connect: opens a connection to the server.
        """
        self._connect = connect
        self._links: set[_Link] = set()
        self._server: asyncio.Server | None = None
        self.ways: dict[Direction, DirectionFaults] = {
            "there": DirectionFaults(),
            "back": DirectionFaults(),
        }
        self.refusing = False
        self.port = 0

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        tasks = [link.task for link in self._links]
        self.cut()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._server.wait_closed()

    @property
    def connections(self) -> int:
        """Number of open connections."""
        return len(self._links)

    def cut(self) -> None:
        """Reset every connection at both ends."""
        for link in self._links:
            link.reset()

    def half_close(self, direction: Direction) -> None:
        """End one direction of every connection; the other direction stays open."""
        for link in self._links:
            link.half_close(direction)

    def calm(self) -> None:
        """End all faults.

        Connections of which one end closed unnoticed are reset. A connection that has lost bytes stays silent until one
        of its ends closes it. A half-closed connection stays half-closed.
        """
        self.refusing = False
        for way in self.ways.values():
            way.delay_seconds = 0.0
            way.lost = False
        for link in self._links:
            if link.closed_unnoticed:
                link.reset()

    def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = _Link(self.ways, (reader, writer))
        link.task = asyncio.ensure_future(link.run(None if self.refusing else self._connect))
        self._links.add(link)
        link.task.add_done_callback(lambda _: self._links.discard(link))


class _Link:
    """One client connection and its connection to the server."""

    task: asyncio.Task[None]

    def __init__(self, ways: dict[Direction, DirectionFaults], client: Streams) -> None:
        self._ways = ways
        self._client = client
        self._server: Streams | None = None
        self._half_closed: set[Direction] = set()
        self._lost: set[Direction] = set()
        self._over = asyncio.Event()
        self.closed_unnoticed = False
        """Whether one end has closed while the other could not be notified."""

    async def run(self, connect: Callable[[], Awaitable[Streams]] | None) -> None:
        """Connect to the server and forward both directions. If `connect` is None, reset the connection of the
        client."""
        try:
            if connect is None:
                return
            self._server = await connect()
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pass_on("there", self._client[0], self._server[1]))
                both.create_task(self._pass_on("back", self._server[0], self._client[1]))
        except* OSError:
            pass  # one end has closed, so the other is closed, too
        finally:
            self.reset()
            for streams in (self._client, self._server):
                if streams is not None:
                    with suppress(OSError):
                        await streams[1].wait_closed()

    def reset(self) -> None:
        self._over.set()
        for streams in (self._client, self._server):
            if streams is not None:
                _reset(streams[1])

    def half_close(self, direction: Direction) -> None:
        self._half_closed.add(direction)
        streams = self._server if direction == "there" else self._client
        if streams is not None and not streams[1].is_closing():
            with suppress(OSError, RuntimeError):
                streams[1].write_eof()

    async def _pass_on(
        self, direction: Direction, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        way = self._ways[direction]
        while chunk := await reader.read(CHUNK_BYTES_MAX):
            if way.delay_seconds:
                await asyncio.sleep(way.delay_seconds)
            if way.lost:
                self._lost.add(direction)
            if direction not in self._lost and direction not in self._half_closed:
                writer.write(chunk)
                await writer.drain()
        if way.lost or direction in self._lost:
            self.closed_unnoticed = True
            if way.lost:
                # The close of an end is not forwarded either, until the fault is over.
                await self._over.wait()
            raise ConnectionResetError
        if direction not in self._half_closed:
            self.half_close(direction)


def _reset(writer: asyncio.StreamWriter) -> None:
    raw = writer.get_extra_info("socket")
    with suppress(OSError):
        if raw is not None and raw.family != socket.AF_UNIX:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()


def to_port(port: int) -> Callable[[], Awaitable[Streams]]:
    """Return a function that connects to a port of this machine."""

    async def connect() -> Streams:
        return await asyncio.open_connection("127.0.0.1", port)

    return connect


class UnixSocketServer(Protocol):
    """A server that listens on a Unix socket."""

    @property
    def socket(self) -> Path: ...


def to_socket(server: UnixSocketServer) -> Callable[[], Awaitable[Streams]]:
    """Return a function that connects to the Unix socket of a server. It reads the path of the socket at each call."""

    async def connect() -> Streams:
        return await asyncio.open_unix_connection(server.socket)

    return connect
