"""Many concurrent clients, each with a connection of its own and as little overhead as possible."""

from __future__ import annotations

import asyncio
import json
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit


class DisconnectedError(Exception):
    """The error for a request without a complete answer. The outcome of the request is unknown."""


class Client:
    """A client with one persistent connection and one request at a time."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._address = (parts.hostname or "", parts.port or 80)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def get(self, path: str) -> tuple[int, Any]:
        return await self._ask("GET", path, b"")

    async def post(self, path: str, content: dict[str, Any]) -> tuple[int, Any]:
        return await self._ask("POST", path, json.dumps(content).encode())

    async def _ask(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        """Send a request and return the status and the content of the answer.

        Raises:
            DisconnectedError: there is no complete answer.
        """
        try:
            if self._streams is None:
                self._streams = await asyncio.open_connection(*self._address)
            reader, writer = self._streams
            head = (
                f"{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
                f"content-length: {len(body)}\r\n\r\n"
            )
            writer.write(head.encode() + body)
            status_line, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in lines if line)
            content = await reader.readexactly(int(headers["content-length"]))
        except (OSError, asyncio.IncompleteReadError) as error:
            raise DisconnectedError from error
        if headers.get("connection") == "close":
            self.close()
        return int(status_line.split()[1]), json.loads(content)
