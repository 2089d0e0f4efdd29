"""The framework's requests, as the handlers read them."""

from __future__ import annotations

from typing import Any

from litestar import Request
from litestar.datastructures import State

from saldo.http import problems
from saldo.http.problems import ProblemError
from saldo.http.request_body import is_json
from saldo.http.request_state import get_request_state

HttpRequest = Request[Any, Any, State]


def get_request_id(request: Request[Any, Any, Any]) -> str:
    """Return the id that `saldo.http.asgi` assigned to this request."""
    return get_request_state(request.scope).request_id


async def read_json_body(request: HttpRequest) -> bytes:
    """Return the body, which must be JSON.

    Raises:
        ProblemError: The `Content-Type` is not JSON (415).
    """
    content_type = request.headers.get("content-type", "")
    if not is_json(content_type):
        raise ProblemError(problems.build_unsupported_media_type(content_type))
    return await request.body()
