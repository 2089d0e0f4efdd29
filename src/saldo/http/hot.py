"""The raw ASGI front: the hot route, and what every request gets whichever route takes it.

`POST /v1/transaction` goes past the framework's router (it costs half of the throughput); all else
goes to the framework. The answers are the same: both call `saldo.http.transactions`.
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
from saldo.http.service import Service
from saldo.observability.metrics import HTTP_REQUESTS

HOT_PATH: Final = "/v1/transaction"

_log = logging.getLogger("saldo.http")
_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_prefix: Final = secrets.token_hex(6)
_count: Final = itertools.count(1)

Scope = dict[str, Any]


class BodyTooLargeError(Exception):
    """More bytes than a body may have."""


class ClientGoneError(Exception):
    """The client closed the connection before its body was whole."""


class Front:
    """The ASGI application that the server runs."""

    def __init__(self, framework: Any, service: Service) -> None:
        self.service = service
        self._framework = framework
        self._transactions = service.transactions
        self._body_bytes_max = service.settings.body_bytes_max

    def __call__(self, scope: Scope, receive: Any, send: Any) -> Awaitable[None]:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        request_id = _request_id(headers.get(b"x-request-id"))
        if scope["path"] == HOT_PATH and scope["method"] == "POST":
            return self._post(headers, request_id, receive, send)
        return self._hand_on(scope, request_id, receive, send)

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
            body = await _body(receive, headers, self._body_bytes_max)
            key = headers.get(b"idempotency-key")
            answer = await self._transactions.post(
                body,
                headers.get(b"content-type", b"").decode("latin-1"),
                None if key is None else key.decode("latin-1"),
                request_id,
            )
        except ClientGoneError:
            return
        except BodyTooLargeError:
            answer = body_too_large(self._body_bytes_max, request_id)
        except Exception:
            _log.exception("request %s failed", request_id)
            answer = internal(request_id)
        _answered(answer.status).inc()
        await _send(send, answer, request_id)


@cache
def _answered(status: int) -> Any:
    """The counter of the hot route's answers: looking a label up costs more than counting."""
    return HTTP_REQUESTS.labels("POST", HOT_PATH, str(status))


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


async def _body(receive: Any, headers: dict[bytes, bytes], bytes_max: int) -> bytes:
    length = headers.get(b"content-length", b"0")
    if length.isdigit() and int(length) > bytes_max:
        raise BodyTooLargeError
    body = b""
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        body += message.get("body", b"")
        if len(body) > bytes_max:
            raise BodyTooLargeError
        more = message.get("more_body", False)
    return body


async def _send(send: Any, answer: Answer, request_id: str) -> None:
    headers = [
        (b"content-type", answer.media_type.encode()),
        (b"content-length", str(len(answer.body)).encode()),
        (b"x-request-id", request_id.encode()),
    ]
    headers += [(name.encode(), value.encode()) for name, value in answer.headers]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
