"""The server's HTTP protocol: one system call for an answer where it makes two, answers in one piece, streams
that end, and problems where the server itself answers in plain text.

The server hands the head and the body of an answer to the transport one after the other, and the event
loop sends each at once. For our short answers that is a quarter of all the processor time of serving them
(benchmarks/single.py). The two messages of ASGI and what the server checks of each header are another tenth:
the raw routes, who write their headers themselves, may hand over both in one call.
"""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from saldo.http.crowded import not_http


class JoiningProtocol(HttpToolsProtocol):
    """Joins what is written in one turn of the event loop."""

    _default: ClassVar[tuple[list[tuple[bytes, bytes]], bytes]] = ([], b"")

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Puts the joining transport between the server and the real one."""
        super().connection_made(_JoiningTransport(transport, self.loop))  # type: ignore[arg-type]
        self._extensions = {
            # To close waits for the client to take what is in the buffer; an answer may have to end before.
            "saldo.abort": transport.abort,
            "saldo.answer": self._answer,
        }

    def connection_lost(self, exc: Exception | None) -> None:
        """Lets go of itself."""
        self._extensions.clear()
        super().connection_lost(exc)

    def on_headers_complete(self) -> None:
        """Chooses who answers. Not by the server's own limit, whose answer is no problem."""
        application: Any = self.config.app
        crowded = len(self.connections) > application.connections_max
        self.app = application.crowded if crowded else application
        self.scope["extensions"] = self._extensions  # type: ignore[typeddict-item]
        super().on_headers_complete()
        if application.draining:
            # The answer says that it is the last one here, so the client sends nothing into a closing connection.
            self.cycle.keep_alive = False

    def send_400_response(self, msg: str) -> None:
        """What was sent is not HTTP."""
        self.transport.write(not_http())
        self.transport.close()

    def _answer(
        self, scope: Any, status: int, headers: list[tuple[bytes, bytes]], body: bytes
    ) -> bool:
        """Sends a whole answer, to a request that is not HEAD.

        Args:
            scope: of the request.
            headers: none of their values are the client's as they came.

        Returns:
            False: not now, send the two messages of ASGI.
        """
        cycle = self.cycle
        if cycle.scope is not scope:
            return False  # more requests of this connection came before the answer to this one
        if not cycle.keep_alive or self.flow.write_paused or cycle.disconnected:
            return False
        cycle.response_started = cycle.response_complete = True
        head = _lines(headers)
        self.transport.write(
            b"".join((STATUS_LINE[status], self._default_head(), head, b"\r\n", body))
        )
        cycle.message_event.set()
        cycle.on_response()
        return True

    def _default_head(self) -> bytes:
        """The lines of the headers that every answer has; made anew when the server has others (the date)."""
        headers = self.server_state.default_headers
        made_of, lines = JoiningProtocol._default
        if made_of is not headers:
            lines = _lines(headers)
            JoiningProtocol._default = (headers, lines)
        return lines

    def shutdown(self) -> None:
        """The server stops: an answer that streams for as long as its client likes must end."""
        self.config.app.end_streams()  # type: ignore[union-attr]
        super().shutdown()


def _lines(headers: list[tuple[bytes, bytes]]) -> bytes:
    return b"".join([b"%b: %b\r\n" % header for header in headers])


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
