"""An open-loop generator of single POSTs: requests are sent on schedule, even if earlier ones have no response.

A closed-loop client (wrk, and nearly every other tool) sends its next request after the response to the last one. It
slows down with the service and therefore never overloads it. Here the send times are drawn as a Poisson process, and
each latency counts from the time at which the request was due, even if no connection was free or the generator itself
was late. This avoids "coordinated omission". The generator's own lateness is recorded, and a run in which the generator
did not keep its schedule is invalid.

It is one process with one thread, and uses bare sockets and epoll, to leave the machine's CPU time to the service.
"""

from __future__ import annotations

import errno
import gc
import multiprocessing
import os
import select
import socket
import time
from array import array
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from math import log
from multiprocessing.connection import Connection as Pipe
from random import Random
from urllib.parse import urlsplit

REQUEST_TIMEOUT_SECONDS = 5.0
"""Timeout of a request in seconds. Its connection is then closed."""

CONNECTIONS_MAX = 9_000
"""Maximum number of open connections, below the service's own limit.

Further requests wait for a connection, and the wait counts as part of their latency.
"""

LOCAL_ADDRESSES = 20
"""Number of loopback addresses to connect from. A single address has too few ports if each request uses a new
connection."""

RECEIVE_BYTES = 65_536

WAIT_SECONDS = 0.001
"""Time in seconds to wait for responses if no request is due. It is the smallest timeout that epoll supports."""

SENDS_PER_POLL_MAX = 64
"""Maximum number of requests to send between two polls for responses.

Without this limit, responses would seem late while the generator catches up with its schedule.
"""


class ResultKind(IntEnum):
    """The result of a request."""

    GOOD = 0
    """Status 200."""
    SHED = 1
    """Status 503 with `Retry-After`."""
    SHED_WITHOUT = 2
    """Status 503 without `Retry-After`."""
    OTHER = 3
    """Another status."""
    BROKEN = 4
    """A connection that was refused, or closed before the response."""
    TIMEOUT = 5
    """No response within the timeout."""


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of a load: its duration in seconds, and its rate in requests per second."""

    seconds: float
    rate: float


@dataclass(frozen=True, slots=True)
class Load:
    """The parameters of the generator.

    Attributes:
        connections: The number of connections that are opened before the first request. More are opened if none is
            free, up to `connections_max`.
        fresh: Whether to send each request over a new connection, instead of one that is already open.
        core: The processor that the generator is bound to, or None for any.
        seed: The seed of the send times and of the uuids. Runs on the same ledger need different seeds.
    """

    url: str
    phases: Sequence[Phase]
    users: int
    connections: int = 2000
    connections_max: int = CONNECTIONS_MAX
    fresh: bool = False
    core: int | None = None
    seed: int = 1


@dataclass(slots=True)
class LoadResult:
    """The results of all requests, in arrays.

    `due`, `seconds` and `kinds` are parallel and in the order of completion. `late` is in the order of sending.

    Attributes:
        due: The time at which each request was due, in seconds from the start.
        seconds: The latency of each request, from that time to the response, in seconds.
        kinds: The result of each request, a value of `ResultKind`.
        late: The lateness of the generator at each request, in seconds.
        opened: The total number of connections opened.
        processor_share: The share of a core that the generator used.
    """

    due: array[float] = field(default_factory=lambda: array("d"))
    seconds: array[float] = field(default_factory=lambda: array("d"))
    kinds: array[int] = field(default_factory=lambda: array("B"))
    late: array[float] = field(default_factory=lambda: array("d"))
    opened: int = 0
    processor_share: float = 0.0


class Generator:
    """A generator that starts in a separate process when the object is created."""

    def __init__(self, load: Load) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_drive, args=(load, theirs), daemon=True)
        self._process.start()
        theirs.close()
        self._pipe.recv()  # the pool is open

    def result(self) -> LoadResult:
        """Wait until all phases are over and all requests are answered or have timed out. Returns the results."""
        driven: LoadResult = self._pipe.recv()
        self._process.join()
        return driven


def drive(load: Load) -> LoadResult:
    """Run all phases of a load, and return the results."""
    return Generator(load).result()


def _drive(load: Load, pipe: Pipe) -> None:
    if load.core is not None:
        os.sched_setaffinity(0, {load.core})
    work = _Run(load)
    work.open_pool()
    gc.freeze()
    gc.disable()  # reference counting frees everything; a collection would visit every connection
    pipe.send(None)
    pipe.send(work.run())


class _Connection:
    """A connection with at most one request in flight."""

    __slots__ = ("begun", "connecting", "due", "received", "sock")

    def __init__(self, sock: socket.socket, *, connecting: bool) -> None:
        self.sock = sock
        self.connecting = connecting
        self.due = -1.0
        """The due time of the request in flight; negative if there is none."""
        self.begun = 0.0
        self.received = b""


class _Run:
    """The state of one run. All times are those of `time.perf_counter`, relative to the start."""

    def __init__(self, load: Load) -> None:
        parts = urlsplit(load.url)
        self._address = (parts.hostname or "", parts.port or 80)
        self._load = load
        self._epoll = select.epoll()
        self._connections: dict[int, _Connection] = {}
        self._free: deque[_Connection] = deque()
        self._waiting: deque[float] = deque()
        self._driven = LoadResult()
        self._request = _requests(load)
        self._random = Random(load.seed)
        self._zero = 0.0

    def open_pool(self) -> None:
        """Open the connections that must exist before the first request."""
        for _ in range(0 if self._load.fresh else self._load.connections):
            sock = socket.create_connection(self._address)
            self._free.append(self._register(sock, connecting=False))

    def run(self) -> LoadResult:
        """Run all phases, and wait for the requests that are in flight after them."""
        began = time.process_time()
        self._zero = time.perf_counter()
        end = 0.0
        due = 0.0
        for phase in self._load.phases:
            begin, end = end, end + phase.seconds
            due = self._drive_phase(max(due, begin), end, phase.rate)
        self._driven.processor_share = (time.process_time() - began) / self._now()
        while (self._waiting or self._under_way()) and self._now() < end + REQUEST_TIMEOUT_SECONDS:
            self._poll(WAIT_SECONDS)
        self._expire(float("inf"))
        return self._driven

    def _now(self) -> float:
        return time.perf_counter() - self._zero

    def _under_way(self) -> bool:
        return any(connection.due >= 0 for connection in self._connections.values())

    def _drive_phase(self, due: float, end: float, rate: float) -> float:
        """Run a phase. Returns the time at which the first request after the phase is due."""
        draw, late = self._random.random, self._driven.late
        swept = self._now()
        while due < end:
            now = self._now()
            for _ in range(SENDS_PER_POLL_MAX):
                if due > now or due >= end:
                    break
                late.append(now - due)
                self._begin(due)
                due -= log(1.0 - draw()) / rate
            self._poll(0 if due <= now else WAIT_SECONDS)
            if now - swept > 0.5:
                self._expire(now - REQUEST_TIMEOUT_SECONDS)
                swept = now
        return due

    def _begin(self, due: float) -> None:
        free = self._free
        while free and not self._load.fresh:
            connection = free.popleft()
            if connection.sock.fileno() >= 0:
                self._send(connection, due)
                return
        if len(self._connections) < self._load.connections_max:
            self._connect(due)
        else:
            self._waiting.append(due)

    def _send(self, connection: _Connection, due: float) -> None:
        connection.due = due
        try:
            connection.sock.send(self._request())
        except OSError:
            self._close(connection, ResultKind.BROKEN)

    def _connect(self, due: float) -> None:
        sock = socket.socket()
        sock.setblocking(False)
        sock.bind((f"127.0.0.{self._driven.opened % LOCAL_ADDRESSES + 1}", 0))
        error = sock.connect_ex(self._address)
        connection = self._register(sock, connecting=True)
        connection.due = due
        if error not in {0, errno.EINPROGRESS}:
            self._close(connection, ResultKind.BROKEN)

    def _register(self, sock: socket.socket, *, connecting: bool) -> _Connection:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = _Connection(sock, connecting=connecting)
        self._connections[sock.fileno()] = connection
        self._epoll.register(sock.fileno(), select.EPOLLOUT if connecting else select.EPOLLIN)
        self._driven.opened += 1
        return connection

    def _poll(self, seconds: float) -> None:
        """Poll the connections, and process the responses that have arrived."""
        connections = self._connections
        for number, _ in self._epoll.poll(seconds):
            connection = connections.get(number)
            if connection is None:
                continue
            if connection.connecting:
                self._on_connected(connection)
                continue
            try:
                data = connection.sock.recv(RECEIVE_BYTES)
            except OSError:
                data = b""
            if not data:
                self._close(connection, ResultKind.BROKEN)
            elif data[-1] == 125 and not connection.received:  # the brace that closes every body
                self._on_response(connection, data)
            else:
                connection.received += data
                if data[-1] == 125:
                    data, connection.received = connection.received, b""
                    self._on_response(connection, data)

    def _on_connected(self, connection: _Connection) -> None:
        connection.connecting = False
        self._epoll.modify(connection.sock.fileno(), select.EPOLLIN)
        self._send(connection, connection.due)

    def _on_response(self, connection: _Connection, data: bytes) -> None:
        status = data[9:12]
        if status == b"200":
            kind = ResultKind.GOOD
        elif status == b"503":
            kind = ResultKind.SHED if b"etry-after: " in data else ResultKind.SHED_WITHOUT
        else:
            kind = ResultKind.OTHER
        self._record(connection.due, kind)
        connection.due = -1.0
        if self._load.fresh or b"onnection: close" in data:
            self._drop(connection)
        if self._waiting:
            self._begin_waiting(connection)
        elif connection.sock.fileno() >= 0:
            self._free.append(connection)

    def _begin_waiting(self, connection: _Connection) -> None:
        due = self._waiting.popleft()
        if connection.sock.fileno() >= 0:
            self._send(connection, due)
        else:
            self._connect(due)

    def _record(self, due: float, kind: ResultKind) -> None:
        driven = self._driven
        driven.due.append(due)
        driven.seconds.append(time.perf_counter() - self._zero - due)
        driven.kinds.append(kind)

    def _close(self, connection: _Connection, kind: ResultKind) -> None:
        if connection.due >= 0:
            self._record(connection.due, kind)
            connection.due = -1.0
        self._drop(connection)

    def _drop(self, connection: _Connection) -> None:
        del self._connections[connection.sock.fileno()]
        connection.sock.close()

    def _expire(self, before: float) -> None:
        """Record a timeout for each open request that was due at the time `before` or earlier."""
        while self._waiting and self._waiting[0] <= before:
            self._record(self._waiting.popleft(), ResultKind.TIMEOUT)
        for connection in tuple(self._connections.values()):
            if 0 <= connection.due <= before:
                self._close(connection, ResultKind.TIMEOUT)


def _requests(load: Load) -> Callable[[], bytes]:
    """Return a function that makes the next request.

    The requests are deposits to the users in turn. Each has a new uuid that is far from the uuid before it.
    """
    head = b"POST /v1/transaction HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    head += b"Connection: close\r\n" if load.fresh else b""
    head += b"Content-Length: %d\r\n\r\n%b"
    body = b'{"uuid":"%08x-%04x-4000-8000-%012x","type":"DEPOSIT","amount":"1.00","user_id":%d}'
    number, seed, users = 0, load.seed & 0xFFFF, load.users

    def request() -> bytes:
        nonlocal number
        number += 1
        spread, user = number * 2_654_435_761 & 0xFFFFFFFF, number * 7919 % users + 1
        text = body % (spread, seed, number, user)
        return head % (len(text), text)

    return request
