"""ASGI applications that respond instead of the routes if too many connections are open or a request can't be read.

uvicorn would respond with plain text. These applications respond with `application/problem+json`, as the service does
for every other error.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from saldo.http import problems
from saldo.http.problems import Problem
from saldo.http.raw_responses import accept_or_create_request_id, record_response, send_response
from saldo.http.route_table import OTHER

EXEMPT_PATHS: Final = frozenset({"/healthz/live", "/healthz/ready", "/healthz/startup", "/metrics"})
"""Paths that are exempt from the limit of connections. Operators must be able to observe an overloaded service, and an
orchestrator would kill the service if its probes failed."""

_CLOSE: Final = ("connection", "close")

AsgiApplication = Callable[[Any, Any, Any], Awaitable[None]]
FindRouteLabel = Callable[[str, str], str]
"""Function that returns the label of the route for a method and a path (`saldo.http.route_table`)."""


def _label_as_other(_method: str, _path: str) -> str:
    return OTHER


class ConnectionLimitApp:
    """The application for connections above the limit. It responds with 503, except on the paths in `EXEMPT_PATHS`."""

    def __init__(
        self, application: AsgiApplication, find_route_label: FindRouteLabel = _label_as_other
    ) -> None:
        self._application = application
        self._find_route_label = find_route_label

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] in EXEMPT_PATHS:
            await self._application(scope, receive, send)
            return
        method = scope["method"]
        record_response(method, self._find_route_label(method, scope["path"]), 503)
        request_id = accept_or_create_request_id(dict(scope["headers"]).get(b"x-request-id"))
        answer = problems.build_too_many_connections().build_response(request_id)
        # The connection is closed, because otherwise the number of connections would not fall.
        answer = answer._replace(headers=(*answer.headers, _CLOSE))
        await send_response(scope, send, answer, request_id)


class ProblemApp:
    """An application that answers every request with the same problem."""

    def __init__(
        self, problem: Problem, find_route_label: FindRouteLabel = _label_as_other
    ) -> None:
        """
        Args:
            route_of: Returns the label of a request's route. The default counts the response under no route.
        """
        self._problem = problem
        self._find_route_label = find_route_label

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        method = scope["method"]
        record_response(method, self._find_route_label(method, scope["path"]), self._problem.status)
        request_id = accept_or_create_request_id(dict(scope["headers"]).get(b"x-request-id"))
        await send_response(scope, send, self._problem.build_response(request_id), request_id)


def build_placeholder_scope(method: str, path: str) -> dict[str, Any]:
    """Return the ASGI scope for the response to a request that can't be read."""
    return {
        "type": "http",
        "method": method,
        "path": path,
        "headers": [],
    }
