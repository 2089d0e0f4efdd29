"""The HTTP protocol of the server, with fewer system calls, limits on each connection, and errors as problems.

The server passes the head and the body of a response to the transport one after the other, and the event loop sends
each immediately. For short responses this takes a quarter of all processor time (benchmarks/scenarios/single.py), so
here they are joined and sent with one system call. The two messages of ASGI and the server's checks of each header take
another tenth. Raw routes, which write their headers themselves, can pass both messages in one call.

In addition, streams end when the server stops, and errors that the server answers in plain text are problems.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, ClassVar, Final, Protocol

import httptools
from uvicorn.protocols.http.flow_control import CLOSE_HEADER, HIGH_WATER_LIMIT, FlowControl
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from saldo.http import problems
from saldo.http.connection.fallback_apps import ConnectionLimitApp, ProblemApp
from saldo.http.connection.header_checks import (
    VERSIONS,
    InvalidHeadersError,
    head_length,
    is_ambiguous_path,
    without_upgrade,
)
from saldo.http.connection.load_shedding import LoadShedder
from saldo.http.connection.timeouts import (
    DISCARD_BYTES_MAX,
    SHUTDOWN_WRITE_TIMEOUT_SECONDS,
    TimeoutPhase,
    TimeoutSweeper,
    WireLimits,
)
from saldo.http.problems import Problem
from saldo.http.request_state import ConnectionControl, begin_request_state, request_state
from saldo.http.route_table import OTHER
from saldo.http.security_headers import NO_STORE
from saldo.observability.metrics import HTTP_CUT

PIECE_BYTES: Final = 8192
"""Maximum number of bytes that the parser gets at once. They contain at most some hundred requests, however
many a client sends together."""


class ServerApplication(Protocol):
    """The interface of the ASGI application that this protocol uses in addition to calling it.

    `saldo.server.http_server.Application` implements it.
    """

    timeout_sweeper: TimeoutSweeper
    wire_limits: WireLimits
    connections_max: int
    connection_limit_app: ConnectionLimitApp
    ambiguous_path_app: ProblemApp
    draining: bool

    @property
    def shedding(self) -> LoadShedder:
        """Decides whether data is rejected before it is parsed."""

    def __call__(self, scope: Any, receive: Any, send: Any) -> Awaitable[None]: ...

    def route_of(self, method: str, path: str) -> str:
        """Return the route label of a request for the metrics."""

    def end_streams(self) -> None:
        """End all streams, because the server stops."""


class BufferedHttpProtocol(HttpToolsProtocol):
    """An HTTP protocol that joins the writes of one loop iteration, and limits the memory of a connection."""

    # These are slots because the server's own attributes nearly reach the number that Python finds quickly (thirty).
    __slots__ = (
        "_body_bytes",
        "_buffered_bytes",
        "_control",
        "_deaf",
        "_discarded_bytes",
        "_half_closed",
        "_limits",
        "_loose_bytes",
        "_rest",
        "_running",
        "_shed_lately",
        "_shedding",
        "_surplus",
        "_sweep",
        "_taken",
        "_upgrading",
        "_waits_for",
        "_waits_since",
    )

    _default: ClassVar[tuple[list[tuple[bytes, bytes]], bytes]] = ([], b"")

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wrap the transport in one that joins writes, and initialize the state of the connection."""
        joining: Any = _BufferedTransport(transport, self.loop)
        super().connection_made(joining)
        self.flow = _Flow(joining, self)
        self._control = ConnectionControl(self._answer, transport.abort, self._is_gone)
        application = self._application()
        self._sweep = application.timeout_sweeper
        self._sweep.connections = self.connections  # type: ignore[assignment]
        self._sweep.tasks = self.tasks
        # A connection that was opened within the limit is not closed because of later ones.
        self._surplus = len(self.connections) > application.connections_max
        self._limits = application.wire_limits
        self._shedding = application.shedding
        # True if a request was rejected unread since the keep-alive timer was set.
        self._shed_lately = False
        # The cycle that is being answered; `cycle` is that of the request that was read last.
        self._running: RequestResponseCycle | None = None
        self._rest = bytearray()  # received, and not passed to the parser yet
        self._deaf = False  # further data is not parsed
        self._half_closed = False  # the client has closed its side, and waits for responses
        self._upgrading = False
        self._loose_bytes = (
            0  # received since the last head or body: parts of a head, a chunk's line, a trailer
        )
        self._body_bytes = 0
        self._discarded_bytes = 0
        self._buffered_bytes = 0
        self._taken = 0  # number of checks at which the client had read a part of its response
        self._waits_for: tuple[TimeoutPhase, Any] | None = None
        self._waits_since = 0.0

    def connection_lost(self, exc: Exception | None) -> None:
        """Release all references, and end the request that is being answered."""
        self._control.release()
        self._deaf = True
        self._rest.clear()
        self.pipeline.clear()
        running = self._running
        if running is not None and not running.response_complete:
            running.disconnected = True
            running.message_event.set()
        # The server does this only if the connection was not reset. The timer would keep all objects until it fires.
        self._unset_keepalive_if_required()
        super().connection_lost(exc)
        if isinstance(self.flow, _Flow):
            self.flow.detach()

    def eof_received(self) -> bool:  # type: ignore[override]
        """Answer a client that has sent its whole request and closed its side of the connection (RFC 9112, 9.6).

        A client that closes its side within a request, or that follows the live stream, counts as disconnected. So does
        every client that uses TLS, because there the end of its side can't be distinguished from a closed connection.

        Returns:
            Whether the connection stays open for the pending responses.
        """
        self.transport.flush()  # type: ignore[attr-defined]
        running = self._running
        self._half_closed = (
            running is not None
            and not running.response_complete
            and not running.more_body
            and self.scheme == "http"
            and not self._has_own_write_timeout()
        )
        return self._half_closed

    def _is_gone(self) -> bool:
        """Return whether the client has closed the connection or its side of it; then most clients no longer read."""
        return self._half_closed or self._deaf

    def _application(self) -> ServerApplication:
        application: Any = self.config.app
        return application  # type: ignore[no-any-return]

    # --- reading ------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Parse data in pieces, as long as no request waits for the response to an earlier one."""
        if self._shedding.should_shed(data, self.transport) and self._shed(data):
            return
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
            self.timeout_keep_alive_task = None
        if self._deaf:
            self._discard(len(data))
            return
        if self._rest or self.pipeline or len(data) > PIECE_BYTES:
            self._rest += data
            self.resume_parsing()
            return
        rest = None
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            rest = data[upgrade.args[0] :]
        except httptools.HttpParserError as error:
            refused = error.__context__
            known = isinstance(refused, InvalidHeadersError)
            self._reject(refused.problem if known else problems.not_http())  # type: ignore[union-attr]
            return
        if rest is not None:
            # This is not done in the handler, where an error in the rest would get the wrong `__context__`.
            self._read_without_upgrade(rest)
            return
        cycle = self.cycle
        if cycle is None or cycle.more_body or cycle.scope is not self.scope:
            self._loose_bytes += len(data)
            if self._loose_bytes > self._limits.head_bytes_max:
                self._reject(self._too_large())

    def resume_parsing(self) -> None:
        """Parse the data that was received already. No further data is received before this is done."""
        rest, self._rest = self._rest, bytearray()
        while rest and not self.pipeline and not self._deaf:
            piece = bytes(rest[:PIECE_BYTES])
            del rest[:PIECE_BYTES]
            self.data_received(piece)
        if self._deaf:
            return
        self._rest += rest  # after data that was put back: a head without its upgrade
        if self._rest:
            self.flow.pause_reading()
        elif (
            self.flow.read_paused and not self.pipeline and len(self._unread()) <= HIGH_WATER_LIMIT
        ):
            self.flow.resume_reading()

    def _shed(self, data: bytes) -> bool:
        """Reject the data unread if that is possible, and return whether it was rejected.

        It is possible only if the request before it is complete and answered.
        """
        cycle = self.cycle
        idle = self.scope is None or (
            cycle is not None
            and cycle.scope is self.scope
            and cycle.response_complete
            and not cycle.more_body
        )
        if not idle or self._rest or self._deaf or self.flow.write_paused:
            return False
        refusal = self._shedding.build_rejection(data, self.server_state.default_headers)
        if refusal is None:
            return False
        self.transport.write_deferred(refusal)  # type: ignore[attr-defined]
        self._shedding.refusals.add(self.transport)  # type: ignore[arg-type]
        if self._shedding.closes:
            self.transport.close()
        elif self.timeout_keep_alive_task is None:
            self._wait_for_next()
        else:
            self._shed_lately = True  # setting the timer again would cost more than the rejection
        return True

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection, unless a request was rejected unread since the timer was set."""
        if self._shed_lately:
            self._shed_lately = False
            self._wait_for_next()
            return
        super().timeout_keep_alive_handler()

    def _wait_for_next(self) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    @property
    def has_unparsed_data(self) -> bool:
        """True if received data has not been parsed yet."""
        return bool(self._rest)

    def _too_large(self) -> Problem:
        limits = self._limits
        if self._reads_head() and len(self.url) > limits.url_bytes_max:
            return problems.url_too_long(limits.url_bytes_max)
        return problems.head_too_large(limits.head_bytes_max, limits.headers_max)

    def _reads_head(self) -> bool:
        """Return whether a request has begun and its head is incomplete."""
        return self.scope is not None and (self.cycle is None or self.cycle.scope is not self.scope)

    def _read_without_upgrade(self, rest: bytes) -> None:
        method, version = self.parser.get_method(), self.parser.get_http_version()
        head = without_upgrade(method, self.url, version, self.headers)
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._upgrading = False
        self._loose_bytes = 0
        self.data_received(head + rest)

    # --- what the parser calls ------------------------------------------------------------------

    def on_headers_complete(self) -> None:
        """Check the limits of the head, and choose the application that answers.

        The server's own limit of connections is not used, because its response is not a problem.
        """
        limits = self._limits
        if (
            len(self.url) > limits.url_bytes_max
            or len(self.headers) > limits.headers_max
            or (self._loose_bytes and head_length(self.url, self.headers) > limits.head_bytes_max)
        ):
            raise InvalidHeadersError(self._too_large())
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise InvalidHeadersError(problems.method_not_allowed("CONNECT"))
            self._upgrading = True  # the head is parsed again without it
            return
        application = self._application()
        if self._surplus:
            self._surplus = len(self.connections) > application.connections_max
        self.app = application
        if self._surplus:
            self.app = application.connection_limit_app
            # If the connection were closed within a request, the client could lose the rejection.
            self.transport.half_close = True  # type: ignore[attr-defined]
        if (b"%" in self.url or b"//" in self.url) and is_ambiguous_path(self.url):
            self.app = application.ambiguous_path_app
        begin_request_state(self.scope, self._control)
        super().on_headers_complete()
        self._loose_bytes = 0
        # Trailers are not added to the headers: they would change a request that may be in progress.
        self.headers = _DROPPED
        if application.draining:
            # The response announces the close, so that the client does not send into a closing connection.
            self.cycle.keep_alive = False
        if self.scope["http_version"] not in VERSIONS:
            raise InvalidHeadersError(problems.not_http())

    def on_body(self, body: bytes) -> None:
        """Add data to the request's body, or discard the data if the request has its response already."""
        self._loose_bytes = 0
        self._body_bytes += len(body)
        cycle = self.cycle
        if cycle.response_complete:
            self._discard(len(body))
            return
        cycle.body += body
        if len(cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        cycle.message_event.set()

    def on_message_complete(self) -> None:
        """Mark the request as complete, whether or not it has its response already."""
        if self._upgrading:
            return
        self._discarded_bytes = 0
        self.cycle.more_body = False
        if self._surplus:
            self.transport.half_close = False  # type: ignore[attr-defined]
        if not self.cycle.response_complete:
            self.cycle.message_event.set()

    def on_response_complete(self) -> None:
        """Start the next request, as the server's own method does, unless the connection ends with this response."""
        self.server_state.total_requests += 1
        if self._half_closed and (not self.pipeline or self.pipeline[-1][0].more_body):
            self.transport.close()
        if self.transport.is_closing():
            self._deaf = True
            self._rest.clear()
            self.pipeline.clear()
            return
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
        self.flow.resume_reading()
        if self.pipeline:
            self.timeout_keep_alive_task = None
            self._start_asgi_task(*self.pipeline.pop())
        else:
            self._wait_for_next()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        task = self.loop.create_task(cycle.run_asgi(app))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    # --- ending -------------------------------------------------------------------------------

    def _reject(self, problem: Problem) -> None:
        """Answer a request that can't be read, after all earlier ones, and stop parsing."""
        self._deaf = True
        self._rest.clear()
        scope = self._placeholder_scope()
        waits = self._drop_unread_request()
        if waits is None:
            self.transport.close()
            return
        self.transport.half_close = True  # type: ignore[attr-defined]
        cycle = RequestResponseCycle(
            scope=scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=False,
            on_response=self.on_response_complete,
        )
        cycle.more_body = False
        self.cycle = cycle
        refused = ProblemApp(problem, self._application().route_of)
        if waits:
            self.pipeline.appendleft((cycle, refused))
        else:
            self._start_asgi_task(cycle, refused)

    def _placeholder_scope(self) -> Any:
        """Return a scope for the response to a request that can't be read, with the method and path if they are known.

        They name the route in the metrics, and a response to HEAD must not have a body.
        """
        method, path = OTHER, ""
        cycle = self.cycle
        if cycle is not None and cycle.more_body and not cycle.response_complete:
            method, path = cycle.scope["method"], cycle.scope["path"]
        elif self._reads_head() and self.url:
            method = self.parser.get_method().decode("ascii")
        scope = {"type": "http", "method": method, "path": path, "headers": []}
        begin_request_state(scope, self._control)
        return scope

    def _drop_unread_request(self) -> bool | None:
        """Drop the request that is being read, if there is one.

        Returns:
            Whether an earlier request has no response yet; None if the response to this one has begun already.
        """
        running, cycle = self._running, self.cycle
        if cycle is not None and cycle.more_body and not cycle.response_complete:
            if cycle is running:
                cycle.disconnected = True
                cycle.message_event.set()
                return None if cycle.response_started else False
            self.pipeline.popleft()
        return running is not None and not running.response_complete

    def _discard(self, size: int) -> None:
        self._discarded_bytes += size
        if self._discarded_bytes > DISCARD_BYTES_MAX:
            self._abort("end")

    def _abort(self, phase: TimeoutPhase) -> None:
        HTTP_CUT.labels(phase).inc()
        self._deaf = True
        self.transport.abort()

    # --- waiting ------------------------------------------------------------------------------

    def check_timeout(self, now: float) -> None:
        """End the connection if it has waited too long for its client (`saldo.http.connection.timeouts`)."""
        waits_for = self._timeout_phase()
        if waits_for is None or waits_for != self._waits_for:
            self._waits_for, self._waits_since = waits_for, now
        elif now - self._waits_since >= self._seconds_max(waits_for[0]):
            self._waits_for = None
            self._end_waiting(waits_for[0])

    def abort(self) -> None:
        """End the connection immediately, because the service stops."""
        self._abort("end")

    def _seconds_max(self, waits_for: TimeoutPhase) -> float:
        seconds: float = self._limits.seconds[waits_for]
        if self._sweep.stopping and waits_for == "answer":
            return min(seconds, SHUTDOWN_WRITE_TIMEOUT_SECONDS)
        return seconds

    def _timeout_phase(self) -> tuple[TimeoutPhase, Any] | None:
        """Return the next action of the client, with a value that changes when the client makes progress.

        None means that the connection does not wait for the client.
        """
        cycle = self.cycle
        reads_body = cycle is not None and cycle.more_body
        streams = reads_body and request_state(cycle.scope).on_stall is not None
        unsent = self.transport.get_write_buffer_size()
        if unsent < self._buffered_bytes:
            self._taken += 1
        self._buffered_bytes = unsent
        # A client may read the answers to a stream after it has sent everything, unless we can't hold more of them.
        if (
            unsent
            and not (streams and not self.flow.read_paused)
            and not self._has_own_write_timeout()
        ):
            return "answer", (self._taken, self._body_bytes)
        if self.transport.is_closing():
            return "end", None
        if self.flow.read_paused or self._deaf:
            return None
        if self._reads_head():
            return "head", id(self.scope)
        if not reads_body:
            running = self._running
            answering = running is not None and not running.response_complete
            idle = answering or self.timeout_keep_alive_task is not None
            return None if idle else ("head", id(self.scope))
        if cycle.response_complete:
            return "end", id(cycle)
        if streams:
            return None if cycle.body else ("stream", self._body_bytes)
        return "body", id(cycle)

    def _has_own_write_timeout(self) -> bool:
        running = self._running
        return running is not None and request_state(running.scope).has_own_write_timeout

    def _end_waiting(self, phase: TimeoutPhase) -> None:
        seconds = self._limits.seconds[phase]
        if phase == "stream":
            HTTP_CUT.labels(phase).inc()
            end_stream = request_state(self.cycle.scope).on_stall
            assert end_stream is not None
            end_stream(problems.too_slow(seconds))
        elif phase == "body" or (phase == "head" and self._reads_head()):
            HTTP_CUT.labels(phase).inc()
            self._reject(problems.too_slow(seconds))
        elif phase == "head":  # a client that has sent nothing gets no response
            HTTP_CUT.labels(phase).inc()
            self.transport.close()
        else:
            self._abort(phase)

    # --- writing ------------------------------------------------------------------------------

    def _unread(self) -> bytearray:
        return self.cycle.body if self.cycle is not None else bytearray()

    def _answer(
        self, scope: Any, status: int, headers: list[tuple[bytes, bytes]], body: bytes
    ) -> bool:
        """Send a whole response in one piece, if that is possible now.

        Args:
            scope: The scope of the request. A HEAD is not possible, because its response has no body.
            headers: They are not checked, so no value may come from the client without a check.

        Returns:
            False if nothing was sent and the caller must send the two messages of ASGI.
        """
        cycle = self.cycle
        if cycle.scope is not scope:
            return False  # further requests of this connection arrived before this response
        if not cycle.keep_alive or self.flow.write_paused or cycle.disconnected:
            return False
        if scope["method"] == "HEAD" or CLOSE_HEADER in headers:
            return False  # the server itself omits the body, and closes the connection
        cycle.response_started = cycle.response_complete = True
        head = _lines(headers)
        self.transport.write(
            b"".join((STATUS_LINE[status], self._default_head(), head, b"\r\n", body))
        )
        cycle.message_event.set()
        cycle.on_response()
        return True

    def _default_head(self) -> bytes:
        """Return the lines that all responses of raw routes have. They are rebuilt when the date in them changes."""
        headers = self.server_state.default_headers
        made_of, lines = BufferedHttpProtocol._default
        if made_of is not headers:
            lines = _lines([*headers, NO_STORE])
            BufferedHttpProtocol._default = (headers, lines)
        return lines

    def shutdown(self) -> None:
        """Close the connection after the current response, and end streams, because the server stops."""
        self._application().end_streams()
        # Pipelined requests that have not begun are not processed. The client learns this from the closed connection.
        self.pipeline.clear()
        self._rest.clear()
        running = self._running
        if running is not None and not running.response_complete:
            running.keep_alive = False
            return
        super().shutdown()


def _lines(headers: list[tuple[bytes, bytes]]) -> bytes:
    return b"".join([b"%b: %b\r\n" % header for header in headers])


class _DiscardedTrailers(list[tuple[bytes, bytes]]):
    """A list that discards what is appended to it."""

    def append(self, _: tuple[bytes, bytes]) -> None:
        """Discard the item."""


_DROPPED: Final = _DiscardedTrailers()


class _Flow(FlowControl):
    """Flow control that resumes reading only after the received data has been parsed."""

    def __init__(self, transport: Any, protocol: BufferedHttpProtocol) -> None:
        super().__init__(transport)
        self._loop = protocol.loop
        self._protocol: BufferedHttpProtocol | None = protocol

    def detach(self) -> None:
        """Release the protocol when the connection ends, because the garbage collector would find the cycle late."""
        self._protocol = None

    def resume_reading(self) -> None:
        if self.read_paused:
            if self._protocol is not None and self._protocol.has_unparsed_data:
                # It is not called directly, because the server starts its next request only after this call.
                self._loop.call_soon(self._protocol.resume_parsing)
            else:
                super().resume_reading()


class _BufferedTransport:
    """A transport that writes at the end of the loop's iteration. All other methods are those of the real one."""

    __slots__ = ("_loop", "_parts", "_said_all", "_transport", "half_close")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._parts: list[bytes] = []
        self._said_all = False
        self.half_close = False
        """True if `close` ends only our side, and waits for the client to close its own.

        A client that is still sending could lose the response if the connection were closed at once.
        """

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        return self._said_all or self._transport.is_closing()

    def write(self, data: bytes) -> None:
        if not self._parts:
            self._loop.call_soon(self.flush)
        self._parts.append(data)

    def write_deferred(self, data: bytes) -> None:
        """Buffer data until `flush` is called, or until more is written.

        A client that sends requests without waiting for responses gets them at once, so that they do not accumulate.
        """
        self._parts.append(data)
        if len(self._parts) > 1:
            self.flush()

    def close(self) -> None:
        self.flush()
        if self.half_close and not self.is_closing():
            self._said_all = True
            if self._transport.can_write_eof():
                self._transport.write_eof()
            return
        self._transport.close()

    def flush(self) -> None:
        """Send the buffered data, unless the client has disconnected."""
        if self._parts:
            data = b"".join(self._parts)
            self._parts.clear()
            if not self._transport.is_closing():
                self._transport.write(data)
