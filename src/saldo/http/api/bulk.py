"""`POST /v1/transactions`: bulk requests, as newline-delimited JSON or as a JSON array."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Any, Final
from urllib.parse import parse_qsl

from saldo.auth.grants import Grant
from saldo.encoding.json import encode_json
from saldo.engine.engine import Engine
from saldo.engine.errors import EngineError
from saldo.engine.pending import Result
from saldo.http import problems
from saldo.http.api.bulk_outcomes import Item, build_outcome_lines, check_user, encode_lines
from saldo.http.api.bulk_stream import BulkStream, StreamLimits, StreamRejectedError
from saldo.http.api.post_transaction import may_see
from saldo.http.api.response_spool import PIECE_BYTES, SpoolSpace
from saldo.http.authorization import get_admission
from saldo.http.content_negotiation import prefers_lines
from saldo.http.problems import Problem, ProblemError
from saldo.http.raw_responses import build_error_response, record_response, send_response
from saldo.http.request_body import ClientDisconnectedError, is_json, read_body
from saldo.http.request_state import get_request_state
from saldo.http.responses import RawResponse
from saldo.http.security_headers import NO_STORE
from saldo.ledger.model import SHARDS, Decision, Outcome, TransactionRequest, compute_shard
from saldo.parsing.faults import FaultCollector, InvalidField, InvalidRequestError
from saldo.parsing.transactions import ParserOptions, parse_transactions
from saldo.parsing.unknown_parameters import find_unknown_parameters
from saldo.settings.model import Settings

_log = logging.getLogger("saldo.http")

BULK_PATH: Final = "/v1/transactions"
NDJSON: Final = "application/x-ndjson"
_NDJSON_NAMES: Final = {
    NDJSON,
    "application/ndjson",
    "application/jsonl",
    "application/x-jsonlines",
}


class BulkHandler:
    """The handler of bulk requests, which responds with one outcome for each transaction, in the order of the
    transactions."""

    def __init__(self, engine: Engine, options: ParserOptions, settings: Settings) -> None:
        self._engine = engine
        self._options = options
        self._array_bytes_max = settings.array_bytes_max
        self._array_items_max = settings.array_items_max
        self._limits = StreamLimits(
            line_bytes_max=settings.body_bytes_max,
            chunk_requests_max=settings.chunk_requests_max,
            stream_chunks_in_flight_max=settings.stream_chunks_in_flight_max,
            spool_bytes_max=settings.spool_bytes_max,
        )
        # Bulk requests may fill half of the queue, so that there is always space for single requests.
        chunks = settings.queue_requests_max // 2 // settings.chunk_requests_max
        self._chunk_slots = asyncio.Semaphore(max(1, chunks))
        self._spool_space = SpoolSpace(settings.process_spool_bytes_max)
        self._key_streams_max = settings.key_streams_max
        self._open_streams: Counter[str] = Counter()
        self._endings: set[asyncio.Future[Problem]] = set()
        self._is_stopping = False

    def stop(self) -> None:
        """Stop reading further lines of all streams. The lines that were read before are answered."""
        self._is_stopping = True
        for ending in self._endings:
            _set_ending(ending, problems.build_service_shutdown())

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request as an ASGI application. The request's id is in its state."""
        began_at = time.perf_counter()
        request_id = get_request_state(scope).request_id
        try:
            answer = await self._answer_request(scope, request_id, receive, send)
        except (ClientDisconnectedError, IncompleteResponseError):
            return
        except Exception as error:
            answer = build_error_response(error, request_id)
        if answer is None:  # the duration of a stream depends on its client
            record_response("POST", BULK_PATH, 200)
        else:
            record_response("POST", BULK_PATH, answer.status, began_at)
        if answer is not None:
            await send_response(scope, send, answer, request_id)

    async def _answer_request(
        self, scope: Any, request_id: str, receive: Any, send: Any
    ) -> RawResponse | None:
        """Return the response, or None after it was streamed.

        Raises:
            ClientDisconnectedError, BodyTooLargeError: The body is incomplete or too large.
        """
        admission = get_admission(scope)
        headers: dict[bytes, bytes] = dict(scope["headers"])
        content_type = headers.get(b"content-type", b"").decode("latin-1")
        media_type = content_type.partition(";")[0].strip().lower()
        try:
            is_stream = media_type in _NDJSON_NAMES
            atomic = _parse_atomic_parameter(scope["query_string"], is_stream=is_stream)
            if is_stream:
                await self._start_stream(scope, request_id, receive, send)
                return None
            # The header `Accept` is parsed before anything is posted, so that an error in the header can't follow a
            # commit.
            wants_lines = prefers_lines(headers.get(b"accept", b""))
            if not is_json(content_type):
                expected = f"{NDJSON} or JSON"
                return problems.build_unsupported_media_type(content_type, expected).build_response(
                    request_id
                )
            body = await read_body(receive, headers, self._array_bytes_max)
            items = parse_transactions(body, self._array_items_max, self._options)
            _charge_rate_limit(items, admission.grant)
            if atomic:
                lines = await self._post_atomic(items, admission.grant)
            else:
                lines = await self._post_array(items, admission.grant)
        except InvalidRequestError as error:
            return problems.build_invalid(error.faults).build_response(request_id)
        except ProblemError as error:
            return error.problem.build_response(request_id)
        if wants_lines:
            return RawResponse(200, encode_lines(lines), NDJSON)
        return RawResponse(200, encode_json(lines))

    async def _start_stream(self, scope: Any, request_id: str, receive: Any, send: Any) -> None:
        """Answer a stream, unless its key has too many open streams or the spools are full.

        Raises:
            StreamRejectedError: The stream is rejected. No line of it was read.
        """
        key = get_admission(scope).grant.name
        if self._open_streams[key] >= self._key_streams_max:
            raise StreamRejectedError(problems.build_too_many_streams(self._key_streams_max))
        if not self._spool_space.has_space_for(key, PIECE_BYTES):
            raise StreamRejectedError(problems.build_spools_full())
        self._open_streams[key] += 1
        try:
            await self._answer_stream(scope, request_id, receive, send)
        finally:
            self._open_streams[key] -= 1
            if not self._open_streams[key]:
                del self._open_streams[key]

    async def _answer_stream(self, scope: Any, request_id: str, receive: Any, send: Any) -> None:
        ending: asyncio.Future[Problem] = asyncio.get_running_loop().create_future()
        # The server calls this if the client stops sending (`saldo.http.connection.protocol`).
        get_request_state(scope).on_stall = partial(_set_ending, ending)
        pieces = self._read_pieces(receive, ending)
        # The first piece is read before the response begins: this sends the `100 Continue` that a client may wait for.
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

        stream = BulkStream(
            self._engine,
            self._options,
            self._limits,
            self._chunk_slots,
            self._spool_space,
            deliver,
            get_admission(scope),
        )
        try:
            await stream.run(_prepend_piece(first, pieces))
        except ClientDisconnectedError:
            raise
        except Exception as error:
            _log.exception("request %s failed during a stream", request_id)
            raise IncompleteResponseError from error
        await send({"type": "http.response.body", "body": b""})

    async def _read_pieces(
        self, receive: Any, ending: asyncio.Future[Problem]
    ) -> AsyncIterator[bytes]:
        """Yield the body as it arrives.

        Raises:
            ClientDisconnectedError: The connection broke before the end of the body.
            StreamRejectedError: The service stops, or the client has stalled.
        """
        self._endings.add(ending)
        if self._is_stopping:
            _set_ending(ending, problems.build_service_shutdown())
        try:
            has_more = True
            while has_more:
                receive_task = asyncio.ensure_future(receive())
                await asyncio.wait({receive_task, ending}, return_when=asyncio.FIRST_COMPLETED)
                if not receive_task.done():
                    receive_task.cancel()
                    raise StreamRejectedError(ending.result())
                message = receive_task.result()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnectedError
                yield message.get("body", b"")
                has_more = message.get("more_body", False)
        finally:
            self._endings.discard(ending)

    async def _post_array(
        self, parsed_items: list[TransactionRequest | InvalidRequestError], grant: Grant
    ) -> list[Any]:
        items = [check_user(item, grant) for item in parsed_items]
        requests = [item for item in items if isinstance(item, TransactionRequest)]
        size = self._limits.chunk_requests_max
        chunks = [requests[begin : begin + size] for begin in range(0, len(requests), size)]

        async def post(chunk: list[TransactionRequest]) -> list[Result]:
            async with self._chunk_slots:
                return await self._engine.post_many(chunk)

        chunk_results = await asyncio.gather(*(post(chunk) for chunk in chunks))
        results = [result for part in chunk_results for result in part]
        numbered_items: list[tuple[int, Item]] = list(enumerate(items, start=1))
        return build_outcome_lines(numbered_items, results, self._options.decimals, grant)

    async def _post_atomic(
        self, items: list[TransactionRequest | InvalidRequestError], grant: Grant
    ) -> list[Any]:
        faults = [
            InvalidField(f"[{index}].{fault.field}", fault.message)
            for index, item in enumerate(items)
            if isinstance(item, InvalidRequestError)
            for fault in item.faults
        ]
        if faults:
            raise InvalidRequestError(faults)
        requests = [item for item in items if isinstance(item, TransactionRequest)]
        for index, request in enumerate(requests):
            if not grant.includes_user(request.user_id):
                problem = problems.build_forbidden_user(request.user_id)
                raise ProblemError(
                    problems.build_atomic_array_refused(index, request, problem, recorded=False)
                )
        if self._engine.by_shard:
            _require_one_shard(requests)
        try:
            decisions = await self._engine.post_atomic(requests)
        except EngineError as error:
            raise ProblemError(problems.convert_engine_error(error)) from error
        for index, (request, decision) in enumerate(zip(requests, decisions, strict=True)):
            if decision.outcome is not Outcome.POSTED:
                raise ProblemError(self._build_refusal_problem(index, request, decision, grant))
        numbered_items: list[tuple[int, Item]] = list(enumerate(requests, start=1))
        return build_outcome_lines(numbered_items, list(decisions), self._options.decimals, grant)

    def _build_refusal_problem(
        self, index: int, request: TransactionRequest, decision: Decision, grant: Grant
    ) -> problems.Problem:
        reveal = may_see(grant, decision)
        problem = problems.convert_decision(
            request, decision, self._options.decimals, reveal=reveal
        )
        return problems.build_atomic_array_refused(
            index, request, problem, recorded=decision.replayed
        )


class IncompleteResponseError(Exception):
    """Raised when a response has begun and can't be completed. The connection is then closed, by which the client
    detects the failure."""


def _charge_rate_limit(items: Sequence[object], grant: Grant) -> None:
    """Count an array against the key's rate limit. The request itself has been counted already.

    Raises:
        InvalidRequestError: The array has more transactions than the rate limit allows in one request.
    """
    bucket = grant.bucket
    if bucket is None:
        return
    if len(items) > bucket.request_tokens_max:
        count = bucket.request_tokens_max
        expected = (
            f"must have at most {count} transactions: the key's rate limit allows no more at once"
        )
        raise InvalidRequestError(
            [InvalidField("body", f"{expected} (SALDO_RATE_DEBT_SECONDS_MAX)")]
        )
    bucket.overdraw(len(items) - 1)


def _set_ending(ending: asyncio.Future[Problem], problem: Problem) -> None:
    if not ending.done():
        ending.set_result(problem)


async def _prepend_piece(first: bytes, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in pieces:
        yield piece


def _require_one_shard(requests: list[TransactionRequest]) -> None:
    shard = compute_shard(requests[0].user_id)
    others = [
        InvalidField(
            f"[{index}].user_id",
            f"must be {shard} modulo {SHARDS}, like that of the first item: on a distributed ledger, the users of all "
            "transactions of an atomic array must be in the same shard",
        )
        for index, request in enumerate(requests)
        if compute_shard(request.user_id) != shard
    ]
    if others:
        raise InvalidRequestError(others)


def _parse_atomic_parameter(query: bytes, *, is_stream: bool) -> bool:
    """Return whether the query has `atomic=true`.

    Raises:
        InvalidRequestError: The query is invalid, or `atomic=true` is combined with a stream.
    """
    parameters = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    faults = FaultCollector()
    faults.extend(find_unknown_parameters((name for name, _ in parameters), ("atomic",)))
    values = [value for name, value in parameters if name == "atomic"]
    if not {"true", "false"}.issuperset(values):
        faults.add("atomic", "must be true or false")
    if is_stream and values == ["true"]:
        faults.add("atomic", "is allowed for JSON arrays only")
    faults.raise_if_any()
    return values == ["true"]
