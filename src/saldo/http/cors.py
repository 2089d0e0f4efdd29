"""CORS: pages of the origins that the operator allows may call the API from a browser.

CORS is off unless `SALDO_CORS_ORIGINS` names origins. It gives no access by itself: a page still needs a key.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from starlette.middleware.cors import CORSMiddleware

from saldo.http.request_state import get_request_state

AsgiApplication = Callable[[Any, Any, Any], Awaitable[None]]

_METHODS: Final = ("GET", "POST", "PATCH", "DELETE")
_ALLOWED_HEADERS: Final = (
    *("authorization", "content-type", "idempotency-key"),
    *("last-event-id", "traceparent", "tracestate", "x-request-id"),
)
_EXPOSED_HEADERS: Final = ("idempotent-replayed", "retry-after", "x-request-id")
"""Response headers that a page may read, in addition to those that browsers always expose."""

_ORIGIN: Final = b"origin"


class CorsApp:
    """The application with CORS. It answers preflight requests itself, because they carry no key."""

    def __init__(self, application: AsgiApplication, origins: tuple[str, ...]) -> None:
        self._application = application
        self._middleware = CORSMiddleware(
            application,
            allow_origins=origins,
            allow_methods=_METHODS,
            allow_headers=_ALLOWED_HEADERS,
            expose_headers=_EXPOSED_HEADERS,
        )

    def __call__(self, scope: Any, receive: Any, send: Any) -> Awaitable[None]:
        if all(name != _ORIGIN for name, _ in scope["headers"]):
            return self._application(scope, receive, send)
        get_request_state(scope).is_send_wrapped = True
        return self._middleware(scope, receive, send)
