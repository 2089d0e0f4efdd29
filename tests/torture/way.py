"""A proxy to a broker that can drop data in either direction."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

WAIT_SECONDS_MAX = 60


class LossyProxy:
    """A proxy between a client and a broker that can drop the data of either side.

    Attributes:
        swallowing: whether the client's data is dropped.
        muted: whether the broker's data is dropped.
    """

    def __init__(self, broker_url: str) -> None:
        self._broker_url = broker_url
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._swallowed = bytearray()
        self._more = asyncio.Condition()
        self.swallowing = False
        self.muted = False

    @property
    def url(self) -> str:
        """The broker's URL through this proxy."""
        assert self._server is not None
        port = self._server.sockets[0].getsockname()[1]
        parts = urlsplit(self._broker_url)
        account = parts.netloc.rpartition("@")[0]
        return parts._replace(netloc=f"{account}@127.0.0.1:{port}").geturl()

    async def open(self) -> None:
        """Accept connections."""
        self._server = await asyncio.start_server(self._handle_connection, "127.0.0.1", 0)

    async def wait_until_swallowed(self, text: str) -> None:
        """Wait until data with this text has been dropped."""
        async with asyncio.timeout(WAIT_SECONDS_MAX), self._more:
            await self._more.wait_for(lambda: text.encode() in self._swallowed)

    def cut(self) -> None:
        """Break the open connections."""
        for writer in self._writers:
            writer.transport.abort()

    async def close(self) -> None:
        """Accept no more connections, and end all tasks."""
        assert self._server is not None
        self._server.close()
        self.cut()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=WAIT_SECONDS_MAX)

    async def _handle_connection(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        parts = urlsplit(self._broker_url)
        theirs, there = await asyncio.open_connection(parts.hostname, parts.port or 5672)
        self._writers |= {writer, there}
        await asyncio.gather(
            self._pass_on(reader, there, lambda: self.swallowing),
            self._pass_on(theirs, writer, lambda: self.muted),
        )
        self._writers -= {writer, there}

    async def _pass_on(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        swallows: Callable[[], bool],
    ) -> None:
        try:
            while content := await reader.read(65_536):
                if swallows():
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
async def open_lossy_proxy(broker_url: str) -> AsyncIterator[LossyProxy]:
    """Yield an open proxy, and close it afterwards."""
    way = LossyProxy(broker_url)
    await way.open()
    try:
        yield way
    finally:
        await way.close()
