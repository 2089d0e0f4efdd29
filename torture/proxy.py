"""A TCP proxy whose connections can be harmed: cut, delayed, lost, half-closed, refused.

What it never does is what TCP never does: a connection that has lost bytes in one direction says nothing more
in that direction, ever.
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
"""From who connects to the server, and from the server."""

CHUNK_BYTES_MAX = 65_536

_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER of no time: closing sends RST, and what was not sent is gone."""


class Way:
    """One direction of all connections.

    Attributes:
        delay_seconds: for each piece, before it is passed on.
        lost: what is sent disappears, and with it the connection's direction.
    """

    def __init__(self) -> None:
        self.delay_seconds = 0.0
        self.lost = False


class Proxy:
    """Listens on a port of its own, and passes on. An asynchronous context manager."""

    def __init__(self, connect: Callable[[], Awaitable[Streams]]) -> None:
        """
        Args:
            connect: makes the connection to the server.
        """
        self._connect = connect
        self._links: set[_Link] = set()
        self._server: asyncio.Server | None = None
        self.ways: dict[Direction, Way] = {"there": Way(), "back": Way()}
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
        """How many there are now."""
        return len(self._links)

    def cut(self) -> None:
        """Resets every connection, at both ends."""
        for link in self._links:
            link.reset()

    def half_close(self, direction: Direction) -> None:
        """Ends one direction of every connection; the other goes on."""
        for link in self._links:
            link.half_close(direction)

    def calm(self) -> None:
        """All is well for new connections. One that has lost bytes stays lost until one of its ends leaves it."""
        self.refusing = False
        for way in self.ways.values():
            way.delay_seconds = 0.0
            way.lost = False
        for link in self._links:
            if link.left:
                link.reset()

    def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = _Link(self.ways, (reader, writer))
        link.task = asyncio.ensure_future(link.run(None if self.refusing else self._connect))
        self._links.add(link)
        link.task.add_done_callback(lambda _: self._links.discard(link))


class _Link:
    """One connection and the one behind it."""

    task: asyncio.Task[None]

    def __init__(self, ways: dict[Direction, Way], client: Streams) -> None:
        self._ways = ways
        self._client = client
        self._server: Streams | None = None
        self._half_closed: set[Direction] = set()
        self._lost: set[Direction] = set()
        self._over = asyncio.Event()
        self.left = False
        """One end has gone, and the other could not be told."""

    async def run(self, connect: Callable[[], Awaitable[Streams]] | None) -> None:
        """connect: None: who asks is refused."""
        try:
            if connect is None:
                return
            self._server = await connect()
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pass_on("there", self._client[0], self._server[1]))
                both.create_task(self._pass_on("back", self._server[0], self._client[1]))
        except* OSError:
            pass  # one end is gone: so shall be the other
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
            self.left = True
            if way.lost:
                # That an end has left is not heard of either, until all is well again.
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
    """Connects to a port of this machine."""

    async def connect() -> Streams:
        return await asyncio.open_connection("127.0.0.1", port)

    return connect


class Listening(Protocol):
    """Who listens on a Unix socket."""

    @property
    def socket(self) -> Path: ...


def to_socket(server: Listening) -> Callable[[], Awaitable[Streams]]:
    """Connects to a Unix socket, wherever it is at that time."""

    async def connect() -> Streams:
        return await asyncio.open_unix_connection(server.socket)

    return connect
