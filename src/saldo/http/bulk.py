"""`POST /v1/transactions`: many at once, as newline-delimited JSON or as a JSON array."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from functools import partial
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec

from saldo.access.grant import Grant
from saldo.engine.engine import Engine
from saldo.engine.errors import EngineError
from saldo.engine.waiting import Result
from saldo.http import problems
from saldo.http.access import admission_of
from saldo.http.answers import Answer
from saldo.http.body import ClientGoneError, body_of
from saldo.http.outcomes import Item, covered, encode_lines, outcome_lines
from saldo.http.pages import NO_STORE
from saldo.http.problems import Problem
from saldo.http.query import unread
from saldo.http.sending import answered, failed, send_answer
from saldo.http.stream import Stream, StreamEndedError, StreamLimits
from saldo.http.transactions import is_json, may_see, unsupported_media_type
from saldo.http.wire import Fault, InvalidError, Reading, parse_transactions
from saldo.ledger.model import SHARDS, Decision, Outcome, TransactionRequest, shard_of
from saldo.settings import Settings

_log = logging.getLogger("saldo.http")

BULK_PATH: Final = "/v1/transactions"
NDJSON: Final = "application/x-ndjson"
_NDJSON_NAMES: Final = {
    NDJSON,
    "application/ndjson",
    "application/jsonl",
    "application/x-jsonlines",
}


class Bulk:
    """Posts many transactions and answers one outcome a line, in the order of the input."""

    def __init__(self, engine: Engine, reading: Reading, settings: Settings) -> None:
        self._engine = engine
        self._reading = reading
        self._array_bytes_max = settings.array_bytes_max
        self._array_items_max = settings.array_items_max
        self._limits = StreamLimits(
            line_bytes_max=settings.body_bytes_max,
            chunk_requests_max=settings.chunk_requests_max,
            chunks_max=settings.chunks_max,
            spool_bytes_max=settings.spool_bytes_max,
        )
        # Half of the queue: single requests always find room beside streams.
        chunks = settings.queue_requests_max // 2 // settings.chunk_requests_max
        self._room = asyncio.Semaphore(max(1, chunks))
        self._endings: set[asyncio.Future[Problem]] = set()
        self._stopping = False

    def stop(self) -> None:
        """Streams read no more lines."""
        self._stopping = True
        for ending in self._endings:
            _end(ending, problems.stopping())

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """The ASGI application of the path. `state` holds the request's id."""
        began = time.perf_counter()
        request_id: str = scope["state"]["request_id"]
        try:
            answer = await self._post(scope, request_id, receive, send)
        except (ClientGoneError, StreamBrokenError):
            return
        except Exception as error:
            answer = failed(error, request_id)
        answered("POST", BULK_PATH, 200 if answer is None else answer.status, began)
        if answer is not None:
            await send_answer(scope, send, answer, request_id)

    async def _post(self, scope: Any, request_id: str, receive: Any, send: Any) -> Answer | None:
        """The answer; None when it has been streamed.

        Raises:
            ClientGoneError, BodyTooLargeError: the body could not be read.
        """
        admission = admission_of(scope)
        headers: dict[bytes, bytes] = dict(scope["headers"])
        content_type = headers.get(b"content-type", b"").decode("latin-1")
        media_type = content_type.partition(";")[0].strip().lower()
        try:
            streamed = media_type in _NDJSON_NAMES
            atomic = _read_query(scope["query_string"], streamed=streamed)
            if streamed:
                await self._stream(scope, request_id, receive, send)
                return None
            if not is_json(content_type):
                return unsupported_media_type(content_type, request_id, f"{NDJSON} or JSON")
            body = await body_of(receive, headers, self._array_bytes_max)
            items = parse_transactions(body, self._array_items_max, self._reading)
            if admission.grant.bucket is not None:
                admission.grant.bucket.overdraw(len(items) - 1)
            if atomic:
                lines = await self._post_atomic(items, admission.grant)
            else:
                lines = await self._post_array(items, admission.grant)
        except InvalidError as error:
            return problems.invalid(error.faults).answer(request_id)
        except (_AtomicError, StreamEndedError) as error:
            return error.problem.answer(request_id)
        if headers.get(b"accept", b"").strip().startswith(b"application/json"):
            return Answer(200, msgspec.json.encode(lines))
        return Answer(200, encode_lines(lines), NDJSON)

    async def _stream(self, scope: Any, request_id: str, receive: Any, send: Any) -> None:
        ending: asyncio.Future[Problem] = asyncio.get_running_loop().create_future()
        # The server looks whether the client still sends (`saldo.http.protocol`).
        scope["stalled"] = partial(_end, ending)
        pieces = self._pieces(receive, ending)
        # The first piece before the head of the answer: a client may wait to be told to go on.
        first = await anext(pieces, b"")
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [
                    (b"content-type", NDJSON.encode()),
                    (b"x-request-id", request_id.encode()),
                    NO_STORE,
                ],
            }
        )

        async def deliver(data: bytes) -> None:
            await send({"type": "http.response.body", "body": data, "more_body": True})

        stream = Stream(
            self._engine, self._reading, self._limits, self._room, deliver, admission_of(scope)
        )
        try:
            await stream.run(_after(first, pieces))
        except ClientGoneError:
            raise
        except Exception as error:
            _log.exception("request %s failed in the middle of a stream", request_id)
            raise StreamBrokenError from error
        await send({"type": "http.response.body", "body": b""})

    async def _pieces(self, receive: Any, ending: asyncio.Future[Problem]) -> AsyncIterator[bytes]:
        """The body as it comes in.

        Raises:
            ClientGoneError: the connection broke before the end.
            StreamEndedError: the service stops, or the client has stalled.
        """
        self._endings.add(ending)
        if self._stopping:
            _end(ending, problems.stopping())
        try:
            more = True
            while more:
                receiving = asyncio.ensure_future(receive())
                await asyncio.wait({receiving, ending}, return_when=asyncio.FIRST_COMPLETED)
                if not receiving.done():
                    receiving.cancel()
                    raise StreamEndedError(ending.result())
                message = receiving.result()
                if message["type"] == "http.disconnect":
                    raise ClientGoneError
                yield message.get("body", b"")
                more = message.get("more_body", False)
        finally:
            self._endings.discard(ending)

    async def _post_array(
        self, given: list[TransactionRequest | InvalidError], grant: Grant
    ) -> list[Any]:
        items = [covered(item, grant) for item in given]
        requests = [item for item in items if isinstance(item, TransactionRequest)]
        size = self._limits.chunk_requests_max
        chunks = [requests[begin : begin + size] for begin in range(0, len(requests), size)]

        async def post(chunk: list[TransactionRequest]) -> list[Result]:
            async with self._room:
                return await self._engine.post_many(chunk)

        posted = await asyncio.gather(*(post(chunk) for chunk in chunks))
        results = [result for part in posted for result in part]
        numbered: list[tuple[int, Item]] = list(enumerate(items, start=1))
        return outcome_lines(numbered, results, self._reading.decimals, grant)

    async def _post_atomic(
        self, items: list[TransactionRequest | InvalidError], grant: Grant
    ) -> list[Any]:
        faults = [
            Fault(f"[{index}].{fault.field}", fault.message)
            for index, item in enumerate(items)
            if isinstance(item, InvalidError)
            for fault in item.faults
        ]
        if faults:
            raise InvalidError(faults)
        requests = [item for item in items if isinstance(item, TransactionRequest)]
        for index, request in enumerate(requests):
            if not grant.covers(request.user_id):
                problem = problems.forbidden_user(request.user_id)
                raise _AtomicError(problems.atomic(index, request, problem, recorded=False))
        if self._engine.by_shard:
            _refuse_several_shards(requests)
        try:
            decisions = await self._engine.post_atomic(requests)
        except EngineError as error:
            raise _AtomicError(problems.not_decided(error)) from error
        for index, (request, decision) in enumerate(zip(requests, decisions, strict=True)):
            if decision.outcome is not Outcome.POSTED:
                raise _AtomicError(self._refusal(index, request, decision, grant))
        numbered: list[tuple[int, Item]] = list(enumerate(requests, start=1))
        return outcome_lines(numbered, list(decisions), self._reading.decimals, grant)

    def _refusal(
        self, index: int, request: TransactionRequest, decision: Decision, grant: Grant
    ) -> problems.Problem:
        reveal = may_see(grant, decision)
        problem = problems.refused(request, decision, self._reading.decimals, reveal=reveal)
        return problems.atomic(index, request, problem, recorded=decision.replayed)


class StreamBrokenError(Exception):
    """An answer has begun and can't be finished: only closing the connection tells the client."""


class _AtomicError(Exception):
    """Not all of an atomic array could be posted, so nothing was."""

    def __init__(self, problem: problems.Problem) -> None:
        super().__init__(problem.code)
        self.problem = problem


def _end(ending: asyncio.Future[Problem], problem: Problem) -> None:
    if not ending.done():
        ending.set_result(problem)


async def _after(first: bytes, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in pieces:
        yield piece


def _refuse_several_shards(requests: list[TransactionRequest]) -> None:
    shard = shard_of(requests[0].user_id)
    others = [
        Fault(
            f"[{index}].user_id",
            f"must be {shard} modulo {SHARDS}, as that of the first: this ledger is distributed, and all or nothing is "
            "possible within a shard",
        )
        for index, request in enumerate(requests)
        if shard_of(request.user_id) != shard
    ]
    if others:
        raise InvalidError(others)


def _read_query(query: bytes, *, streamed: bool) -> bool:
    """Whether the query asks for all or nothing."""
    given = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    faults = unread((name for name, _ in given), ("atomic",))
    values = [value for name, value in given if name == "atomic"]
    if not {"true", "false"}.issuperset(values):
        faults.append(Fault("atomic", "must be true or false"))
    if streamed and values == ["true"]:
        faults.append(Fault("atomic", "is possible with a JSON array only"))
    if faults:
        raise InvalidError(faults)
    return values == ["true"]
