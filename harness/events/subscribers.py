"""Clients of the live stream. They parse it as the standard of server-sent events says, and disconnect when a test
wants it."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

SECONDS_MAX = 60
"""Time limit of every wait, in seconds."""


@dataclass
class Block:
    """The lines of the stream up to an empty line.

    Attributes:
        data: the event; None if the block has none.
        id: the last id received, in this block or before it.
    """

    event: str = ""
    data: dict[str, Any] | None = None
    id: str = ""
    comments: list[str] = field(default_factory=list)
    retry: int | None = None


class Subscriber:
    """One connection to `GET /v1/events`, which reads only on request."""

    def __init__(
        self,
        url: str,
        query: str = "",
        last_id: str = "",
        receive_bytes: int | None = None,
        authorization: str = "",
    ) -> None:
        parts = urlsplit(url)
        self._address = (parts.hostname or "", parts.port or 80)
        self._receive_bytes = receive_bytes
        self._request = f"GET /v1/events?{query} HTTP/1.1\r\nhost: localhost\r\n"
        if last_id:
            self._request += f"last-event-id: {last_id}\r\n"
        if authorization:
            self._request += f"authorization: {authorization}\r\n"
        self.last_id = last_id
        self.status = 0
        self.headers: dict[str, str] = {}
        self._rest = b""

    async def __aenter__(self) -> Self:
        raw = socket.socket()
        if self._receive_bytes is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_bytes)
        raw.setblocking(False)
        await asyncio.get_running_loop().sock_connect(raw, self._address)
        limit = self._receive_bytes or 2**16
        self._reader, self._writer = await asyncio.open_connection(sock=raw, limit=limit)
        self._writer.write(f"{self._request}\r\n".encode())
        async with asyncio.timeout(SECONDS_MAX):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        self.status = int(head[0].split()[1])
        self.headers = dict(line.split(": ", 1) for line in head[1:] if line)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._writer.transport.abort()

    async def body(self) -> Any:
        """Return the whole body of an answer that is not a stream."""
        return json.loads(await self._reader.readexactly(int(self.headers["content-length"])))

    async def blocks(self) -> AsyncIterator[Block]:
        """Yield the blocks until the stream ends. A block that is cut off is dropped."""
        assert self.status == 200, self.status
        while True:
            *whole, self._rest = (self._rest + await self._chunk()).split(b"\n\n")
            if not whole and not self._rest:
                return
            for text in whole:
                yield self._read(text.decode())

    async def block(self) -> Block:
        """Return the next block."""
        return await anext(self.blocks_iterator)

    @property
    def blocks_iterator(self) -> AsyncIterator[Block]:
        """The iterator over the blocks of this connection. There is only one."""
        if not hasattr(self, "_blocks"):
            self._blocks = self.blocks()
        return self._blocks

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """Yield the events only."""
        async for block in self.blocks_iterator:
            if block.data is not None:
                yield block.data

    async def take(self, count: int) -> list[dict[str, Any]]:
        """Return the next `count` events."""
        found: list[dict[str, Any]] = []
        async for event in self.events():
            found.append(event)
            if len(found) == count:
                return found
        raise AssertionError(f"the stream ended after {len(found)} of {count} events")

    async def comments(self) -> list[str]:
        """Return all comments until the stream ends."""
        return [comment async for block in self.blocks_iterator for comment in block.comments]

    async def _chunk(self) -> bytes:
        try:
            async with asyncio.timeout(SECONDS_MAX):
                size = int(await self._reader.readuntil(b"\r\n"), 16)
                data = await self._reader.readexactly(size)
                await self._reader.readexactly(2)
        except asyncio.IncompleteReadError as error:
            raise ConnectionError("broken off") from error
        return data

    def _read(self, text: str) -> Block:
        block = Block()
        for line in text.split("\n"):
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if not name:
                block.comments += [value] if value else []
            elif name == "id":
                self.last_id = value
            elif name == "event":
                block.event = value
            elif name == "data":
                block.data = json.loads(value)
            elif name == "retry":
                block.retry = int(value)
            else:
                raise AssertionError(line)
        block.id = self.last_id
        if block.data is not None:
            assert block.event == block.data["type"]
        return block
