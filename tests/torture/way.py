"""A way to a broker that may swallow what goes along it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

WAIT_SECONDS_MAX = 60


class Way:
    """Stands between a client and a broker, and may swallow what the client sends."""

    def __init__(self, broker_url: str) -> None:
        self._broker_url = broker_url
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._swallowed = bytearray()
        self._more = asyncio.Condition()
        self.swallowing = False

    @property
    def url(self) -> str:
        """The broker's, by this way."""
        assert self._server is not None
        port = self._server.sockets[0].getsockname()[1]
        parts = urlsplit(self._broker_url)
        account = parts.netloc.rpartition("@")[0]
        return parts._replace(netloc=f"{account}@127.0.0.1:{port}").geturl()

    async def open(self) -> None:
        """Takes connections."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)

    async def swallowed(self, text: str) -> None:
        """Returns when something with this text has been swallowed."""
        async with asyncio.timeout(WAIT_SECONDS_MAX), self._more:
            await self._more.wait_for(lambda: text.encode() in self._swallowed)

    def cut(self) -> None:
        """Breaks the connections that there are."""
        for writer in self._writers:
            writer.transport.abort()

    def close(self) -> None:
        """Takes no more."""
        assert self._server is not None
        self._server.close()
        self.cut()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        parts = urlsplit(self._broker_url)
        theirs, there = await asyncio.open_connection(parts.hostname, parts.port or 5672)
        self._writers |= {writer, there}
        await asyncio.gather(
            self._pass_on(reader, there, may_swallow=True),
            self._pass_on(theirs, writer, may_swallow=False),
        )
        self._writers -= {writer, there}

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, may_swallow: bool
    ) -> None:
        try:
            while content := await reader.read(65_536):
                if may_swallow and self.swallowing:
                    async with self._more:
                        self._swallowed += content
                        self._more.notify_all()
                else:
                    writer.write(content)
                    await writer.drain()
        except OSError:
            pass
        writer.close()


@asynccontextmanager
async def way_to(broker_url: str) -> AsyncIterator[Way]:
    """A way that is open, and closed at the end."""
    way = Way(broker_url)
    await way.open()
    try:
        yield way
    finally:
        way.close()
