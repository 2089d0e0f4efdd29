"""The server's HTTP protocol: one system call for an answer where it makes two, streams that end, and
problems where the server itself answers in plain text.

The server hands the head and the body of an answer to the transport one after the other, and the event
loop sends each at once. For our short answers that is a quarter of all the processor time of serving them
(benchmarks/single.py).
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from saldo.http.crowded import not_http


class JoiningProtocol(HttpToolsProtocol):
    """Joins what is written in one turn of the event loop."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Puts the joining transport between the server and the real one."""
        super().connection_made(_JoiningTransport(transport, self.loop))  # type: ignore[arg-type]
        # To close waits for the client to take what is in the buffer; an answer may have to end before.
        self._extensions = {"saldo.abort": transport.abort}

    def on_headers_complete(self) -> None:
        """Chooses who answers. Not by the server's own limit, whose answer is no problem."""
        application: Any = self.config.app
        crowded = len(self.connections) > application.connections_max
        self.app = application.crowded if crowded else application
        self.scope["extensions"] = self._extensions  # type: ignore[typeddict-item]
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """What was sent is not HTTP."""
        self.transport.write(not_http())
        self.transport.close()

    def shutdown(self) -> None:
        """The server stops: an answer that streams for as long as its client likes must end."""
        self.config.app.drain()  # type: ignore[union-attr]
        super().shutdown()


class _JoiningTransport:
    """Writes at the end of the turn; all else is the real transport's."""

    __slots__ = ("_loop", "_parts", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._parts: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def write(self, data: bytes) -> None:
        if not self._parts:
            self._loop.call_soon(self._flush)
        self._parts.append(data)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._parts:
            data = b"".join(self._parts)
            self._parts.clear()
            self._transport.write(data)
