"""The raw ASGI front: the hot routes, and what every request gets whichever route takes it.

`POST /v1/transaction` goes past the framework's router (it costs half of the throughput), and so does the
streaming `POST /v1/transactions`; all else goes to the framework. The answers of the first are the same:
both call `saldo.http.transactions`.
"""

from __future__ import annotations

import itertools
import logging
import re
import secrets
from collections.abc import Awaitable
from functools import cache
from typing import Any, Final

from saldo.http import problems
from saldo.http.answers import Answer
from saldo.http.body import BodyTooLargeError, ClientGoneError, body_of
from saldo.http.bulk import StreamBrokenError
from saldo.http.service import Service
from saldo.observability.metrics import HTTP_REQUESTS

HOT_PATH: Final = "/v1/transaction"
BULK_PATH: Final = "/v1/transactions"
BALANCE_PATH: Final = "/v1/user/{user_id}/balance"
TRANSACTION_PATH: Final = "/v1/transaction/{uuid}"
_QUESTION: Final = re.compile(r"/v1/(?:user/([^/]+)/balance|transaction/([^/]+))")

_log = logging.getLogger("saldo.http")
_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_prefix: Final = secrets.token_hex(6)
_count: Final = itertools.count(1)

Scope = dict[str, Any]


class Front:
    """The ASGI application that the server runs."""

    def __init__(self, framework: Any, service: Service) -> None:
        self.service = service
        self._framework = framework
        self._transactions = service.transactions
        self._bulk = service.bulk
        self._questions = service.questions
        self._body_bytes_max = service.settings.body_bytes_max

    def __call__(self, scope: Scope, receive: Any, send: Any) -> Awaitable[None]:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        request_id = _request_id(headers.get(b"x-request-id"))
        if scope["method"] == "POST":
            query: bytes = scope["query_string"]
            if scope["path"] == HOT_PATH and not query:
                return self._post(headers, request_id, receive, send)
            if scope["path"] == BULK_PATH:
                return self._post_many(headers, query, request_id, receive, send)
        elif scope["method"] == "GET" and not scope["query_string"]:
            question = _QUESTION.fullmatch(scope["path"])
            if question is not None:
                return self._get(question[1], question[2], request_id, send)
        return self._hand_on(scope, request_id, receive, send)

    def drain(self) -> None:
        """The server is about to stop: streams must end."""
        self._bulk.stop()

    async def _hand_on(self, scope: Scope, request_id: str, receive: Any, send: Any) -> None:
        """To the framework; its answers too carry the id and are counted."""
        scope.setdefault("state", {})["request_id"] = request_id

        async def send_with_id(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message.get("headers", ()),
                    (b"x-request-id", request_id.encode()),
                ]
                route = scope.get("path_template") or "other"
                HTTP_REQUESTS.labels(scope["method"], route, str(message["status"])).inc()
            await send(message)

        await self._framework(scope, receive, send_with_id)

    async def _post(
        self, headers: dict[bytes, bytes], request_id: str, receive: Any, send: Any
    ) -> None:
        try:
            body = await body_of(receive, headers, self._body_bytes_max)
            key = headers.get(b"idempotency-key")
            answer = await self._transactions.post(
                body,
                headers.get(b"content-type", b"").decode("latin-1"),
                None if key is None else key.decode("latin-1"),
                request_id,
            )
        except ClientGoneError:
            return
        except Exception as error:
            answer = failed(error, request_id)
        _answered("POST", HOT_PATH, answer.status).inc()
        await _send(send, answer, request_id)

    async def _get(self, user_id: str | None, uuid: str | None, request_id: str, send: Any) -> None:
        route = BALANCE_PATH if user_id is not None else TRANSACTION_PATH
        try:
            if user_id is not None:
                answer = await self._questions.balance_now(user_id, request_id)
            else:
                answer = await self._questions.transaction(uuid or "", request_id)
        except Exception as error:
            answer = failed(error, request_id)
        _answered("GET", route, answer.status).inc()
        await _send(send, answer, request_id)

    async def _post_many(
        self, headers: dict[bytes, bytes], query: bytes, request_id: str, receive: Any, send: Any
    ) -> None:
        try:
            answer = await self._bulk.post(headers, query, request_id, receive, send)
        except (ClientGoneError, StreamBrokenError):
            return
        except Exception as error:
            answer = failed(error, request_id)
        _answered("POST", BULK_PATH, 200 if answer is None else answer.status).inc()
        if answer is not None:
            await _send(send, answer, request_id)


@cache
def _answered(method: str, route: str, status: int) -> Any:
    """The counter of a raw route's answers: looking a label up costs more than counting."""
    return HTTP_REQUESTS.labels(method, route, str(status))


def failed(error: Exception, request_id: str) -> Answer:
    """The answer to what went wrong before an answer began."""
    if isinstance(error, BodyTooLargeError):
        return body_too_large(error.bytes_max, request_id)
    _log.error("request %s failed", request_id, exc_info=error)
    return internal(request_id)


def body_too_large(body_bytes_max: int, request_id: str) -> Answer:
    """413."""
    return problems.problem(
        "body_too_large",
        f"The body has more than {body_bytes_max} bytes.",
        request_id=request_id,
        errors=[{"field": "body", "message": f"must have at most {body_bytes_max} bytes"}],
    )


def internal(request_id: str) -> Answer:
    """500, without internals."""
    return problems.problem(
        "internal",
        "Something went wrong on our side. A transaction may be sent again with the same uuid. "
        "Report the request_id.",
        request_id=request_id,
    )


def _request_id(given: bytes | None) -> str:
    if given is not None and _REQUEST_ID.fullmatch(given):
        return given.decode()
    return f"{_prefix}-{next(_count):x}"


async def _send(send: Any, answer: Answer, request_id: str) -> None:
    headers = [
        (b"content-type", answer.media_type.encode()),
        (b"content-length", str(len(answer.body)).encode()),
        (b"x-request-id", request_id.encode()),
    ]
    headers += [(name.encode(), value.encode()) for name, value in answer.headers]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
