"""Bulk requests as streams of newline-delimited JSON: reading, posting and answering overlap.

Memory does not grow with the length of a stream. A few chunks are in flight at a time, and answers that the client does
not read wait in the spool.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass

from saldo.auth.authenticator import Authentication
from saldo.engine.engine import Engine
from saldo.engine.pending import Result
from saldo.http import problems
from saldo.http.api.bulk_outcomes import Item, build_outcome_lines, check_user, encode_lines
from saldo.http.api.response_spool import ResponseSpool, SpoolSpace
from saldo.http.problems import ProblemError
from saldo.ledger.model import TransactionRequest
from saldo.parsing.faults import InvalidRequestError
from saldo.parsing.transactions import ParserOptions, parse_transaction


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """Limits of a stream. The settings of the same names describe them; `line_bytes_max` is the setting
    `body_bytes_max`."""

    line_bytes_max: int
    chunk_requests_max: int
    stream_chunks_in_flight_max: int
    spool_bytes_max: int


class LineSplitter:
    """Splits bytes into lines, numbered from 1. A line longer than `bytes_max` is dropped and returned as None."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._partial_line = b""
        self._is_too_long = False
        self.number = 0
        """Number of the last complete line."""

    def feed(self, data: bytes) -> list[tuple[int, bytes | None]]:
        """Return the lines that the data completes, with their numbers.

        A line that is too long is returned as None. Blank lines are counted, but not returned.
        """
        *line_ends, rest = data.split(b"\n")
        lines: list[tuple[int, bytes | None]] = []
        for line in line_ends:
            complete_line = self._partial_line + line
            self.number += 1
            if self._is_too_long or len(complete_line) > self._bytes_max:
                lines.append((self.number, None))
            elif complete_line and not complete_line.isspace():
                lines.append((self.number, complete_line))
            self._partial_line = b""
            self._is_too_long = False
        self._partial_line += rest
        if len(self._partial_line) > self._bytes_max:
            self._partial_line = b""
            self._is_too_long = True
        return lines

    def flush(self) -> list[tuple[int, bytes | None]]:
        """Return the last line, if it has no line break."""
        return self.feed(b"\n") if self._partial_line or self._is_too_long else []


class StreamRejectedError(ProblemError):
    """Raised when the service rejects a stream, or stops reading it. Lines that were read before are answered, and no
    further lines are read."""


class PendingItems:
    """Items of one stream that have been read and are not posted yet. There are at most as many as one chunk has."""

    def __init__(self, items_max: int) -> None:
        self._items_max = items_max
        self._items: list[tuple[int, Item]] = []
        self._item_added = asyncio.Event()
        self._items_taken = asyncio.Event()
        self._has_ended = False

    async def put(self, number: int, item: Item) -> None:
        """Wait while the maximum number of items is pending, and then add an item."""
        while len(self._items) >= self._items_max:
            self._items_taken.clear()
            await self._items_taken.wait()
        self._items.append((number, item))
        self._item_added.set()

    def mark_ended(self) -> None:
        """Mark the end of the stream: no items follow."""
        self._has_ended = True
        self._item_added.set()

    async def wait_for_items(self) -> Sequence[tuple[int, Item]]:
        """Wait for items and return them without removing them. The result is empty at the end of the stream."""
        while not self._items and not self._has_ended:
            self._item_added.clear()
            await self._item_added.wait()
        return self._items

    def take_items(self) -> list[tuple[int, Item]]:
        """Remove and return the items."""
        items, self._items = self._items, []
        self._items_taken.set()
        return items


@dataclass(frozen=True, slots=True)
class _Chunk:
    items: list[tuple[int, Item]]
    results: asyncio.Future[list[Result]] | None


class BulkStream:
    """Processes the stream of one request. Three concurrent tasks read its lines, post them and answer them."""

    def __init__(
        self,
        engine: Engine,
        options: ParserOptions,
        limits: StreamLimits,
        process_slots: asyncio.Semaphore,
        spool_space: SpoolSpace,
        deliver: Callable[[bytes], Awaitable[None]],
        admission: Authentication,
    ) -> None:
        """
        Args:
            process_slots: Limits the number of chunks that all streams of the process have in flight.
            spool_space: The disk space for the unread answers of all streams.
            deliver: Sends bytes of the response to the client.
            admission: The authentication of the request, which is checked again before each chunk.
        """
        self._engine = engine
        self._options = options
        self._limits = limits
        self._process_slots = process_slots
        self._admission = admission
        self._outbox = ResponseSpool(
            deliver,
            spool_bytes_max=limits.spool_bytes_max,
            space=spool_space,
            key=admission.grant.name,
        )
        self._backlog = PendingItems(limits.chunk_requests_max)
        self._slots = asyncio.Semaphore(limits.stream_chunks_in_flight_max)
        self._chunks: asyncio.Queue[_Chunk | None] = asyncio.Queue()

    async def run(self, pieces: AsyncIterator[bytes]) -> None:
        """Process all pieces of the body, and return when every line has been answered."""
        reader = asyncio.create_task(self._read_lines(pieces), name="bulk stream reader")
        poster = asyncio.create_task(self._post_chunks(reader), name="bulk stream poster")
        writer = asyncio.create_task(self._write_outcomes(), name="bulk stream writer")
        tasks = {reader, poster, writer}
        try:
            # If one task fails, the others are cancelled. They could wait for ever, because the client may wait for an
            # answer before it sends more.
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                if not task.cancelled():
                    task.result()
            await self._outbox.close()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            await self._outbox.abandon()

    async def _read_lines(self, pieces: AsyncIterator[bytes]) -> None:
        lines = LineSplitter(self._limits.line_bytes_max)
        try:
            async for piece in pieces:
                for number, line in lines.feed(piece):
                    await self._backlog.put(number, self._parse_line(line))
            for number, line in lines.flush():
                await self._backlog.put(number, self._parse_line(line))
        except StreamRejectedError as rejection:
            await self._backlog.put(lines.number + 1, rejection.problem)
        self._backlog.mark_ended()

    def _parse_line(self, line: bytes | None) -> Item:
        if line is None:
            return problems.build_line_too_long(self._limits.line_bytes_max)
        try:
            request = parse_transaction(line, None, self._options)
            return check_user(request, self._admission.grant)
        except InvalidRequestError as error:
            return error

    async def _post_chunks(self, reader: asyncio.Task[None]) -> None:
        """Post the pending items as soon as another chunk may be in flight. A chunk is posted even if it is not full,
        because the client may wait for answers before it sends more."""
        while True:
            await self._slots.acquire()
            items = await self._backlog.wait_for_items()
            if not items:
                break
            bucket, charged_count = self._admission.grant.bucket, len(items)
            if bucket is not None:
                await bucket.take_tokens_when_available(charged_count)
            if not await self._admission.is_still_valid():
                # The key is no longer valid, so nothing more is read.
                reader.cancel()
                number = self._backlog.take_items()[0][0]
                self._chunks.put_nowait(_Chunk([(number, problems.build_key_revoked())], None))
                break
            items = await self._submit_chunk()
            if bucket is not None and len(items) > charged_count:
                bucket.overdraw(
                    len(items) - charged_count
                )  # items that arrived while the chunk waited
        self._chunks.put_nowait(None)

    async def _submit_chunk(self) -> list[tuple[int, Item]]:
        """Send the pending items to the engine, and return all of them. Invalid items are not sent."""
        results = None
        items = await self._backlog.wait_for_items()
        if any(isinstance(item, TransactionRequest) for _, item in items):
            await self._process_slots.acquire()
            items = self._backlog.take_items()
            requests = [item for _, item in items if isinstance(item, TransactionRequest)]
            # This is a separate task, so that requests in the engine are completed if the client disconnects.
            results = asyncio.ensure_future(self._engine.post_many(requests))
            results.add_done_callback(lambda _: self._process_slots.release())
        else:
            items = self._backlog.take_items()
        self._chunks.put_nowait(_Chunk(items, results))
        return items

    async def _write_outcomes(self) -> None:
        while (chunk := await self._chunks.get()) is not None:
            results = [] if chunk.results is None else await chunk.results
            lines = build_outcome_lines(
                chunk.items, results, self._options.decimals, self._admission.grant
            )
            await self._outbox.put(encode_lines(lines))
            self._slots.release()
