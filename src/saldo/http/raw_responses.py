"""Responses without the framework: request ids, metrics, the log of failures, and the messages of ASGI."""

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
from saldo.http.request_body import BodyTooLargeError
from saldo.http.request_state import get_request_state
from saldo.http.responses import RawResponse
from saldo.http.security_headers import NO_STORE
from saldo.observability.logs import TRACE_ID, LogRateLimiter
from saldo.observability.metrics import HTTP_REQUESTS, HTTP_SECONDS

SLOW_LOG_INTERVAL_SECONDS: Final = 0.1
"""Minimum interval between two log lines about slow requests, in seconds. If all requests are slow, a line for
each would make them slower."""

_log = logging.getLogger("saldo.http")
_slow_log = structlog.get_logger("saldo.http")
_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_id_prefix: Final = secrets.token_hex(6)
_id_counter: Final = itertools.count(1)


def accept_or_create_request_id(header_value: bytes | None) -> str:
    """Return the client's own `X-Request-Id` if it is safe to log, or else a new id."""
    if header_value is not None and _REQUEST_ID.fullmatch(header_value):
        return header_value.decode()
    return f"{_id_prefix}-{next(_id_counter):x}"


class SlowRequestLog:
    """The log of slow requests of this process.

    Attributes:
        seconds: Minimum duration of a slow request. `saldo.http.litestar_app` sets it at the start.
    """

    def __init__(self) -> None:
        self.seconds = float("inf")
        self._lines = LogRateLimiter(SLOW_LOG_INTERVAL_SECONDS)

    def log(
        self, method: str, route: str, status: int, seconds: float, parts: dict[str, float]
    ) -> None:
        """Log a slow request, unless another was logged just before.

        The time that the request has spent in the engine is in the log line of its batch
        (`saldo.observability.batch_reports`).
        """
        left_out = self._lines.take_turn()
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


slow_request_log: Final = SlowRequestLog()


METHODS: Final = frozenset({"GET", "HEAD", "POST", "PATCH", "PUT", "DELETE", "OPTIONS"})
"""Methods that are labels of metrics. The parser knows thirty more, which no route supports."""


@cache
def _find_metrics(method: str, route: str, status: int) -> tuple[Any, Any]:
    # Looking labels up costs more than counting.
    method = method if method in METHODS else "other"
    counter = HTTP_REQUESTS.labels(method, route, str(status))
    return counter.inc, HTTP_SECONDS.labels(method, route).observe


def record_response(
    method: str,
    route: str,
    status: int,
    began_at: float | None = None,
    read_at: float | None = None,
) -> None:
    """Count a response, and record its duration.

    Args:
        began_at: Time by `time.perf_counter` at which the request had arrived; None if its duration is meaningless.
        read_at: Time by the same clock at which the body had arrived; None if it was not measured.
    """
    count, observe = _find_metrics(method, route, status)
    count()
    if began_at is None:
        return
    seconds = time.perf_counter() - began_at
    trace_id = TRACE_ID.get()
    observe(seconds, None if trace_id is None else {"trace_id": trace_id})
    if seconds >= slow_request_log.seconds:
        parts = {} if read_at is None else {"body_seconds": round(read_at - began_at, 3)}
        slow_request_log.log(method, route, status, seconds, parts)


def count_responses(method: str, route: str, status: int, count: int) -> None:
    """Count several responses of one kind. Their duration is negligible and not recorded."""
    HTTP_REQUESTS.labels(method, route, str(status)).inc(count)


def build_error_response(error: Exception, request_id: str) -> RawResponse:
    """Return the response to an exception that was raised before a response began. The status is 413 if the body is too
    large. Otherwise the status is 500, and the exception is logged."""
    if isinstance(error, BodyTooLargeError):
        return problems.build_body_too_large(error.bytes_max).build_response(request_id)
    _log.error("request %s failed", request_id, exc_info=error)
    return problems.build_internal().build_response(request_id)


def get_client_method(scope: Any) -> str:
    """Return the method that the client sent. HEAD is processed as GET (`saldo.http.asgi`)."""
    return "HEAD" if get_request_state(scope).is_head else str(scope["method"])


async def send_response(scope: Any, send: Any, answer: RawResponse, request_id: str) -> None:
    """Send a response, in one piece if the server can (`saldo.http.connection.protocol`)."""
    headers = [
        (b"content-type", answer.media_type.encode()),
        (b"content-length", str(len(answer.body)).encode()),
        (b"x-request-id", request_id.encode()),
    ]
    if answer.status == 204:  # has no body, and must not have a length (RFC 9110, 8.6)
        del headers[:2]
    if answer.headers:
        headers += [(name.encode(), value.encode()) for name, value in answer.headers]
    state = get_request_state(scope)
    connection = state.connection
    if (
        connection is not None
        and not state.is_send_wrapped
        and connection.send_whole(scope, answer.status, headers, answer.body)
    ):
        return
    headers.append(NO_STORE)
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
