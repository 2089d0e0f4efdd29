"""What each raw answer needs: the request's id, the count, the fault behind a 500, the two messages."""

from __future__ import annotations

import itertools
import logging
import re
import secrets
from functools import cache
from typing import Any, Final

from saldo.http import problems
from saldo.http.answers import Answer
from saldo.http.body import BodyTooLargeError
from saldo.observability.metrics import HTTP_REQUESTS

_log = logging.getLogger("saldo.http")
_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_prefix: Final = secrets.token_hex(6)
_count: Final = itertools.count(1)


def request_id_of(given: bytes | None) -> str:
    """The client's own `X-Request-Id` if it is fit for a log, or a new one."""
    if given is not None and _REQUEST_ID.fullmatch(given):
        return given.decode()
    return f"{_prefix}-{next(_count):x}"


@cache
def answered(method: str, route: str, status: int) -> Any:
    """The counter of a raw route's answers: looking a label up costs more than counting."""
    return HTTP_REQUESTS.labels(method, route, str(status))


def failed(error: Exception, request_id: str) -> Answer:
    """The answer to what went wrong before an answer began."""
    if isinstance(error, BodyTooLargeError):
        return problems.body_too_large(error.bytes_max).answer(request_id)
    _log.error("request %s failed", request_id, exc_info=error)
    return problems.internal().answer(request_id)


async def send_answer(scope: Any, send: Any, answer: Answer, request_id: str) -> None:
    """Sends an answer: in one piece where the server can (`saldo.http.protocol`)."""
    whole = scope["extensions"].get("saldo.answer") if "extensions" in scope else None
    if whole is not None and whole(scope, answer.status, _head_of(answer, request_id), answer.body):
        return
    headers = [
        (b"content-type", answer.media_type.encode()),
        (b"content-length", str(len(answer.body)).encode()),
        (b"x-request-id", request_id.encode()),
    ]
    headers += [(name.encode(), value.encode()) for name, value in answer.headers]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


def _head_of(answer: Answer, request_id: str) -> bytes:
    lines = (
        f"content-type: {answer.media_type}\r\n"
        f"content-length: {len(answer.body)}\r\n"
        f"x-request-id: {request_id}\r\n"
    )
    for name, value in answer.headers:
        lines += f"{name}: {value}\r\n"
    return lines.encode()
