"""Answers of the server itself, before any route: too many connections, and what can't be read.

The server has its own, in plain text; these are problems, as every other error is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from saldo.http import problems
from saldo.http.problems import Problem
from saldo.http.sending import answered, request_id_of, send_answer

SPARED: Final = frozenset({"/healthz/live", "/healthz/ready", "/healthz/startup", "/metrics"})
"""Who looks at a crowded service must see it: a probe that is refused has it killed."""

_CLOSE: Final = ("connection", "close")

Application = Callable[[Any, Any, Any], Awaitable[None]]


class Crowded:
    """The application while more connections are open than may be."""

    def __init__(self, application: Application) -> None:
        self._application = application

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] in SPARED:
            await self._application(scope, receive, send)
            return
        answered(scope["method"], "other", 503)
        request_id = request_id_of(dict(scope["headers"]).get(b"x-request-id"))
        answer = problems.crowded().answer(request_id)
        # Closed, or the connections would stay as many as they are.
        answer = answer._replace(headers=(*answer.headers, _CLOSE))
        await send_answer(scope, send, answer, request_id)


class Refused:
    """The application for what can't be answered as it should be."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        answered(scope["method"], "other", self._problem.status)
        request_id = request_id_of(dict(scope["headers"]).get(b"x-request-id"))
        await send_answer(scope, send, self._problem.answer(request_id), request_id)
