"""Pages of other origins, where the operator allows some: their browsers are told that they may ask.

Off unless `SALDO_CORS_ORIGINS` names origins. It opens nothing by itself: a page still needs a key.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from starlette.middleware.cors import CORSMiddleware

Application = Callable[[Any, Any, Any], Awaitable[None]]

_METHODS: Final = ("GET", "POST", "PATCH", "DELETE")
_SENT: Final = (
    *("authorization", "content-type", "idempotency-key"),
    *("last-event-id", "traceparent", "x-request-id"),
)
_SHOWN: Final = ("idempotent-replayed", "retry-after", "x-request-id")
"""Headers of answers that a page may read, beside those that any may."""

_ORIGIN: Final = b"origin"


class CrossOrigin:
    """The application, for such pages as well. A preflight is answered here: it carries no key."""

    def __init__(self, application: Application, origins: tuple[str, ...]) -> None:
        self._application = application
        self._middleware = CORSMiddleware(
            application,
            allow_origins=origins,
            allow_methods=_METHODS,
            allow_headers=_SENT,
            expose_headers=_SHOWN,
        )

    def __call__(self, scope: Any, receive: Any, send: Any) -> Awaitable[None]:
        if all(name != _ORIGIN for name, _ in scope["headers"]):
            return self._application(scope, receive, send)
        # An answer in one piece would go past the middleware.
        scope["extensions"] = {
            name: extension
            for name, extension in scope.get("extensions", {}).items()
            if name != "saldo.answer"
        }
        return self._middleware(scope, receive, send)
