"""The least that an ASGI application does: what came in goes out. A GET gets a balance's worth of JSON."""

from __future__ import annotations

from typing import Any

BALANCE = b'{"user_id":12345,"balance":"1234.56","date":null,"before":null,"known_at":null}'


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the request's body."""
    if scope["type"] != "http":
        return
    message = await receive()
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": message["body"] or BALANCE})
