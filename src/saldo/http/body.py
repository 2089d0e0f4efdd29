"""Reading a request's body, bounded."""

from __future__ import annotations

from typing import Any, Final

CLIENT_GONE: Final = "client_gone"
"""In the state of a request whose client closed the connection before its body was whole: nobody is to be answered."""


class BodyTooLargeError(Exception):
    """More bytes than a body may have."""

    def __init__(self, bytes_max: int) -> None:
        super().__init__(bytes_max)
        self.bytes_max = bytes_max


class ClientGoneError(Exception):
    """The client closed the connection before its body was whole."""


async def body_of(receive: Any, headers: dict[bytes, bytes], bytes_max: int) -> bytes:
    """The whole body of an ASGI request.

    Raises:
        BodyTooLargeError, ClientGoneError: there is none.
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
            raise ClientGoneError
        if size > bytes_max:
            raise BodyTooLargeError(bytes_max)
        if not message.get("more_body", False):
            return body if len(pieces) == 1 else b"".join(pieces)
        message = await receive()
        body = message.get("body", b"")
        pieces.append(body)
        size += len(body)
