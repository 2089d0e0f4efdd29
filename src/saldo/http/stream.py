"""Newline-delimited JSON in, outcomes out, both at once: reading, posting and answering overlap.

Nothing here grows with the length of a stream: a few chunks are under way at a time, and answers that
the client doesn't read wait in the outbox.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from saldo.access.gate import Admission
from saldo.engine.engine import Engine
from saldo.engine.waiting import Result
from saldo.http import problems
from saldo.http.outbox import Outbox
from saldo.http.outcomes import Item, covered, encode_lines, outcome_lines
from saldo.http.problems import Problem
from saldo.http.wire import InvalidError, Reading, parse_transaction
from saldo.ledger.model import TransactionRequest


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """The bounds of a stream; see the settings of the same names."""

    line_bytes_max: int
    chunk_requests_max: int
    chunks_max: int
    spool_bytes_max: int


class Lines:
    """Cuts bytes into lines, numbered from 1. A line beyond the limit is not kept."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._begun = b""
        self._too_long = False
        self.number = 0
        """Of the last line that has ended."""

    def cut(self, data: bytes) -> list[tuple[int, bytes | None]]:
        """The lines that end in the data; None stands for one that is too long. Empty ones only count."""
        *ended, begun = data.split(b"\n")
        found: list[tuple[int, bytes | None]] = []
        for line in ended:
            whole = self._begun + line
            self.number += 1
            if self._too_long or len(whole) > self._bytes_max:
                found.append((self.number, None))
            elif whole and not whole.isspace():
                found.append((self.number, whole))
            self._begun = b""
            self._too_long = False
        self._begun += begun
        if len(self._begun) > self._bytes_max:
            self._begun = b""
            self._too_long = True
        return found

    def end(self) -> list[tuple[int, bytes | None]]:
        """The last line, if it has no line break."""
        return self.cut(b"\n") if self._begun or self._too_long else []


class StreamEndedError(Exception):
    """The service stops, or the client sends nothing: what has been read is answered, the rest is not read."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.code)
        self.problem = problem


class _NotAdmittedError(Exception):
    """The key is not valid any more: nothing more is read."""


@dataclass(frozen=True, slots=True)
class _Chunk:
    items: list[tuple[int, Item]]
    results: asyncio.Future[list[Result]]


class Stream:
    """One request's lines on their way through the engine."""

    def __init__(
        self,
        engine: Engine,
        reading: Reading,
        limits: StreamLimits,
        room: asyncio.Semaphore,
        deliver: Callable[[bytes], Awaitable[None]],
        admission: Admission,
    ) -> None:
        """
        Args:
            room: chunks that may be under way in the whole process.
            deliver: sends bytes of the answer to the client.
            admission: who sends the lines.
        """
        self._engine = engine
        self._reading = reading
        self._limits = limits
        self._room = room
        self._admission = admission
        self._outbox = Outbox(deliver, spool_bytes_max=limits.spool_bytes_max)
        self._chunks: asyncio.Queue[_Chunk | None] = asyncio.Queue(limits.chunks_max)

    async def run(self, pieces: AsyncIterator[bytes]) -> None:
        """Takes all pieces of the body; returns when every line has been answered."""
        reading = asyncio.create_task(self._take(pieces), name="reading a stream")
        answering = asyncio.create_task(self._answer(), name="answering a stream")
        try:
            # Whichever fails ends both: a client may wait for an answer before it sends more.
            done, _ = await asyncio.wait({reading, answering}, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
            await self._outbox.close()
        finally:
            reading.cancel()
            answering.cancel()
            await asyncio.wait({reading, answering})
            await self._outbox.abandon()

    async def _take(self, pieces: AsyncIterator[bytes]) -> None:
        lines = Lines(self._limits.line_bytes_max)
        items: list[tuple[int, Item]] = []
        try:
            async for piece in pieces:
                for number, line in lines.cut(piece):
                    items.append((number, self._read(line)))
                    if len(items) >= self._limits.chunk_requests_max:
                        items = await self._submit(items)
                # What came in slowly is not kept waiting for more.
                if items and not self._chunks.full() and not self._room.locked():
                    items = await self._submit(items)
            items += [(number, self._read(line)) for number, line in lines.end()]
        except StreamEndedError as ended:
            items.append((lines.number + 1, ended.problem))
        except _NotAdmittedError:
            items = []
        if items:
            with contextlib.suppress(_NotAdmittedError):
                await self._submit(items)
        await self._chunks.put(None)

    def _read(self, line: bytes | None) -> Item:
        if line is None:
            return problems.line_too_long(self._limits.line_bytes_max)
        try:
            request = parse_transaction(line, None, self._reading)
            return covered(request, self._admission.grant)
        except InvalidError as error:
            return error

    async def _submit(self, items: list[tuple[int, Item]]) -> list[tuple[int, Item]]:
        """Sends items on their way; what comes next begins an empty list.

        Raises:
            _NotAdmittedError: who sends them must not any more; they are answered so.
        """
        requests = [item for _, item in items if isinstance(item, TransactionRequest)]
        bucket = self._admission.grant.bucket
        if bucket is not None:
            await bucket.taken(len(items))
        admitted = await self._admission.still()
        if not admitted:
            items, requests = [(items[0][0], problems.not_admitted_any_more())], []
        await self._room.acquire()
        # A task of its own: when the client goes away, what has been sent is seen through.
        results = asyncio.ensure_future(self._engine.post_many(requests))
        results.add_done_callback(lambda _: self._room.release())
        await self._chunks.put(_Chunk(items, results))
        if not admitted:
            raise _NotAdmittedError
        return []

    async def _answer(self) -> None:
        while (chunk := await self._chunks.get()) is not None:
            results = await chunk.results
            lines = outcome_lines(
                chunk.items, results, self._reading.decimals, self._admission.grant
            )
            await self._outbox.put(encode_lines(lines))
