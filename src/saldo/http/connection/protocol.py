"""The HTTP protocol of the server, with fewer system calls, limits on each connection, and errors as problems.

uvicorn passes the head and the body of a response to the transport one after the other, and the event loop sends each
of them immediately. For short responses this takes a quarter of all processor time (benchmarks/scenarios/single.py).
This protocol joins them and sends them with one system call. ASGI's two messages per response and uvicorn's checks of
each header take another tenth. Routes that bypass the framework can pass a whole response in one call instead.

In addition, this protocol ends streams when the server stops. It responds with `application/problem+json` where uvicorn
would respond with plain text.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import httptools
from uvicorn.protocols.http.flow_control import CLOSE_HEADER, HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from saldo.http import problems
from saldo.http.connection.buffered_transport import BufferedTransport
from saldo.http.connection.fallback_apps import ProblemApp, build_placeholder_scope
from saldo.http.connection.flow_control import ResumableFlowControl
from saldo.http.connection.header_checks import (
    DISCARDED_TRAILERS,
    VERSIONS,
    InvalidHeadersError,
    is_ambiguous_path,
    measure_head,
    remove_upgrade,
)
from saldo.http.connection.response_bytes import RESPONSES
from saldo.http.connection.server_application import ServerApplication
from saldo.http.connection.state import ConnectionState, ConnectionStateMachine
from saldo.http.connection.timeout_sweeper import DISCARD_BYTES_MAX, TimeoutPhase
from saldo.http.connection.timeout_tracker import TimeoutTracker
from saldo.http.problems import Problem
from saldo.http.request_state import ConnectionControl, begin_request_state, get_request_state
from saldo.http.route_table import OTHER
from saldo.observability.metrics import HTTP_CUT

PIECE_BYTES: Final = 8192
"""Maximum number of bytes that are passed to the parser in one call. So many bytes contain at most a few hundred
requests, even if a client sends more together."""


class BufferedHttpProtocol(HttpToolsProtocol):
    """An HTTP protocol that joins the writes of one loop iteration, and limits the memory of a connection."""

    # These attributes are slots, because Python is slower with more than thirty others and uvicorn's class has nearly
    # thirty.
    __slots__ = (
        "_control",
        "_discarded_bytes",
        "_is_keep_alive_renewed",
        "_is_over_limit",
        "_limits",
        "_shedder",
        "_timeouts",
        "_unframed_bytes",
        "_unparsed",
        "body_bytes",
        "connection",
        "running",
    )

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wrap the transport in one that joins writes, and initialize the state of the connection."""
        self.connection = ConnectionStateMachine()
        buffered: Any = BufferedTransport(transport, self.loop, self.connection)
        super().connection_made(buffered)
        self.flow = ResumableFlowControl(buffered, self)
        self._control = ConnectionControl(self._send_whole, self._abandon, self._is_gone)
        application = self._get_application()
        sweeper = application.timeout_sweeper
        sweeper.connections = self.connections  # type: ignore[assignment]
        sweeper.tasks = self.tasks
        # A connection that was opened within the limit is not closed when further connections exceed the limit.
        self._is_over_limit = len(self.connections) > application.connections_max
        self._limits = application.input_limits
        self._timeouts = TimeoutTracker(self._limits, sweeper)
        self._shedder = application.load_shedder
        # True if a request was rejected unread since the keep-alive timer was set.
        self._is_keep_alive_renewed = False
        # The cycle that is being answered; `cycle` is that of the request that was read last.
        self.running: RequestResponseCycle | None = None
        self._unparsed = bytearray()  # received, and not passed to the parser yet
        self._unframed_bytes = (
            0  # received since the last head or body: parts of a head, a chunk's line, a trailer
        )
        self.body_bytes = 0
        self._discarded_bytes = 0

    def connection_lost(self, exc: Exception | None) -> None:
        """Release all references, and end the request that is being answered."""
        self._control.release()
        self.connection.move_to(ConnectionState.CLOSED)
        self._unparsed.clear()
        self.pipeline.clear()
        running = self.running
        if running is not None and not running.response_complete:
            running.disconnected = True
            running.message_event.set()
        # uvicorn cancels the timer only if the connection was not reset. Until the timer fires, it would keep all
        # objects alive.
        self._unset_keepalive_if_required()
        super().connection_lost(exc)
        if isinstance(self.flow, ResumableFlowControl):
            self.flow.detach()

    def eof_received(self) -> bool:  # type: ignore[override]
        """Answer a client that has sent its whole request and closed its side of the connection (RFC 9112, 9.6).

        A client counts as disconnected if it closes its side within a request, or while it receives the live stream.
        With TLS every such client counts as disconnected, because a closed side can't be distinguished from a closed
        connection.

        Returns:
            Whether the connection stays open for the pending responses.
        """
        self.transport.flush()  # type: ignore[attr-defined]
        running = self.running
        is_kept_open = (
            self.connection.may_write
            and running is not None
            and not running.response_complete
            and not running.more_body
            and self.scheme == "http"
            and not self.has_own_write_timeout()
        )
        if is_kept_open:
            self.connection.end_client_side()
        else:
            self.connection.close()  # the transport closes itself
        return is_kept_open

    def _is_gone(self) -> bool:
        """Return whether the client has closed the connection or its side of it. Most such clients no longer read."""
        return self.connection.has_client_ended or not self.connection.may_write

    def _abandon(self) -> None:
        """Close the connection without a response. The server must know this before the application returns, because it
        would otherwise respond with 500 and log an error."""
        running = self.running
        if running is not None:
            running.disconnected = True
            running.message_event.set()
        self.transport.abort()

    def _get_application(self) -> ServerApplication:
        application: Any = self.config.app
        return application  # type: ignore[no-any-return]

    # --- reading ------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Parse received data in pieces. While a request waits for the response to an earlier one, the data is only
        stored."""
        if self._shedder.should_shed(data, self.transport) and self._try_shed(data):
            return
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
            self.timeout_keep_alive_task = None
        if not self.connection.may_parse:
            self._count_discarded(len(data))
            return
        if self._unparsed or self.pipeline or len(data) > PIECE_BYTES:
            self._unparsed += data
            self.resume_parsing()
            return
        rest = None
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            rest = data[upgrade.args[0] :]
        except httptools.HttpParserError as error:
            cause = error.__context__
            is_known = isinstance(cause, InvalidHeadersError)
            self._reject(cause.problem if is_known else problems.build_not_http())  # type: ignore[union-attr]
            return
        if rest is not None:
            # The rest is not parsed in the `except` block, where an error in it would get the wrong `__context__`.
            self._parse_without_upgrade(rest)
            return
        cycle = self.cycle
        if cycle is None or cycle.more_body or cycle.scope is not self.scope:
            self._unframed_bytes += len(data)
            if self._unframed_bytes > self._limits.head_bytes_max:
                self._reject(self._build_too_large_problem())

    def resume_parsing(self) -> None:
        """Parse the data that has been received already. Reading from the connection resumes when all of it is
        parsed."""
        rest, self._unparsed = self._unparsed, bytearray()
        while rest and not self.pipeline and self.connection.may_parse:
            piece = bytes(rest[:PIECE_BYTES])
            del rest[:PIECE_BYTES]
            self.data_received(piece)
        if not self.connection.may_parse:
            return
        self._unparsed += rest  # after data that was put back: a head without its upgrade
        if self._unparsed:
            self.flow.pause_reading()
        elif (
            self.flow.read_paused
            and not self.pipeline
            and len(self._get_unread_body()) <= HIGH_WATER_LIMIT
        ):
            self.flow.resume_reading()

    def _try_shed(self, data: bytes) -> bool:
        """Reject the data unread if that is possible, and return whether it was rejected.

        Data can be rejected unread only if the previous request is complete and answered.
        """
        cycle = self.cycle
        is_idle = self.scope is None or (
            cycle is not None
            and cycle.scope is self.scope
            and cycle.response_complete
            and not cycle.more_body
        )
        if not is_idle or self._unparsed or not self.connection.may_parse or self.flow.write_paused:
            return False
        if self._is_over_limit:
            return False  # the request is parsed, and its rejection closes the connection
        rejection = self._shedder.build_rejection(data, self.server_state.default_headers)
        if rejection is None:
            return False
        self.transport.write_deferred(rejection)  # type: ignore[attr-defined]
        self._shedder.rejections.add(self.transport)  # type: ignore[arg-type]
        if self._shedder.closes_connection:
            self.transport.close()
        elif self.timeout_keep_alive_task is None:
            self._start_keep_alive_timer()
        else:
            self._is_keep_alive_renewed = (
                True  # setting the timer again would cost more than the rejection
            )
        return True

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection, unless a request was rejected unread since the timer was set."""
        if self._is_keep_alive_renewed:
            self._is_keep_alive_renewed = False
            self._start_keep_alive_timer()
            return
        super().timeout_keep_alive_handler()

    def _start_keep_alive_timer(self) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    @property
    def has_unparsed_data(self) -> bool:
        """True if received data has not been parsed yet."""
        return bool(self._unparsed)

    def _build_too_large_problem(self) -> Problem:
        limits = self._limits
        if self.is_reading_head() and len(self.url) > limits.url_bytes_max:
            return problems.build_url_too_long(limits.url_bytes_max)
        return problems.build_head_too_large(limits.head_bytes_max, limits.headers_max)

    def is_reading_head(self) -> bool:
        """Return whether a request has begun and its head is incomplete."""
        return self.scope is not None and (self.cycle is None or self.cycle.scope is not self.scope)

    def _parse_without_upgrade(self, rest: bytes) -> None:
        method, version = self.parser.get_method(), self.parser.get_http_version()
        head = remove_upgrade(method, self.url, version, self.headers)
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._unframed_bytes = 0
        self.data_received(head + rest)

    # --- what the parser calls ------------------------------------------------------------------

    def on_headers_complete(self) -> None:
        """Check the limits of the head, and choose the application that answers.

        uvicorn's own limit of connections is not used, because its response is plain text instead of a problem.
        """
        limits = self._limits
        if (
            len(self.url) > limits.url_bytes_max
            or len(self.headers) > limits.headers_max
            or (
                self._unframed_bytes
                and measure_head(self.url, self.headers) > limits.head_bytes_max
            )
        ):
            raise InvalidHeadersError(self._build_too_large_problem())
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise InvalidHeadersError(problems.build_method_not_allowed("CONNECT"))
            return  # the head is parsed again without it
        application = self._get_application()
        if self._is_over_limit:
            self._is_over_limit = len(self.connections) > application.connections_max
        self.app = application
        if self._is_over_limit:
            self.app = application.connection_limit_app
            # If the connection were closed within a request, the client could lose the rejection.
            self.transport.half_close = True  # type: ignore[attr-defined]
        if (b"%" in self.url or b"//" in self.url) and is_ambiguous_path(self.url):
            self.app = application.ambiguous_path_app
        begin_request_state(self.scope, self._control)
        super().on_headers_complete()
        self._unframed_bytes = 0
        # Trailers are not added to the headers: they would change a request that may be in progress.
        self.headers = DISCARDED_TRAILERS
        if application.is_draining or self._is_over_limit:
            # The response announces the close, so that the client does not send into a closing connection. Above the
            # limit this applies to every response, also to those of health checks and ambiguous paths, because
            # otherwise the number of connections would not fall.
            self.cycle.keep_alive = False
        if self.scope["http_version"] not in VERSIONS:
            raise InvalidHeadersError(problems.build_not_http())

    def on_body(self, body: bytes) -> None:
        """Add data to the request's body, or discard the data if the response has been sent already."""
        self._unframed_bytes = 0
        self.body_bytes += len(body)
        cycle = self.cycle
        if cycle.response_complete:
            self._count_discarded(len(body))
            return
        cycle.body += body
        if len(cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        cycle.message_event.set()

    def on_message_complete(self) -> None:
        """Mark the request as complete. The response may have been sent already."""
        cycle = self.cycle
        if cycle is None or cycle.scope is not self.scope:
            return  # the head has an upgrade, and is parsed again without it
        self._discarded_bytes = 0
        cycle.more_body = False
        if self._is_over_limit:
            self.transport.half_close = False  # type: ignore[attr-defined]
        if not cycle.response_complete:
            cycle.message_event.set()

    def on_response_complete(self) -> None:
        """Start the next request that has been received, unless the connection is closed after this response."""
        self.server_state.total_requests += 1
        if self.connection.has_client_ended and (
            not self.pipeline or self.pipeline[-1][0].more_body
        ):
            self.transport.close()
        if self.transport.is_closing():
            self._unparsed.clear()
            self.pipeline.clear()
            return
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
        self.flow.resume_reading()
        if self.pipeline:
            self.timeout_keep_alive_task = None
            self._start_asgi_task(*self.pipeline.pop())
        else:
            self._start_keep_alive_timer()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self.running = cycle
        task = self.loop.create_task(cycle.run_asgi(app))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    # --- ending -------------------------------------------------------------------------------

    def _reject(self, problem: Problem) -> None:
        """Stop parsing, and respond to a request that can't be read. Earlier requests are answered first."""
        if not self.connection.may_parse:
            return  # the connection was aborted by data before this
        self._unparsed.clear()
        scope = self._build_rejection_scope()
        has_to_wait = self._drop_unread_request()
        if has_to_wait is None:
            self.transport.close()
            return
        self.connection.reject()
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
        rejection_app = ProblemApp(problem, self._get_application().find_route_label)
        if has_to_wait:
            self.pipeline.appendleft((cycle, rejection_app))
        else:
            self._start_asgi_task(cycle, rejection_app)

    def _build_rejection_scope(self) -> Any:
        """Return a scope for the response to a request that can't be read, with the method and path if they are known.

        The metrics need the route, and a response to HEAD must not have a body.
        """
        method, path = OTHER, ""
        cycle = self.cycle
        if cycle is not None and cycle.more_body and not cycle.response_complete:
            method, path = cycle.scope["method"], cycle.scope["path"]
        elif self.is_reading_head() and self.url:
            method = self.parser.get_method().decode("ascii")
        scope = build_placeholder_scope(method, path)
        begin_request_state(scope, self._control)
        return scope

    def _drop_unread_request(self) -> bool | None:
        """Drop the request whose body is still being read, if there is one.

        Returns:
            None if its response has already begun, so that no other response can follow; otherwise whether an earlier
            request still waits for its response.
        """
        running, cycle = self.running, self.cycle
        if cycle is not None and cycle.more_body and not cycle.response_complete:
            if cycle is running:
                cycle.disconnected = True
                cycle.message_event.set()
                return None if cycle.response_started else False
            self.pipeline.popleft()
        return running is not None and not running.response_complete

    def _count_discarded(self, size: int) -> None:
        self._discarded_bytes += size
        if self._discarded_bytes > DISCARD_BYTES_MAX:
            self._cut_off("end")

    def _cut_off(self, phase: TimeoutPhase) -> None:
        HTTP_CUT.labels(phase).inc()
        self.transport.abort()

    # --- waiting ------------------------------------------------------------------------------

    def check_timeout(self, now: float) -> None:
        """End the connection if it has waited too long for its client (`saldo.http.connection.timeout_sweeper`)."""
        phase = self._timeouts.find_expired(self, now)
        if phase is not None:
            self._end_after_timeout(phase)

    def abort(self) -> None:
        """End the connection immediately, because the service stops."""
        self._cut_off("end")

    def has_own_write_timeout(self) -> bool:
        running = self.running
        return running is not None and get_request_state(running.scope).has_own_write_timeout

    def _end_after_timeout(self, phase: TimeoutPhase) -> None:
        seconds = self._limits.seconds[phase]
        if phase == "stream":
            HTTP_CUT.labels(phase).inc()
            end_stream = get_request_state(self.cycle.scope).on_stall
            assert end_stream is not None
            end_stream(problems.build_too_slow(seconds))
        elif phase == "body" or (phase == "head" and self.is_reading_head()):
            HTTP_CUT.labels(phase).inc()
            self._reject(problems.build_too_slow(seconds))
        elif phase == "head":  # a client that has sent nothing gets no response
            HTTP_CUT.labels(phase).inc()
            self.transport.close()
        else:
            self._cut_off(phase)

    # --- writing ------------------------------------------------------------------------------

    def _get_unread_body(self) -> bytearray:
        return self.cycle.body if self.cycle is not None else bytearray()

    def _send_whole(
        self, scope: Any, status: int, headers: list[tuple[bytes, bytes]], body: bytes
    ) -> bool:
        """Send a whole response in one piece, if that is possible now.

        Args:
            scope: The scope of the request. The result is False for HEAD, because its response has no body.
            headers: The headers of the response. They are not checked here, so the caller must check values that come
                from a client.

        Returns:
            True if the response was sent. False if nothing was sent, and the caller must send the two messages of ASGI.
        """
        cycle = self.cycle
        if cycle.scope is not scope:
            return False  # further requests of this connection arrived before this response
        if not cycle.keep_alive or self.flow.write_paused or cycle.disconnected:
            return False
        if scope["method"] == "HEAD" or CLOSE_HEADER in headers:
            return False  # the server itself omits the body, and closes the connection
        cycle.response_started = cycle.response_complete = True
        self.transport.write(
            RESPONSES.build(status, self.server_state.default_headers, headers, body)
        )
        cycle.message_event.set()
        cycle.on_response()
        return True

    def shutdown(self) -> None:
        """Close the connection after the current response, and end all streams. Called when the server stops."""
        self._get_application().end_streams()
        # Pipelined requests that have not begun are not processed. The client learns this from the closed connection.
        self.pipeline.clear()
        self._unparsed.clear()
        running = self.running
        if running is not None and not running.response_complete:
            running.keep_alive = False
            return
        super().shutdown()
