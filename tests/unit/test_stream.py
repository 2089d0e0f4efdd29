"""Cutting a stream into lines, keeping answers for a client that doesn't read, waiting for one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saldo.access.grant import ANYONE
from saldo.engine.waiting import Result
from saldo.http import outbox as outbox_module
from saldo.http.outbox import Outbox
from saldo.http.stream import Lines, Stream, StreamLimits
from saldo.http.wire import Reading
from saldo.ledger.model import Decision, Outcome, TransactionRequest

READING = Reading(zone=None, decimals=2, amount_max_minor=100, name_length_max=1)
LIMITS = StreamLimits(line_bytes_max=500, chunk_requests_max=10, chunks_max=4, spool_bytes_max=5000)


@given(
    lines=st.lists(st.binary(max_size=12).map(lambda line: line.replace(b"\n", b"."))),
    cuts=st.lists(st.integers(1, 9)),
    ended=st.booleans(),
)
def test_lines_are_the_same_wherever_the_pieces_are_cut(
    lines: list[bytes], cuts: list[int], ended: bool
) -> None:
    content = b"\n".join(lines) + (b"\n" if ended else b"")
    cutter, found, begin = Lines(8), [], 0
    for size in [*cuts, len(content)]:
        found += cutter.cut(content[begin : begin + size])
        begin += size
    found += cutter.end()
    assert found == [
        (number, line if len(line) <= 8 else None)
        for number, line in enumerate(content.split(b"\n"), start=1)
        if line and (len(line) > 8 or not line.isspace())
    ]


def test_a_line_without_end_is_not_kept() -> None:
    lines = Lines(1000)
    for _ in range(1000):
        assert lines.cut(b"x" * 1000) == []
        assert len(lines._begun) <= 1000
    assert lines.cut(b"\n{}\n") == [(1, None), (2, b"{}")]


@pytest.mark.parametrize("memory", [0, 50, 10_000])
async def test_what_is_put_is_delivered_in_order_through_memory_and_files(
    monkeypatch: pytest.MonkeyPatch, memory: int
) -> None:
    monkeypatch.setattr(outbox_module, "MEMORY_BYTES_MAX", memory)
    monkeypatch.setattr(outbox_module, "SEGMENT_BYTES", 70)
    monkeypatch.setattr(outbox_module, "PIECE_BYTES", 23)
    gate, delivered = asyncio.Event(), bytearray()

    async def deliver(data: bytes) -> None:
        await gate.wait()
        delivered.extend(data)

    outbox = Outbox(deliver, spool_bytes_max=10**9)
    pieces = [bytes([number % 251]) * (number % 37) for number in range(300)]
    for number, piece in enumerate(pieces):
        await outbox.put(piece)
        if number == 100:
            gate.set()
    await outbox.close()
    assert delivered == b"".join(pieces)


async def test_a_failed_delivery_is_told_to_who_puts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_module, "MEMORY_BYTES_MAX", 0)

    async def deliver(_: bytes) -> None:
        raise ConnectionResetError

    outbox = Outbox(deliver, spool_bytes_max=1)
    with pytest.raises(ConnectionResetError):
        for _ in range(3):
            await outbox.put(b"xx")


class Deciding:
    """An engine that posts everything."""

    async def post_many(self, requests: Sequence[TransactionRequest]) -> list[Result]:
        return [Decision(Outcome.POSTED, number=1, balance=1) for _ in requests]


class Admitted:
    """Who may do everything, for ever."""

    grant = ANYONE

    async def still(self) -> bool:
        return True


ADMITTED: Any = Admitted()


class Failing:
    """An engine with a fault that nobody foresaw."""

    async def post_many(self, requests: Sequence[TransactionRequest]) -> list[Result]:
        raise ZeroDivisionError


async def test_a_fault_ends_a_stream_whose_client_waits_for_an_answer() -> None:
    async def deliver(_: bytes) -> None: ...

    async def pieces() -> AsyncIterator[bytes]:
        yield b"{}\n"
        await asyncio.Event().wait()

    engine: Any = Failing()
    stream = Stream(engine, READING, LIMITS, asyncio.Semaphore(100), deliver, ADMITTED)
    with pytest.raises(ZeroDivisionError):
        await stream.run(pieces())


async def test_lines_of_a_client_that_does_not_read_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Past the bound of the files nothing more is read; when the client reads, all goes on."""
    monkeypatch.setattr(outbox_module, "MEMORY_BYTES_MAX", 1000)
    reads, delivered, taken = asyncio.Event(), bytearray(), 0

    async def deliver(data: bytes) -> None:
        await reads.wait()
        delivered.extend(data)

    def line() -> bytes:
        fields = {"uuid": str(uuid4()), "type": "DEPOSIT", "amount": "1", "user_id": 1}
        return json.dumps(fields).encode() + b"\n"

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal taken
        for _ in range(1000):
            taken += 1
            yield b"".join(line() for _ in range(10))

    engine: Any = Deciding()
    stream = Stream(engine, READING, LIMITS, asyncio.Semaphore(100), deliver, ADMITTED)
    run = asyncio.ensure_future(stream.run(pieces()))
    while stream._outbox._spooled_bytes < 5000:
        await asyncio.sleep(0)
    for _ in range(1000):
        await asyncio.sleep(0)
    assert taken < 20
    reads.set()
    await run
    assert taken == 1000
    assert [json.loads(row)["line"] for row in delivered.splitlines()] == list(range(1, 10_001))
