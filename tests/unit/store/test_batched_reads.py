"""Batched reads: reads of one kind share statements, and no answer is older than its request."""

from __future__ import annotations

import asyncio

import pytest

from saldo.store.batched_reads import BatchedReads
from saldo.store.errors import ConnectionLostError


class Table:
    """A table whose reads wait for a gate."""

    def __init__(self) -> None:
        self.rows = {1: "a", 2: "b"}
        self.statements: list[list[int]] = []
        self.gate = asyncio.Event()
        self.fails = False

    async def read(self, keys: list[int]) -> dict[int, str]:
        self.statements.append(keys)
        found = {key: self.rows[key] for key in keys if key in self.rows}
        await self.gate.wait()
        if self.fails:
            raise ConnectionLostError("gone")
        return found


async def _start_reads(reads: BatchedReads[int, str], *keys: int) -> list[asyncio.Task[str | None]]:
    tasks = [asyncio.create_task(reads.get(key)) for key in keys]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return tasks


async def test_reads_during_a_statement_share_the_next_one() -> None:
    table = Table()
    reads = BatchedReads(table.read, keys_max=3)
    first = await _start_reads(reads, 1)
    table.rows[1] = "changed"
    rest = await _start_reads(reads, 1, 2, 1, 3, 4)
    table.gate.set()
    assert await asyncio.gather(*first, *rest) == ["a", "changed", "b", "changed", None, None]
    assert table.statements == [[1], [1, 2, 3], [4]]


async def test_failure_is_raised_to_all_readers_and_the_next_read_retries() -> None:
    table = Table()
    reads = BatchedReads(table.read, keys_max=3)
    asked = await _start_reads(reads, 1, 2)
    table.fails = True
    table.gate.set()
    results = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(result) for result in results] == [ConnectionLostError] * 2
    table.fails = False
    assert await reads.get(2) == "b"


async def test_cancelled_reader_does_not_cancel_the_others() -> None:
    table = Table()
    reads = BatchedReads(table.read, keys_max=3)
    leaving, staying = await _start_reads(reads, 1, 1)
    leaving.cancel()
    table.gate.set()
    assert await staying == "a"
    with pytest.raises(asyncio.CancelledError):
        await leaving
