"""The proxy: its faults have the effects on TCP connections that it promises."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from torture.proxy import Direction, Proxy, Streams, to_port

SECONDS_MAX = 10


class Server:
    """A server that hands its connections to the test."""

    def __init__(self) -> None:
        self.writers: list[asyncio.StreamWriter] = []
        self.taken: asyncio.Queue[Streams] = asyncio.Queue()
        self.port = 0

    def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        self.taken.put_nowait((reader, writer))

    async def close(self) -> None:
        """Close all connections at both ends."""
        for writer in self.writers:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


@asynccontextmanager
async def run_proxy() -> AsyncIterator[tuple[Server, Proxy]]:
    server = Server()
    listening = await asyncio.start_server(server.take, "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    async with asyncio.timeout(SECONDS_MAX), Proxy(to_port(server.port)) as proxy:
        try:
            yield server, proxy
        finally:
            await server.close()
    listening.close()


async def connect_through(server: Server, proxy: Proxy) -> tuple[Streams, Streams]:
    """Return the client's end and the server's end of a connection through the proxy that has carried data."""
    client = await asyncio.open_connection("127.0.0.1", proxy.port)
    server.writers.append(client[1])
    behind = await server.taken.get()
    client[1].write(b"hello")
    assert await behind[0].readexactly(5) == b"hello"
    return client, behind


def ends(direction: Direction, client: Streams, behind: Streams) -> tuple[Streams, Streams]:
    """Return the writing end and the reading end."""
    return (client, behind) if direction == "there" else (behind, client)


WAYS: list[Direction] = ["there", "back"]


async def test_data_and_close_reach_the_other_end() -> None:
    async with run_proxy() as (server, proxy):
        client, behind = await connect_through(server, proxy)
        behind[1].write(b"answer")
        assert await client[0].readexactly(6) == b"answer"
        client[1].write_eof()
        assert await behind[0].read() == b""
        behind[1].write(b"last")
        behind[1].close()
        assert await client[0].read() == b"last"
        client[1].close()


async def test_cut_resets_both_ends_and_new_connections_work() -> None:
    async with run_proxy() as (server, proxy):
        client, behind = await connect_through(server, proxy)
        proxy.cut()
        for reader, _ in (client, behind):
            with pytest.raises(ConnectionResetError):
                await reader.read()
        await connect_through(server, proxy)


async def test_refused_client_is_reset_without_a_server_connection() -> None:
    async with run_proxy() as (server, proxy):
        proxy.refusing = True
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        server.writers.append(writer)
        with pytest.raises(ConnectionResetError):
            await reader.read()
        assert server.taken.empty()
        proxy.calm()
        await connect_through(server, proxy)


@pytest.mark.parametrize("direction", WAYS)
async def test_delayed_data_arrives_late_and_complete(direction: Direction) -> None:
    async with run_proxy() as (server, proxy):
        writing, reading = ends(direction, *await connect_through(server, proxy))
        proxy.ways[direction].delay_seconds = 0.2
        loop = asyncio.get_running_loop()
        began = loop.time()
        writing[1].write(b"late")
        assert await reading[0].readexactly(4) == b"late"
        assert loop.time() - began >= 0.2


@pytest.mark.parametrize("direction", WAYS)
async def test_connection_that_lost_data_stays_silent(
    direction: Direction,
) -> None:
    async with run_proxy() as (server, proxy):
        client, behind = await connect_through(server, proxy)
        writing, reading = ends(direction, client, behind)
        proxy.ways[direction].lost = True
        writing[1].write(b"lost")
        reading[1].write(b"heard")  # the other direction works
        assert await writing[0].readexactly(5) == b"heard"
        proxy.calm()
        await connect_through(server, proxy)  # a new connection works
        writing[1].write(b"after a gap")
        writing[1].close()  # from now on the other end may notice
        with pytest.raises(ConnectionResetError):
            await reading[0].read()


@pytest.mark.parametrize("direction", WAYS)
async def test_close_during_a_loss_is_forwarded_when_the_loss_ends(
    direction: Direction,
) -> None:
    async with run_proxy() as (server, proxy):
        client, behind = await connect_through(server, proxy)
        writing, reading = ends(direction, client, behind)
        proxy.ways[direction].lost = True
        writing[1].close()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reading[0].read(), 0.2)
        proxy.calm()
        with pytest.raises(ConnectionResetError):
            await reading[0].read()


@pytest.mark.parametrize("direction", WAYS)
async def test_half_closed_connection_works_in_the_other_direction(
    direction: Direction,
) -> None:
    async with run_proxy() as (server, proxy):
        writing, reading = ends(direction, *await connect_through(server, proxy))
        proxy.half_close(direction)
        assert await reading[0].read() == b""
        reading[1].write(b"still heard")
        assert await writing[0].readexactly(11) == b"still heard"
