"""The server's HTTP protocol: one system call for an answer where it makes two, answers in one piece, streams
that end, and problems where the server itself answers in plain text.

The server hands the head and the body of an answer to the transport one after the other, and the event
loop sends each at once. For our short answers that is a quarter of all the processor time of serving them
(benchmarks/single.py). The two messages of ASGI and what the server checks of each header are another tenth:
the raw routes, who write their headers themselves, may hand over both in one call.
"""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar, Final

import httptools
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, FlowControl
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from saldo.http import problems
from saldo.http.crowded import Refused
from saldo.http.heads import VERSIONS, RefusedError, head_bytes, unclear_path, without_upgrade
from saldo.http.pages import NO_STORE
from saldo.http.patience import DISCARD_BYTES_MAX, WaitsFor
from saldo.http.problems import Problem
from saldo.observability.metrics import HTTP_CUT

PIECE_BYTES: Final = 8192
"""That the parser gets at once: at most some hundred requests come out of it, whatever a client sends together."""


class JoiningProtocol(HttpToolsProtocol):
    """Joins what is written in one turn of the event loop; bounds what one connection can make us hold."""

    # In slots: the server's own attributes are nearly as many as Python finds quickly in one object (thirty).
    __slots__ = (
        "_body_bytes",
        "_buffered_bytes",
        "_deaf",
        "_discarded_bytes",
        "_extensions",
        "_limits",
        "_loose_bytes",
        "_rest",
        "_running",
        "_shed_lately",
        "_shedding",
        "_taken",
        "_upgrading",
        "_waits_for",
        "_waits_since",
    )

    _default: ClassVar[tuple[list[tuple[bytes, bytes]], bytes]] = ([], b"")

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Puts the joining transport between the server and the real one."""
        joining: Any = _JoiningTransport(transport, self.loop)
        super().connection_made(joining)
        self.flow = _Flow(joining, self)
        self._extensions = {
            # To close waits for the client to take what is in the buffer; an answer may have to end before.
            "saldo.abort": transport.abort,
            "saldo.answer": self._answer,
        }
        application: Any = self.config.app
        application.sweep.connections = self.connections
        self._limits = application.wire_limits
        self._shedding = application.shedding
        # A request was refused without being read, since the timer was set.
        self._shed_lately = False
        # The cycle whose answer is being made; `cycle` is that of the request read last.
        self._running: RequestResponseCycle | None = None
        self._rest = bytearray()  # received, and not given to the parser yet
        self._deaf = False  # what comes is not read any more
        self._upgrading = False
        self._loose_bytes = (
            0  # received since the last head or body: of a head, a chunk's, a trailer's
        )
        self._body_bytes = 0
        self._discarded_bytes = 0
        self._buffered_bytes = 0
        self._taken = 0  # how often the client was seen to take of its answer
        self._waits_for: tuple[WaitsFor, Any] | None = None
        self._waits_since = 0.0

    def connection_lost(self, exc: Exception | None) -> None:
        """Lets go of itself, and of the request that is being answered."""
        self._extensions.clear()
        self._deaf = True
        self._rest.clear()
        self.pipeline.clear()
        running = self._running
        if running is not None and not running.response_complete:
            running.disconnected = True
            running.message_event.set()
        # The server does so only if the connection was not reset, and the timer would keep all of this for its time.
        self._unset_keepalive_if_required()
        super().connection_lost(exc)
        if isinstance(self.flow, _Flow):
            self.flow.let_go()

    # --- reading ------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Reads, in pieces, as long as requests are not waiting for the answers to earlier ones."""
        if self._shedding.full(data, self.transport) and self._shed(data):
            return
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
            self.timeout_keep_alive_task = None
        if self._deaf:
            self._discard(len(data))
            return
        if self._rest or self.pipeline or len(data) > PIECE_BYTES:
            self._rest += data
            self.go_on()
            return
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._read_without_upgrade(data[upgrade.args[0] :])
            return
        except httptools.HttpParserError as error:
            refused = error.__context__
            known = isinstance(refused, RefusedError)
            self._refuse(refused.problem if known else problems.not_http())  # type: ignore[union-attr]
            return
        cycle = self.cycle
        if cycle is None or cycle.more_body or cycle.scope is not self.scope:
            self._loose_bytes += len(data)
            if self._loose_bytes > self._limits.head_bytes_max:
                self._refuse(self._too_large())

    def go_on(self) -> None:
        """Reads what has come already; no more comes before that is done."""
        rest, self._rest = self._rest, bytearray()
        while rest and not self.pipeline and not self._deaf:
            piece = bytes(rest[:PIECE_BYTES])
            del rest[:PIECE_BYTES]
            self.data_received(piece)
        if self._deaf:
            return
        self._rest += rest  # after what was put back: the head of a request without its upgrade
        if self._rest:
            self.flow.pause_reading()
        elif (
            self.flow.read_paused and not self.pipeline and len(self._unread()) <= HIGH_WATER_LIMIT
        ):
            self.flow.resume_reading()

    def _shed(self, data: bytes) -> bool:
        """Refuses what has come without reading it, if that can be. The request before it is over."""
        cycle = self.cycle
        idle = self.scope is None or (
            cycle is not None
            and cycle.scope is self.scope
            and cycle.response_complete
            and not cycle.more_body
        )
        if not idle or self._rest or self._deaf or self.flow.write_paused:
            return False
        refusal = self._shedding.refuse(data, self.server_state.default_headers)
        if refusal is None:
            return False
        self.transport.write_late(refusal)  # type: ignore[attr-defined]
        self._shedding.refusals.add(self.transport)
        if self._shedding.closes:
            self.transport.close()
        elif self.timeout_keep_alive_task is None:
            self._wait_for_next()
        else:
            self._shed_lately = True  # a timer anew would cost more than all this
        return True

    def timeout_keep_alive_handler(self) -> None:
        """Nothing has come for long; unless it was refused."""
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
    def holds(self) -> bool:
        """Whether something has come that is not read yet."""
        return bool(self._rest)

    def _too_large(self) -> Problem:
        limits = self._limits
        if self._reads_head() and len(self.url) > limits.url_bytes_max:
            return problems.url_too_long(limits.url_bytes_max)
        return problems.head_too_large(limits.head_bytes_max, limits.headers_max)

    def _reads_head(self) -> bool:
        """Whether a request has begun whose head is not whole."""
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
        """Bounds the head, and chooses who answers. Not by the server's own limit, whose answer is no problem."""
        limits = self._limits
        if (
            len(self.url) > limits.url_bytes_max
            or len(self.headers) > limits.headers_max
            or (self._loose_bytes and head_bytes(self.url, self.headers) > limits.head_bytes_max)
        ):
            raise RefusedError(self._too_large())
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise RefusedError(problems.method_not_allowed("CONNECT"))
            self._upgrading = True  # read again without
            return
        application: Any = self.config.app
        crowded = len(self.connections) > application.connections_max
        self.app = application.crowded if crowded else application
        if (b"%" in self.url or b"//" in self.url) and unclear_path(self.url):
            self.app = application.nowhere
        self.scope["extensions"] = self._extensions  # type: ignore[typeddict-item]
        super().on_headers_complete()
        self._loose_bytes = 0
        # Trailers are no headers: they would say something new of a request that may be under way.
        self.headers = _DROPPED
        if application.draining:
            # The answer says that it is the last one here, so the client sends nothing into a closing connection.
            self.cycle.keep_alive = False
        if self.scope["http_version"] not in VERSIONS:
            raise RefusedError(problems.not_http())

    def on_body(self, body: bytes) -> None:
        """Keeps it for the request; or not, if that has its answer."""
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
        """The request is whole, whether it has its answer or not."""
        if self._upgrading:
            return
        self._discarded_bytes = 0
        self.cycle.more_body = False
        if not self.cycle.response_complete:
            self.cycle.message_event.set()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        task = self.loop.create_task(cycle.run_asgi(app))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    # --- ending -------------------------------------------------------------------------------

    def _refuse(self, problem: Problem) -> None:
        """Answers what can't be read, when what came before it has been answered, and reads no more."""
        self._deaf = True
        self._rest.clear()
        waits = self._leave_unread_request()
        if waits is None:
            self.transport.close()
            return
        self.transport.hears_out = True  # type: ignore[attr-defined]
        cycle = RequestResponseCycle(
            scope=_nameless_scope(self._extensions),
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
        if waits:
            self.pipeline.appendleft((cycle, Refused(problem)))
        else:
            self._start_asgi_task(cycle, Refused(problem))

    def _leave_unread_request(self) -> bool | None:
        """Takes the request back that is being read, if one is.

        Returns:
            Whether requests before it have no answer yet; None: it has begun to be answered itself.
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
            self._cut("end")

    def _cut(self, waited_for: WaitsFor) -> None:
        HTTP_CUT.labels(waited_for).inc()
        self._deaf = True
        self.transport.abort()

    # --- waiting ------------------------------------------------------------------------------

    def look(self, now: float) -> None:
        """Ends the connection if it has waited for one thing for too long (`saldo.http.patience`)."""
        waits_for = self._what_it_waits_for()
        if waits_for is None or waits_for != self._waits_for:
            self._waits_for, self._waits_since = waits_for, now
        elif now - self._waits_since >= self._limits.seconds[waits_for[0]]:
            self._waits_for = None
            self._end_waiting(waits_for[0])

    def _what_it_waits_for(self) -> tuple[WaitsFor, Any] | None:
        """What the client is to do next, if it is the client's turn; and what tells whether it did some of it."""
        cycle = self.cycle
        reads_body = cycle is not None and cycle.more_body
        streams = reads_body and "stalled" in cycle.scope
        unsent = self.transport.get_write_buffer_size()
        if unsent < self._buffered_bytes:
            self._taken += 1
        self._buffered_bytes = unsent
        # Who sends a stream may read its answers when all is sent, unless we have no room for more of them.
        if unsent and not (streams and not self.flow.read_paused) and not self._stalls_by_itself():
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

    def _stalls_by_itself(self) -> bool:
        return self._running is not None and "stalls_by_itself" in self._running.scope

    def _end_waiting(self, waited_for: WaitsFor) -> None:
        seconds = self._limits.seconds[waited_for]
        if waited_for == "stream":
            HTTP_CUT.labels(waited_for).inc()
            self.cycle.scope["stalled"](problems.too_slow(seconds))  # type: ignore[typeddict-item]
        elif waited_for == "body" or (waited_for == "head" and self._reads_head()):
            HTTP_CUT.labels(waited_for).inc()
            self._refuse(problems.too_slow(seconds))
        elif waited_for == "head":  # that said nothing gets no answer
            HTTP_CUT.labels(waited_for).inc()
            self.transport.close()
        else:
            self._cut(waited_for)

    # --- writing ------------------------------------------------------------------------------

    def _unread(self) -> bytearray:
        return self.cycle.body if self.cycle is not None else bytearray()

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
        """The lines that every answer of a raw route has; made anew when the server's headers are others (the date)."""
        headers = self.server_state.default_headers
        made_of, lines = JoiningProtocol._default
        if made_of is not headers:
            lines = _lines([*headers, NO_STORE])
            JoiningProtocol._default = (headers, lines)
        return lines

    def shutdown(self) -> None:
        """The server stops: an answer that streams for as long as its client likes must end."""
        self.config.app.end_streams()  # type: ignore[union-attr]
        super().shutdown()


def _lines(headers: list[tuple[bytes, bytes]]) -> bytes:
    return b"".join([b"%b: %b\r\n" % header for header in headers])


class _Dropped(list[tuple[bytes, bytes]]):
    """Keeps nothing."""

    def append(self, _: tuple[bytes, bytes]) -> None:
        """Does nothing."""


_DROPPED: Final = _Dropped()


def _nameless_scope(extensions: dict[str, Any]) -> Any:
    """Of what was never read as a request, so that its answer goes the way of all."""
    return {
        "type": "http",
        "method": "other",
        "path": "",
        "headers": [],
        "extensions": extensions,
    }


class _Flow(FlowControl):
    """Reads on only when what has come is read."""

    def __init__(self, transport: Any, protocol: JoiningProtocol) -> None:
        super().__init__(transport)
        self._loop = protocol.loop
        self._protocol: JoiningProtocol | None = protocol

    def let_go(self) -> None:
        """The connection is over. Else the two would hold each other until the collector comes by."""
        self._protocol = None

    def resume_reading(self) -> None:
        if self.read_paused:
            if self._protocol is not None and self._protocol.holds:
                # Not here: the server goes to its next request only after this call.
                self._loop.call_soon(self._protocol.go_on)
            else:
                super().resume_reading()


class _JoiningTransport:
    """Writes at the end of the turn; all else is the real transport's."""

    __slots__ = ("_loop", "_parts", "_said_all", "_transport", "hears_out")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._parts: list[bytes] = []
        self._said_all = False
        self.hears_out = False
        """To close is to wait for the client's end: it still sends, and would lose the answer if we were gone."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        return self._said_all or self._transport.is_closing()

    def write(self, data: bytes) -> None:
        if not self._parts:
            self._loop.call_soon(self.flush)
        self._parts.append(data)

    def write_late(self, data: bytes) -> None:
        """When `flush` is called; at once for a client that does not wait for answers, or they would pile up."""
        self._parts.append(data)
        if len(self._parts) > 1:
            self.flush()

    def close(self) -> None:
        self.flush()
        if self.hears_out and not self.is_closing():
            self._said_all = True
            if self._transport.can_write_eof():
                self._transport.write_eof()
            return
        self._transport.close()

    def flush(self) -> None:
        """Sends what there is, unless the client is gone."""
        if self._parts:
            data = b"".join(self._parts)
            self._parts.clear()
            if not self._transport.is_closing():
                self._transport.write(data)
