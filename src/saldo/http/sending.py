"""What each raw answer needs: the request's id, the count, the fault behind a 500, the two messages."""

from __future__ import annotations

import itertools
import logging
import re
import secrets
import time
from functools import cache
from typing import Any, Final

import structlog

from saldo.http import problems
from saldo.http.answers import Answer
from saldo.http.body import BodyTooLargeError
from saldo.http.pages import NO_STORE
from saldo.observability.logs import TRACE_ID, Occasionally
from saldo.observability.metrics import HTTP_REQUESTS, HTTP_SECONDS

SLOW_LINE_SECONDS: Final = 0.1
"""Between two lines about slow requests: when all are slow, a line for each would make them slower."""

_log = logging.getLogger("saldo.http")
_slow_log = structlog.get_logger("saldo.http")
_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_prefix: Final = secrets.token_hex(6)
_count: Final = itertools.count(1)


def request_id_of(given: bytes | None) -> str:
    """The client's own `X-Request-Id` if it is fit for a log, or a new one."""
    if given is not None and _REQUEST_ID.fullmatch(given):
        return given.decode()
    return f"{_prefix}-{next(_count):x}"


class SlowRequests:
    """Tells of requests that took long. Of this process, as the counters are.

    Attributes:
        seconds: from how many on; set at the start (`saldo.http.app`).
    """

    def __init__(self) -> None:
        self.seconds = float("inf")
        self._lines = Occasionally(SLOW_LINE_SECONDS)

    def tell(
        self, method: str, route: str, status: int, seconds: float, parts: dict[str, float]
    ) -> None:
        """Logs one, if none was just now. What it waited for in the engine is told of its batch."""
        left_out = self._lines.left_out()
        if left_out is not None:
            _slow_log.warning(
                "slow request",
                method=method,
                route=route,
                status=status,
                seconds=round(seconds, 3),
                left_out=left_out,
                **parts,
            )


slow: Final = SlowRequests()


@cache
def _metrics(method: str, route: str, status: int) -> tuple[Any, Any]:
    # Looking labels up costs more than counting.
    counter = HTTP_REQUESTS.labels(method, route, str(status))
    return counter.inc, HTTP_SECONDS.labels(method, route).observe


def answered(
    method: str,
    route: str,
    status: int,
    began: float | None = None,
    read_at: float | None = None,
) -> None:
    """Counts an answer.

    Args:
        began: when the request had come, of `time.perf_counter`; None: how long it took tells nothing.
        read_at: when its body had come, too.
    """
    count, observe = _metrics(method, route, status)
    count()
    if began is None:
        return
    seconds = time.perf_counter() - began
    trace_id = TRACE_ID.get()
    observe(seconds, None if trace_id is None else {"trace_id": trace_id})
    if seconds >= slow.seconds:
        parts = {} if read_at is None else {"body_seconds": round(read_at - began, 3)}
        slow.tell(method, route, status, seconds, parts)


def count_answered(method: str, route: str, status: int, count: int) -> None:
    """Counts answers of one kind that took no time to speak of."""
    HTTP_REQUESTS.labels(method, route, str(status)).inc(count)


def failed(error: Exception, request_id: str) -> Answer:
    """The answer to what went wrong before an answer began."""
    if isinstance(error, BodyTooLargeError):
        return problems.body_too_large(error.bytes_max).answer(request_id)
    _log.error("request %s failed", request_id, exc_info=error)
    return problems.internal().answer(request_id)


async def send_answer(scope: Any, send: Any, answer: Answer, request_id: str) -> None:
    """Sends an answer: in one piece where the server can (`saldo.http.protocol`)."""
    headers = [
        (b"content-type", answer.media_type.encode()),
        (b"content-length", str(len(answer.body)).encode()),
        (b"x-request-id", request_id.encode()),
    ]
    headers += [(name.encode(), value.encode()) for name, value in answer.headers]
    whole = scope["extensions"].get("saldo.answer") if "extensions" in scope else None
    if whole is not None and whole(scope, answer.status, headers, answer.body):
        return
    headers.append(NO_STORE)
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
