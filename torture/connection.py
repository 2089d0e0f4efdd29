"""A client's connection to one service: the simplest possible HTTP, with a timeout for every request."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple


class RequestFailedError(Exception):
    """The error for a request without a complete answer. The outcome of the request is unknown."""


class Answer(NamedTuple):
    """A complete answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def content(self) -> Any:
        """The parsed JSON body."""
        return json.loads(self.body)

    @property
    def is_replayed(self) -> bool:
        return self.headers.get("idempotent-replayed") == "true"


class Connection:
    """A connection that is reused while it works, and reopened after an error."""

    def __init__(self, port: int, seconds_max: float) -> None:
        """Create a connection; it is opened by the first request.

        Args:
            seconds_max: the time that one request may take in total.
        """
        self._port = port
        self._seconds_max = seconds_max
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    def close(self) -> None:
        """Close the connection immediately, without reading further."""
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None

    async def get(self, path: str) -> Answer:
        return await self._ask("GET", path, b"", "application/json")

    async def post(self, path: str, content: dict[str, Any] | list[dict[str, Any]]) -> Answer:
        """Send a POST: a dict is sent as JSON, a list as NDJSON."""
        if isinstance(content, dict):
            return await self._ask("POST", path, json.dumps(content).encode(), "application/json")
        lines = "".join(json.dumps(line) + "\n" for line in content)
        return await self._ask("POST", path, lines.encode(), "application/x-ndjson")

    async def _ask(self, method: str, path: str, body: bytes, media_type: str) -> Answer:
        """Send one request and return its answer.

        Raises:
            RequestFailedError: the connection failed, the answer is malformed, or the time is over.
        """
        try:
            async with asyncio.timeout(self._seconds_max):
                if self._streams is None:
                    self._streams = await asyncio.open_connection("127.0.0.1", self._port)
                reader, writer = self._streams
                head = (
                    f"{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {media_type}\r\n"
                    f"content-length: {len(body)}\r\n\r\n"
                )
                writer.write(head.encode() + body)
                answer = await _read(reader)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, ValueError) as error:
            self.close()
            raise RequestFailedError from error
        except asyncio.CancelledError:
            self.close()
            raise
        if answer.headers.get("connection") == "close":
            self.close()
        return answer


async def _read(reader: asyncio.StreamReader) -> Answer:
    status_line, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = {
        name.lower(): value for name, _, value in (line.partition(": ") for line in lines if line)
    }
    if "content-length" in headers:
        body = await reader.readexactly(int(headers["content-length"]))
    else:
        body = b""
        while size := int(await reader.readuntil(b"\r\n"), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readuntil(b"\r\n")
    return Answer(int(status_line.split()[1]), headers, body)


@asynccontextmanager
async def open_connection(port: int, seconds_max: float) -> AsyncIterator[Connection]:
    """Yield a connection and close it at the end."""
    made = Connection(port, seconds_max)
    try:
        yield made
    finally:
        made.close()
