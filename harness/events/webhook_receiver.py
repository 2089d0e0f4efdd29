"""A receiver of webhooks like real ones: it may fail, hang, redirect, or be slow."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


def build_response(status: int, *headers: str) -> bytes:
    """Return an HTTP answer without a body."""
    lines = [f"HTTP/1.1 {status} Whatever", "content-length: 0", *headers]
    return "\r\n".join([*lines, "", ""]).encode()


@dataclass
class ReceivedRequest:
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.body)
        return content

    @property
    def number(self) -> int:
        return int(self.event["data"]["number"])

    @property
    def user_id(self) -> int:
        data = self.event["data"]
        return int(data.get("user_id", data.get("id")))


Behaviour = Callable[[ReceivedRequest], Awaitable[bytes]]


class Receiver:
    """A server that answers according to its behaviour, and keeps the requests.

    Attributes:
        received: every request, in the order of arrival.
        behave: the function that returns the answer to a request. A test may replace it at any time.
    """

    def __init__(self) -> None:
        self.received: list[ReceivedRequest] = []
        self.behave: Behaviour = accept
        self.port = 0
        self._news = asyncio.Condition()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    async def wait_for(
        self, satisfied: Callable[[list[ReceivedRequest]], bool]
    ) -> list[ReceivedRequest]:
        """Return the received requests once they satisfy the condition."""
        async with self._news:
            await self._news.wait_for(lambda: satisfied(self.received))
        return self.received

    async def wait_for_count(self, count: int) -> list[ReceivedRequest]:
        """Return the first `count` requests."""
        return (await self.wait_for(lambda received: len(received) >= count))[:count]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                line, *lines = head.strip().split("\r\n")
                headers = dict(each.split(": ", 1) for each in lines)
                headers = {name.lower(): value for name, value in headers.items()}
                body = await reader.readexactly(int(headers["content-length"]))
                request = ReceivedRequest(line.split()[1], headers, body)
                async with self._news:
                    self.received.append(request)
                    self._news.notify_all()
                writer.write(await self.behave(request))
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


async def accept(_: ReceivedRequest) -> bytes:
    """Accept the delivery."""
    return OK


def respond_always(text: bytes) -> Behaviour:
    """Return a behaviour that gives the same answer to all requests."""

    async def behave(_: ReceivedRequest) -> bytes:
        return text

    return behave


def respond_first(text: bytes, count: int) -> Behaviour:
    """Return a behaviour that gives this answer to the first `count` requests, and accepts the others."""
    left = count

    async def behave(_: ReceivedRequest) -> bytes:
        nonlocal left
        left -= 1
        return text if left >= 0 else OK

    return behave


async def never_answer(_: ReceivedRequest) -> bytes:
    """Wait for ever without answering."""
    await asyncio.Event().wait()
    return b""


@asynccontextmanager
async def run_receiver() -> AsyncIterator[Receiver]:
    """Yield a receiver on a free port."""
    receiver = Receiver()
    connections: set[asyncio.Task[None]] = set()

    def handle_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(receiver.serve(reader, writer))
        connections.add(task)
        task.add_done_callback(connections.discard)

    server = await asyncio.start_server(handle_connection, "127.0.0.1", 0)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        for task in [*connections]:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
        await server.wait_closed()
