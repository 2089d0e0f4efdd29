"""The body of a request, which is read up to a maximum size, and its content type."""

from __future__ import annotations

from typing import Any


class BodyTooLargeError(Exception):
    """Raised when a body has more bytes than allowed."""

    def __init__(self, bytes_max: int) -> None:
        super().__init__(bytes_max)
        self.bytes_max = bytes_max


class ClientDisconnectedError(Exception):
    """Raised when the client closed the connection before its body was complete."""


async def read_body(receive: Any, headers: dict[bytes, bytes], bytes_max: int) -> bytes:
    """Return the whole body of an ASGI request.

    Raises:
        BodyTooLargeError: The body, or its declared length, exceeds `bytes_max`.
        ClientDisconnectedError: The client closed the connection before the body was complete.
    """
    length = headers.get(b"content-length", b"0")
    if length.isdigit() and int(length) > bytes_max:
        raise BodyTooLargeError(bytes_max)
    message = await receive()
    body: bytes = message.get("body", b"")
    pieces = [body]
    size = len(body)
    while True:
        if message["type"] == "http.disconnect":
            raise ClientDisconnectedError
        if size > bytes_max:
            raise BodyTooLargeError(bytes_max)
        if not message.get("more_body", False):
            return body if len(pieces) == 1 else b"".join(pieces)
        message = await receive()
        body = message.get("body", b"")
        pieces.append(body)
        size += len(body)


def is_json(content_type: str) -> bool:
    """Return whether a content type is JSON. An empty content type counts as JSON."""
    if content_type in {"application/json", ""}:
        return True
    media_type, _, parameters = content_type.lower().partition(";")
    media_type = media_type.strip()
    charset = parameters.strip().removeprefix("charset=").strip('" ')
    json = media_type == "application/json" or (
        media_type.startswith("application/") and media_type.endswith("+json")
    )
    return json and (not parameters.strip().startswith("charset=") or charset in {"utf-8", "utf8"})
