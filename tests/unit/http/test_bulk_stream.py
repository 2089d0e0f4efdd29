"""Streams: splitting into lines, the spool for a client that doesn't read, and waiting for a client."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saldo.auth.grants import UNAUTHENTICATED_ADMIN
from saldo.engine.pending import Result
from saldo.http.api import response_spool as outbox_module
from saldo.http.api.bulk_stream import BulkStream, LineSplitter, StreamLimits
from saldo.http.api.response_spool import ResponseSpool, SpoolSpace
from saldo.ledger.model import Decision, Outcome, TransactionRequest
from saldo.parsing.transactions import ParserOptions

READING = ParserOptions(zone=None, decimals=2, amount_max_minor=100, name_length_max=1)
LIMITS = StreamLimits(
    line_bytes_max=500, chunk_requests_max=10, stream_chunks_in_flight_max=4, spool_bytes_max=5000
)


@given(
    lines=st.lists(st.binary(max_size=12).map(lambda line: line.replace(b"\n", b"."))),
    cuts=st.lists(st.integers(1, 9)),
    ended=st.booleans(),
)
def test_lines_do_not_depend_on_how_the_bytes_are_split(
    lines: list[bytes], cuts: list[int], ended: bool
) -> None:
    content = b"\n".join(lines) + (b"\n" if ended else b"")
    cutter, found, begin = LineSplitter(8), [], 0
    for size in [*cuts, len(content)]:
        found += cutter.feed(content[begin : begin + size])
        begin += size
    found += cutter.flush()
    assert found == [
        (number, line if len(line) <= 8 else None)
        for number, line in enumerate(content.split(b"\n"), start=1)
        if line and (len(line) > 8 or not line.isspace())
    ]


def test_unterminated_long_line_is_not_buffered() -> None:
    lines = LineSplitter(1000)
    for _ in range(1000):
        assert lines.feed(b"x" * 1000) == []
        assert len(lines._partial_line) <= 1000
    assert lines.feed(b"\n{}\n") == [(1, None), (2, b"{}")]


@pytest.mark.parametrize("memory", [0, 50, 10_000])
async def test_spool_delivers_in_order_through_memory_and_files(
    monkeypatch: pytest.MonkeyPatch, memory: int
) -> None:
    monkeypatch.setattr(outbox_module, "MEMORY_BYTES_MAX", memory)
    monkeypatch.setattr(outbox_module, "SEGMENT_BYTES", 70)
    monkeypatch.setattr(outbox_module, "PIECE_BYTES", 23)
    gate, delivered = asyncio.Event(), bytearray()

    async def deliver(data: bytes) -> None:
        await gate.wait()
        delivered.extend(data)

    outbox = ResponseSpool(deliver, spool_bytes_max=10**9, space=SpoolSpace(10**9))
    pieces = [bytes([number % 251]) * (number % 37) for number in range(300)]
    for number, piece in enumerate(pieces):
        await outbox.put(piece)
        if number == 100:
            gate.set()
    await outbox.close()
    assert delivered == b"".join(pieces)


async def test_failed_delivery_is_raised_to_the_writer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_module, "MEMORY_BYTES_MAX", 0)

    async def deliver(_: bytes) -> None:
        raise ConnectionResetError

    outbox = ResponseSpool(deliver, spool_bytes_max=1, space=SpoolSpace(10**9))
    with pytest.raises(ConnectionResetError):
        for _ in range(3):
            await outbox.put(b"xx")


class Deciding:
    """An engine that posts everything."""

    async def post_many(self, requests: Sequence[TransactionRequest]) -> list[Result]:
        return [Decision(Outcome.POSTED, number=1, balance=1) for _ in requests]


class UnlimitedAdmission:
    """A client whose grant has all permissions and never ends."""

    grant = UNAUTHENTICATED_ADMIN

    async def is_still_valid(self) -> bool:
        return True


ADMITTED: Any = UnlimitedAdmission()


def stream_of(
    engine: Any,
    deliver: Callable[[bytes], Awaitable[None]],
    room: asyncio.Semaphore | None = None,
    space: SpoolSpace | None = None,
) -> BulkStream:
    return BulkStream(
        engine,
        READING,
        LIMITS,
        room or asyncio.Semaphore(100),
        space or SpoolSpace(10**9),
        deliver,
        ADMITTED,
    )


def line() -> bytes:
    fields = {"uuid": str(uuid4()), "type": "DEPOSIT", "amount": "1", "user_id": 1}
    return json.dumps(fields).encode() + b"\n"


class Failing:
    """An engine that raises an unexpected error."""

    async def post_many(self, requests: Sequence[TransactionRequest]) -> list[Result]:
        raise ZeroDivisionError


async def test_unexpected_error_ends_a_stream_with_a_waiting_client() -> None:
    async def deliver(_: bytes) -> None: ...

    async def pieces() -> AsyncIterator[bytes]:
        yield line()
        await asyncio.Event().wait()

    engine: Any = Failing()
    stream = stream_of(engine, deliver)
    with pytest.raises(ZeroDivisionError):
        await stream.run(pieces())


async def test_stream_stops_reading_when_the_spool_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check that reading stops at the spool's limit, and continues when the client reads."""
    monkeypatch.setattr(outbox_module, "MEMORY_BYTES_MAX", 1000)
    reads, delivered, taken = asyncio.Event(), bytearray(), 0

    async def deliver(data: bytes) -> None:
        await reads.wait()
        delivered.extend(data)

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal taken
        for _ in range(1000):
            taken += 1
            yield b"".join(line() for _ in range(10))

    engine: Any = Deciding()
    space = SpoolSpace(10**9)
    stream = stream_of(engine, deliver, space=space)
    run = asyncio.ensure_future(stream.run(pieces()))
    while not space._waiting:
        await asyncio.sleep(0)
    for _ in range(1000):
        await asyncio.sleep(0)
    assert 0 < stream._outbox.spooled_bytes <= 5000
    assert taken < 20
    reads.set()
    await run
    assert taken == 1000
    assert [json.loads(row)["line"] for row in delivered.splitlines()] == list(range(1, 10_001))


class Collected:
    """A client that reads everything at once, and records which lines were answered."""

    def __init__(self) -> None:
        self.lines: list[int] = []
        self.changed = asyncio.Event()

    async def __call__(self, data: bytes) -> None:
        self.lines += [json.loads(row)["line"] for row in data.splitlines()]
        self.changed.set()

    async def until(self, count: int) -> None:
        while len(self.lines) < count:
            self.changed.clear()
            await asyncio.wait_for(self.changed.wait(), 30)


class Paced:
    """An engine whose commits end when the test says so."""

    def __init__(self) -> None:
        self.commits = asyncio.Semaphore(0)

    async def post_many(self, requests: Sequence[TransactionRequest]) -> list[Result]:
        await self.commits.acquire()
        return [Decision(Outcome.POSTED, number=1, balance=1) for _ in requests]


@pytest.mark.parametrize("good", [True, False])
async def test_lines_are_answered_before_the_client_sends_more(good: bool) -> None:
    """Check that a client gets the answers to what it has sent, even if the engine was full when its lines came."""
    engine, client = Paced(), Collected()
    room = asyncio.Semaphore(1)
    await room.acquire()
    answered = asyncio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(30):
            yield line() if good else b"x\n"
            for _ in range(10):
                await asyncio.sleep(0)
            engine.commits.release()
            if room.locked():
                room.release()
        await answered.wait()

    run = asyncio.ensure_future(stream_of(engine, client, room).run(pieces()))
    for _ in range(30):
        engine.commits.release()
    await client.until(30)
    assert client.lines == list(range(1, 31))
    answered.set()
    await run


async def test_line_that_found_the_queue_full_is_posted_later() -> None:
    client, answered = Collected(), asyncio.Event()
    room = asyncio.Semaphore(1)
    await room.acquire()

    async def pieces() -> AsyncIterator[bytes]:
        yield line()
        await answered.wait()

    run = asyncio.ensure_future(stream_of(Deciding(), client, room).run(pieces()))
    for _ in range(100):
        await asyncio.sleep(0)
    assert client.lines == []
    room.release()
    await client.until(1)
    answered.set()
    await run
    assert not room.locked()


async def test_spool_thread_never_writes_into_another_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Let a client disconnect while a thread is about to write its answers; the next client must have its own file."""
    begun, goes_on, write = threading.Event(), threading.Event(), outbox_module._write_all

    def slow(*arguments: Any) -> None:
        begun.set()
        goes_on.wait(30)
        write(*arguments)

    monkeypatch.setattr(outbox_module, "_write_all", slow)
    monkeypatch.setattr(outbox_module, "MEMORY_BYTES_MAX", 10)
    never, space = asyncio.Event(), SpoolSpace(10**9)

    async def deliver(_: bytes) -> None:
        await never.wait()

    outbox = ResponseSpool(deliver, spool_bytes_max=10**9, space=space)
    await outbox.put(b"A" * 10)
    await asyncio.sleep(0)
    await outbox.put(b"A" * 10)
    putting = asyncio.ensure_future(outbox.put(b"A" * 1000))
    await asyncio.to_thread(begun.wait, 30)
    segment = outbox._segments[0]
    putting.cancel()
    await asyncio.wait([putting])
    await outbox.abandon()
    assert space.used_bytes == 0
    with tempfile.TemporaryFile() as other:
        other.write(b"B" * 10)
        other.flush()
        goes_on.set()
        while segment._in_use:
            await asyncio.sleep(0.001)
        assert os.pread(other.fileno(), 2000, 0) == b"B" * 10
    assert segment.file.closed


@pytest.mark.parametrize(("key", "fits"), [("a", False), ("b", True)])
async def test_spools_of_one_key_use_at_most_half_of_the_space(
    monkeypatch: pytest.MonkeyPatch, key: str, fits: bool
) -> None:
    monkeypatch.setattr(outbox_module, "MEMORY_BYTES_MAX", 0)
    space, reads, delivered = SpoolSpace(2000), asyncio.Event(), bytearray()

    async def deliver(data: bytes) -> None:
        await reads.wait()
        delivered.extend(data)

    first = ResponseSpool(deliver, spool_bytes_max=10**9, space=space, key="a")
    await first.put(b"in memory")
    await first.put(b"x" * 900)
    second = ResponseSpool(deliver, spool_bytes_max=10**9, space=space, key=key)
    await second.put(b"in memory")
    await asyncio.sleep(0)
    await second.put(b"in memory")
    putting = asyncio.ensure_future(second.put(b"z" * 900))
    for _ in range(100):
        await asyncio.sleep(0)
    assert space.has_space_for(key, 900) is False
    assert space.used_bytes <= 2000
    if not fits:
        assert not putting.done()
        await first.abandon()
    await asyncio.wait_for(putting, 30)
    reads.set()
    await second.close()
    await first.abandon()
    await second.abandon()
    assert space.used_bytes == 0
    assert bytes(delivered).count(b"z") == 900
