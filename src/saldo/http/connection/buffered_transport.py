"""A transport that joins the writes of one iteration of the event loop, and closes without losing responses."""

from __future__ import annotations

import asyncio
from typing import Any

from saldo.http.connection.state import ConnectionState, ConnectionStateMachine


class BufferedTransport:
    """A transport that buffers data and writes the data at the end of the loop's iteration. Methods that are not
    defined here are those of the wrapped transport."""

    __slots__ = ("_connection", "_loop", "_parts", "_transport", "half_close")

    def __init__(
        self,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        connection: ConnectionStateMachine,
    ) -> None:
        self._transport = transport
        self._loop = loop
        self._connection = connection
        self._parts: list[bytes] = []
        self.half_close = False
        """True if `close` closes only the server's side, and waits for the client to close the other side.

        A client that is still sending could lose the response if both sides were closed immediately. After the
        rejection of a request that is not read to its end, `close` always closes only the server's side.
        """

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        """Return whether no more data can be written, because the server's side was closed or the transport has
        failed."""
        return not self._connection.may_write or self._transport.is_closing()

    def write(self, data: bytes) -> None:
        """Buffer data until the end of the loop's iteration."""
        if not self._parts:
            self._loop.call_soon(self.flush)
        self._parts.append(data)

    def write_deferred(self, data: bytes) -> None:
        """Buffer data until `flush` is called, or send the data immediately if other data is buffered already.

        The responses to a client that sends requests without waiting for responses thus do not accumulate.
        """
        self._parts.append(data)
        if len(self._parts) > 1:
            self.flush()

    def close(self) -> None:
        """Send the buffered data and close the connection. If the client may still be sending, close only the server's
        side."""
        self.flush()
        connection = self._connection
        state = connection.state
        has_to_linger = state is ConnectionState.REJECTING or (
            state is ConnectionState.OPEN and self.half_close
        )
        if has_to_linger and not self._transport.is_closing():
            connection.move_to(ConnectionState.LINGERING)
            if self._transport.can_write_eof():
                self._transport.write_eof()
            return
        connection.close()
        self._transport.close()

    def abort(self) -> None:
        """Close the connection immediately, without sending buffered data."""
        self._connection.close()
        self._transport.abort()

    def flush(self) -> None:
        """Send the buffered data, unless the connection is closing."""
        if self._parts:
            data = b"".join(self._parts)
            self._parts.clear()
            if self._connection.may_write and not self._transport.is_closing():
                self._transport.write(data)
