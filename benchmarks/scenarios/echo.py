"""A minimal ASGI application as a baseline.

It answers a request with the request's body, or with the JSON of a balance if the body is empty.
"""

from __future__ import annotations

from typing import Any

BALANCE = b'{"user_id":12345,"balance":"1234.56","date":null,"before":null,"known_at":null}'


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answer with the request's body, or with a balance if the body is empty."""
    if scope["type"] != "http":
        return
    message = await receive()
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": message["body"] or BALANCE})
