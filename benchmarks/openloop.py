"""An open-loop generator of single POSTs: requests come when they are due, whether earlier ones are answered or not.

A client that sends its next request after the answer to its last (wrk, and nearly every other tool) slows down with
the service, and so never overloads it. Here the moments are drawn beforehand, as a Poisson process, and each latency
counts from the moment at which the request was due: also if no connection was free, or the generator itself came late
("coordinated omission"). How late it came by itself is told: a run in which it did not keep its schedule is none.

One process, one thread, bare sockets and epoll, to leave the machine to what is measured.
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

PATIENCE_SECONDS = 5.0
"""After which a request is given up, with its connection."""

CONNECTIONS_MAX = 9_000
"""Open at once: below the service's own bound. What is due beyond waits, and its time counts."""

LOCAL_ADDRESSES = 20
"""Of loopback, to connect from: one has too few ports for a connection a request."""

RECEIVE_BYTES = 65_536

WAIT_SECONDS = 0.001
"""For an answer, if nothing is due yet: the least that epoll can count."""

SENT_AT_ONCE_MAX = 64
"""Before answers are looked at again: else an answer would seem late while the generator catches up."""


class Kind(IntEnum):
    """What became of a request."""

    GOOD = 0
    """200."""
    SHED = 1
    """503 with Retry-After."""
    SHED_WITHOUT = 2
    """503 without."""
    OTHER = 3
    """Another status."""
    BROKEN = 4
    """Refused, or closed before the answer."""
    TIMEOUT = 5
    """Given up."""


@dataclass(frozen=True, slots=True)
class Phase:
    """So many requests a second, for so long."""

    seconds: float
    rate: float


@dataclass(frozen=True, slots=True)
class Load:
    """What the generator does.

    Attributes:
        connections: opened before the first request; more are opened when none is free, up to `connections_max`.
        fresh: each request over a connection of its own instead.
        core: the processor it keeps to; None: any.
        seed: of the moments and of the uuids; two runs on one ledger need two.
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
class Driven:
    """What became of each request, in parallel arrays.

    Attributes:
        due: seconds from the start.
        seconds: from then to the answer.
        kinds: of `Kind`.
        late: by how much the generator by itself came late, of each request; seconds.
        opened: connections, in all.
        processor_share: of a core, that the generator used.
    """

    due: array[float] = field(default_factory=lambda: array("d"))
    seconds: array[float] = field(default_factory=lambda: array("d"))
    kinds: array[int] = field(default_factory=lambda: array("B"))
    late: array[float] = field(default_factory=lambda: array("d"))
    opened: int = 0
    processor_share: float = 0.0


class Generator:
    """At work in a process of its own, from now on."""

    def __init__(self, load: Load) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_drive, args=(load, theirs), daemon=True)
        self._process.start()
        theirs.close()
        self._pipe.recv()  # the pool is open

    def result(self) -> Driven:
        """When all phases are over, and everything is answered or given up."""
        driven: Driven = self._pipe.recv()
        self._process.join()
        return driven


def drive(load: Load) -> Driven:
    """All phases of a load."""
    return Generator(load).result()


def _drive(load: Load, pipe: Pipe) -> None:
    if load.core is not None:
        os.sched_setaffinity(0, {load.core})
    work = _Work(load)
    work.open_pool()
    gc.freeze()
    gc.disable()  # all goes by itself; a collection would look at every connection
    pipe.send(None)
    pipe.send(work.run())


class _Connection:
    """At most one request is under way on it."""

    __slots__ = ("begun", "connecting", "due", "received", "sock")

    def __init__(self, sock: socket.socket, *, connecting: bool) -> None:
        self.sock = sock
        self.connecting = connecting
        self.due = -1.0
        """Of the request under way; below 0: none is."""
        self.begun = 0.0
        self.received = b""


class _Work:
    """The state of one run. All times are of `time.perf_counter`, from the start on."""

    def __init__(self, load: Load) -> None:
        parts = urlsplit(load.url)
        self._address = (parts.hostname or "", parts.port or 80)
        self._load = load
        self._epoll = select.epoll()
        self._connections: dict[int, _Connection] = {}
        self._free: deque[_Connection] = deque()
        self._waiting: deque[float] = deque()
        self._driven = Driven()
        self._request = _requests(load)
        self._random = Random(load.seed)
        self._zero = 0.0

    def open_pool(self) -> None:
        """Connects as many as there are to be before the first request."""
        for _ in range(0 if self._load.fresh else self._load.connections):
            sock = socket.create_connection(self._address)
            self._free.append(self._watched(sock, connecting=False))

    def run(self) -> Driven:
        """All phases, and what is under way after them."""
        began = time.process_time()
        self._zero = time.perf_counter()
        end = 0.0
        due = 0.0
        for phase in self._load.phases:
            begin, end = end, end + phase.seconds
            due = self._drive_phase(max(due, begin), end, phase.rate)
        self._driven.processor_share = (time.process_time() - began) / self._now()
        while (self._waiting or self._under_way()) and self._now() < end + PATIENCE_SECONDS:
            self._answers(WAIT_SECONDS)
        self._give_up(float("inf"))
        return self._driven

    def _now(self) -> float:
        return time.perf_counter() - self._zero

    def _under_way(self) -> bool:
        return any(connection.due >= 0 for connection in self._connections.values())

    def _drive_phase(self, due: float, end: float, rate: float) -> float:
        """Returns the moment at which the first request after the phase is due."""
        draw, late = self._random.random, self._driven.late
        swept = self._now()
        while due < end:
            now = self._now()
            for _ in range(SENT_AT_ONCE_MAX):
                if due > now or due >= end:
                    break
                late.append(now - due)
                self._begin(due)
                due -= log(1.0 - draw()) / rate
            self._answers(0 if due <= now else WAIT_SECONDS)
            if now - swept > 0.5:
                self._give_up(now - PATIENCE_SECONDS)
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
            self._ended(connection, Kind.BROKEN)

    def _connect(self, due: float) -> None:
        sock = socket.socket()
        sock.setblocking(False)
        sock.bind((f"127.0.0.{self._driven.opened % LOCAL_ADDRESSES + 1}", 0))
        error = sock.connect_ex(self._address)
        connection = self._watched(sock, connecting=True)
        connection.due = due
        if error not in {0, errno.EINPROGRESS}:
            self._ended(connection, Kind.BROKEN)

    def _watched(self, sock: socket.socket, *, connecting: bool) -> _Connection:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = _Connection(sock, connecting=connecting)
        self._connections[sock.fileno()] = connection
        self._epoll.register(sock.fileno(), select.EPOLLOUT if connecting else select.EPOLLIN)
        self._driven.opened += 1
        return connection

    def _answers(self, seconds: float) -> None:
        """Takes what has come."""
        connections = self._connections
        for number, _ in self._epoll.poll(seconds):
            connection = connections.get(number)
            if connection is None:
                continue
            if connection.connecting:
                self._connected(connection)
                continue
            try:
                data = connection.sock.recv(RECEIVE_BYTES)
            except OSError:
                data = b""
            if not data:
                self._ended(connection, Kind.BROKEN)
            elif data[-1] == 125 and not connection.received:  # the brace at the end of every body
                self._answered(connection, data)
            else:
                connection.received += data
                if data[-1] == 125:
                    data, connection.received = connection.received, b""
                    self._answered(connection, data)

    def _connected(self, connection: _Connection) -> None:
        connection.connecting = False
        self._epoll.modify(connection.sock.fileno(), select.EPOLLIN)
        self._send(connection, connection.due)

    def _answered(self, connection: _Connection, data: bytes) -> None:
        status = data[9:12]
        if status == b"200":
            kind = Kind.GOOD
        elif status == b"503":
            kind = Kind.SHED if b"etry-after: " in data else Kind.SHED_WITHOUT
        else:
            kind = Kind.OTHER
        self._note(connection.due, kind)
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

    def _note(self, due: float, kind: Kind) -> None:
        driven = self._driven
        driven.due.append(due)
        driven.seconds.append(time.perf_counter() - self._zero - due)
        driven.kinds.append(kind)

    def _ended(self, connection: _Connection, kind: Kind) -> None:
        if connection.due >= 0:
            self._note(connection.due, kind)
            connection.due = -1.0
        self._drop(connection)

    def _drop(self, connection: _Connection) -> None:
        del self._connections[connection.sock.fileno()]
        connection.sock.close()

    def _give_up(self, before: float) -> None:
        """Those that were due before."""
        while self._waiting and self._waiting[0] <= before:
            self._note(self._waiting.popleft(), Kind.TIMEOUT)
        for connection in tuple(self._connections.values()):
            if 0 <= connection.due <= before:
                self._ended(connection, Kind.TIMEOUT)


def _requests(load: Load) -> Callable[[], bytes]:
    """Makes the next request: deposits to users in turn, each with a uuid of its own, far from the one before."""
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
