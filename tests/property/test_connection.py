"""Random sequences of events on a connection: no transition is forbidden, and nothing is written after a close.

The protocol runs on a transport that records what is done to it. Its events are those of a real server: data in pieces,
the end of the client's side, flow control, timeouts, a stop, handlers that finish, and a lost connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
import uvicorn
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from uvicorn.server import ServerState

from saldo.engine.admission import AdmissionLimit
from saldo.engine.queue import RequestQueue
from saldo.http import problems
from saldo.http.connection.fallback_apps import ConnectionLimitApp, ProblemApp
from saldo.http.connection.load_shedding import LoadShedder
from saldo.http.connection.protocol import PIECE_BYTES, BufferedHttpProtocol
from saldo.http.connection.server_application import ServerApplication
from saldo.http.connection.state import (
    TRANSITIONS,
    ConnectionState,
    ConnectionStateMachine,
    ForbiddenTransitionError,
)
from saldo.http.connection.timeout_sweeper import InputLimits, TimeoutSweeper
from saldo.http.request_state import get_request_state

LIMITS = InputLimits(
    head_bytes_max=400,
    headers_max=8,
    url_bytes_max=100,
    seconds={"head": 1.0, "body": 1.0, "stream": 1.0, "answer": 1.0, "end": 1.0},
)

PIECES = (
    b"GET /held HTTP/1.1\r\nhost: a\r\n\r\n",
    b"GET /quick HTTP/1.1\r\nhost: a\r\n\r\n",
    b"GET /quick HTTP/1.1\r\nhost: a\r\n\r\n" * 3,
    b"GET /held HTTP/1.1\r\nhost: a\r\n\r\nGET /quick HTTP/1.1\r\nhost: a\r\n\r\n\0",
    b"GET /held HTTP/1.1\r\nhost: a\r\n\r\n" * 400,
    b"GET /held HTTP/1.0\r\n\r\n",
    b"GET /held HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
    b"GET /parts HTTP/1.1\r\nhost: a\r\n\r\n",
    b"GET /crash HTTP/1.1\r\nhost: a\r\n\r\n",
    b"GET /late-crash HTTP/1.1\r\nhost: a\r\n\r\n",
    b"GET /abort HTTP/1.1\r\nhost: a\r\n\r\n",
    b"GET /own HTTP/1.1\r\nhost: a\r\n\r\n",
    b"GET /a%2fb HTTP/1.1\r\nhost: a\r\n\r\n",
    b"HEAD /quick HTTP/1.1\r\nhost: a\r\n\r\n",
    b"POST /v1/transaction HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n{}",
    b"POST /v1/transaction HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}",
    b"POST /body HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n",
    b"POST /body HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n",
    b"POST /stream HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n",
    b"POST /quick HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\n" + b"x" * 20_000,
    b"POST /held HTTP/1.1\r\nhost: a\r\nupgrade: h2c\r\nconnection: upgrade\r\ncontent-length: 5\r\n\r\nhello",
    b"CONNECT a:1 HTTP/1.1\r\nhost: a\r\n\r\n",
    b"GET /held HTTP/1.1\r\nho",
    b"st: a\r\n\r\n",
    b"5\r\nhello\r\n",
    b"0\r\n\r\n",
    b"hello",
    b"he",
    b"POST /quick HTTP/1.1\r\nhost: a\r\ncontent-length: 300\r\n\r\n",
    b"x" * 300 + b"\0",
    b"\0",
)


class RecordingTransport(asyncio.Transport):
    """A transport that records its writes, and what was done to it after its end."""

    def __init__(self, *, tls: bool) -> None:
        super().__init__()
        self.written = bytearray()
        self.violations: list[str] = []
        self.unsent = 0
        self._tls = tls
        self._closing = False
        self._eof_written = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if name == "socket":
            return self
        return object() if name == "sslcontext" and self._tls else default

    def getsockname(self) -> tuple[str, int]:
        return ("127.0.0.1", 1)

    getpeername = getsockname

    def getsockopt(self, *_: int) -> bytes:
        return bytes(56)

    def is_closing(self) -> bool:
        return self._closing

    def write(self, data: Any) -> None:
        if self._closing or self._eof_written:
            self.violations.append("write after close")
        self.written += data

    def can_write_eof(self) -> bool:
        return not self._tls

    def write_eof(self) -> None:
        if self._closing or self._eof_written:
            self.violations.append("eof after close")
        self._eof_written = True

    def close(self) -> None:
        self._closing = True

    abort = close

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def pause_reading(self) -> None:
        pass

    resume_reading = pause_reading


class CrashError(Exception):
    """Raised by the handlers that crash on purpose."""


class Handlers(ServerApplication):
    """An application with a handler for each path. Handlers of some paths wait until they are released."""

    def __init__(self, *, connections_max: int, available: int) -> None:
        self.timeout_sweeper = TimeoutSweeper(connections_max)
        self.input_limits = LIMITS
        self.connections_max = connections_max
        self.connection_limit_app = ConnectionLimitApp(self)
        self.ambiguous_path_app = ProblemApp(problems.build_not_found())
        self.is_draining = False
        queue = RequestQueue(groups=1, batch_requests_max=1, parallel_lanes_requests_min=1)
        self._shedder = LoadShedder(AdmissionLimit(1.0, available, queue), 1.0, 400)
        self.released = asyncio.Event()
        self.errors: list[Exception] = []
        """Exceptions of handlers that are not meant to crash."""

    @property
    def load_shedder(self) -> LoadShedder:
        return self._shedder

    def find_route_label(self, method: str, path: str) -> str:
        return "other"

    def end_streams(self) -> None:
        self.timeout_sweeper.is_stopping = True

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        handler: Callable[[Any, Any, Any], Awaitable[None]] = {
            "/quick": self._answer_whole,
            "/body": self._read_body,
            "/stream": self._read_stream,
            "/parts": self._answer_in_parts,
            "/crash": self._crash,
            "/late-crash": self._crash_late,
            "/abort": self._abort,
            "/own": self._answer_with_own_timeout,
        }.get(scope["path"], self._hold)
        try:
            await handler(scope, receive, send)
        except CrashError:
            raise
        except Exception as error:
            self.errors.append(error)
            raise

    async def _answer_whole(self, scope: Any, _: Any, send: Any) -> None:
        headers = [(b"content-length", b"2")]
        connection = get_request_state(scope).connection
        assert connection is not None
        if not connection.send_whole(scope, 200, headers, b"ok"):
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b"ok"})

    async def _hold(self, scope: Any, receive: Any, send: Any) -> None:
        await self.released.wait()
        await self._answer_whole(scope, receive, send)

    async def _read_body(self, scope: Any, receive: Any, send: Any) -> None:
        while (message := await receive()).get("more_body"):
            pass
        if message["type"] == "http.request":
            await self._answer_whole(scope, receive, send)

    async def _read_stream(self, scope: Any, receive: Any, send: Any) -> None:
        get_request_state(scope).on_stall = lambda _: self.released.set()
        await self._answer_in_parts(scope, receive, send)

    async def _answer_in_parts(self, _: Any, __: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"part", "more_body": True})
        await self.released.wait()
        await send({"type": "http.response.body", "body": b"end"})

    async def _crash(self, *_: Any) -> None:
        raise CrashError

    async def _crash_late(self, _: Any, __: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})
        await self.released.wait()
        raise CrashError

    async def _abort(self, scope: Any, receive: Any, send: Any) -> None:
        await self.released.wait()
        connection = get_request_state(scope).connection
        assert connection is not None
        connection.abort()
        await self._answer_whole(scope, receive, send)

    async def _answer_with_own_timeout(self, scope: Any, receive: Any, send: Any) -> None:
        get_request_state(scope).has_own_write_timeout = True
        await self._answer_in_parts(scope, receive, send)


@dataclass
class Connection:
    """One connection, and the events that a loop, a client and a server cause on it."""

    transport: RecordingTransport
    handlers: Handlers
    protocol: BufferedHttpProtocol
    lost: bool = False
    eof: bool = False
    now: float = 0.0

    @classmethod
    def open(cls, *, tls: bool, connections_max: int, available: int) -> Connection:
        handlers = Handlers(connections_max=connections_max, available=available)
        config = uvicorn.Config(
            handlers, interface="asgi3", log_config=None, access_log=False, lifespan="off"
        )
        config.load()
        state = ServerState()
        state.default_headers = [(b"date", b"today")]
        protocol = BufferedHttpProtocol(config, state, {}, asyncio.get_running_loop())
        transport = RecordingTransport(tls=tls)
        protocol.connection_made(transport)
        return cls(transport, handlers, protocol)

    def receive(self, data: bytes) -> None:
        if not self.eof:
            parses, scope = self.protocol.connection.may_parse, self.protocol.scope
            self.protocol.data_received(data)
            if not parses and self.protocol.scope is not scope:
                self.transport.violations.append("parsed after the end")

    def end_client_side(self) -> None:
        if not self.eof:
            self.eof = True
            if not self.protocol.eof_received():
                self.transport.close()

    def lose(self) -> None:
        self.lost = True
        error = None if self.transport.is_closing() else OSError()
        self.transport.close()
        self.protocol.connection_lost(error)

    def fail(self) -> None:
        """Close the transport itself, as after a failed write; the protocol hears of it later."""
        self.transport.close()

    def check_timeouts(self) -> None:
        for _ in range(2):
            self.now += 2
            if not self.lost:
                self.protocol.check_timeout(self.now)

    def pause_writing(self) -> None:
        self.transport.unsent = 1000
        self.protocol.pause_writing()

    def resume_writing(self) -> None:
        self.transport.unsent = 0
        self.protocol.resume_writing()

    def release_handlers(self) -> None:
        self.handlers.released.set()

    def hold_handlers(self) -> None:
        self.handlers.released.clear()

    def shut_down(self) -> None:
        self.protocol.shutdown()

    def drain(self) -> None:
        self.handlers.is_draining = True

    def expire_keep_alive(self) -> None:
        if self.protocol.timeout_keep_alive_task is not None:
            self.protocol.timeout_keep_alive_handler()

    def cut(self) -> None:
        self.protocol.abort()

    async def end(self) -> None:
        """Let everything end: handlers finish, and the transport closes."""
        self.release_handlers()
        for _ in range(5):
            await asyncio.sleep(0)
        if not self.lost:
            self.lose()
        self.resume_writing()
        async with asyncio.timeout(10):
            while self.protocol.tasks:
                self.release_handlers()
                await asyncio.sleep(0)


EVENTS = (
    Connection.end_client_side,
    Connection.lose,
    Connection.fail,
    Connection.check_timeouts,
    Connection.pause_writing,
    Connection.resume_writing,
    Connection.release_handlers,
    Connection.hold_handlers,
    Connection.shut_down,
    Connection.drain,
    Connection.expire_keep_alive,
    Connection.cut,
)
DATA = st.sampled_from(PIECES) | st.builds(
    lambda piece, length: piece[:length], st.sampled_from(PIECES), st.integers(1, 60)
)
Step = Callable[[Connection], None] | int | bytes
"""An event, a number of iterations of the event loop, or data."""

STEPS = st.lists(st.sampled_from(EVENTS) | st.integers(1, 3) | DATA | DATA, max_size=25)


@dataclass
class Transitions:
    """The transitions that a connection made, and the forbidden ones that it tried, even if their error was caught."""

    made: list[ConnectionState] = field(default_factory=list)
    forbidden: list[str] = field(default_factory=list)


@pytest.fixture
def transitions(monkeypatch: pytest.MonkeyPatch) -> Transitions:
    """Return the record of all transitions."""
    record = Transitions()
    move_to = ConnectionStateMachine.move_to

    def move_and_record(machine: ConnectionStateMachine, state: ConnectionState) -> None:
        try:
            move_to(machine, state)
            record.made.append(state)
        except ForbiddenTransitionError as error:
            record.forbidden.append(str(error))
            raise

    monkeypatch.setattr(ConnectionStateMachine, "move_to", move_and_record)
    monkeypatch.setattr("saldo.http.connection.load_shedding.READ_AT_ONCE_MAX", 0)
    monkeypatch.setattr("saldo.http.connection.protocol.DISCARD_BYTES_MAX", 200)
    return record


async def _run(
    steps: Sequence[Step], *, tls: bool = False, connections_max: int = 10, available: int = 1000
) -> Connection:
    """Run the events on a new connection until it has ended, and return it."""
    failures: list[Any] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: failures.append(context))
    connection = Connection.open(tls=tls, connections_max=connections_max, available=available)
    for step in steps:
        if connection.lost:
            break
        if isinstance(step, int):
            for _ in range(step):
                await asyncio.sleep(0)
        elif isinstance(step, bytes):
            connection.receive(step)
        else:
            step(connection)
    await connection.end()
    assert failures == []
    assert connection.handlers.errors == []
    return connection


@settings(
    max_examples=600, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    steps=STEPS,
    tls=st.booleans(),
    connections_max=st.sampled_from([0, 10, 10]),
    available=st.sampled_from([0, 1000, 1000]),
)
def test_no_sequence_of_events_reaches_a_forbidden_transition_or_writes_after_a_close(
    transitions: Transitions,
    steps: list[Step],
    tls: bool,
    connections_max: int,
    available: int,
) -> None:
    transitions.forbidden.clear()
    connection = asyncio.run(
        _run(steps, tls=tls, connections_max=connections_max, available=available)
    )
    assert transitions.forbidden == []
    assert connection.transport.violations == []
    assert connection.protocol.connection.state is ConnectionState.CLOSED


HELD = b"GET /held HTTP/1.1\r\nhost: a\r\n\r\n"
QUICK = b"GET /quick HTTP/1.1\r\nhost: a\r\n\r\n"
UNREADABLE = b"\0"
LATE_UNREADABLE = QUICK * (PIECE_BYTES // len(QUICK) + 1) + UNREADABLE

S = ConnectionState
SCENARIOS: dict[tuple[ConnectionState, ...], list[Step]] = {
    (S.CLOSED,): [HELD, Connection.lose],
    (S.CLOSING, S.CLOSED): [QUICK, 3, Connection.shut_down],
    (S.HALF_CLOSED, S.CLOSED): [HELD, Connection.end_client_side, Connection.lose],
    (S.HALF_CLOSED, S.CLOSING, S.CLOSED): [HELD, Connection.end_client_side],
    (S.HALF_CLOSED, S.REJECTING_HALF_CLOSED, S.CLOSING, S.CLOSED): [
        *(HELD, 1, LATE_UNREADABLE, Connection.end_client_side),
        *(Connection.release_handlers, 2000),
    ],
    (S.REJECTING, S.CLOSED): [HELD, UNREADABLE, Connection.lose],
    (S.REJECTING, S.CLOSING, S.CLOSED): [HELD, UNREADABLE, Connection.cut],
    (S.REJECTING, S.LINGERING, S.CLOSED): [UNREADABLE, 3],
    (S.REJECTING, S.LINGERING, S.CLOSING, S.CLOSED): [
        *(UNREADABLE, 3, b"more", Connection.end_client_side)
    ],
    (S.REJECTING, S.REJECTING_HALF_CLOSED, S.CLOSED): [
        *(HELD, UNREADABLE, Connection.end_client_side, Connection.lose)
    ],
    (S.REJECTING, S.REJECTING_HALF_CLOSED, S.CLOSING, S.CLOSED): [
        *(HELD, UNREADABLE, Connection.end_client_side)
    ],
}


@pytest.mark.parametrize("states", SCENARIOS, ids=lambda states: "-".join(s.name for s in states))
def test_connection_goes_through_these_states(
    transitions: Transitions, states: tuple[ConnectionState, ...]
) -> None:
    asyncio.run(_run(SCENARIOS[states]))
    assert transitions.made == [*states]


def test_surplus_connection_lingers_when_it_is_rejected_within_a_request(
    transitions: Transitions,
) -> None:
    steps: list[Step] = [b"POST /quick HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n", 3]
    connection = asyncio.run(_run(steps, connections_max=0))
    assert transitions.made == [S.LINGERING, S.CLOSED]
    assert connection.transport.written.startswith(b"HTTP/1.1 503 ")


def test_unreadable_data_after_too_much_discarded_data_is_not_rejected(
    transitions: Transitions,
) -> None:
    head = b"POST /quick HTTP/1.1\r\nhost: a\r\ncontent-length: 300\r\n\r\n"
    asyncio.run(_run([head, 3, b"x" * 300 + UNREADABLE]))
    assert transitions.made == [S.CLOSING, S.CLOSED]
    assert transitions.forbidden == []


def test_every_transition_of_the_table_is_one_of_these() -> None:
    paths = [*SCENARIOS, (S.LINGERING, S.CLOSED)]
    made = {pair for path in paths for pair in pairwise((S.OPEN, *path))}
    assert made == {(before, after) for before in S for after in TRANSITIONS[before]}
