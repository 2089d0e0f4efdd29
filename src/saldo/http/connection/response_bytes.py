"""The bytes of a whole response, built in one piece."""

from __future__ import annotations

from typing import Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from saldo.http.security_headers import NO_STORE

Headers = list[tuple[bytes, bytes]]


class ResponseBuilder:
    """A builder of whole responses. It caches the header lines that all responses have in common."""

    def __init__(self) -> None:
        self._default_headers: Headers | None = None
        self._default_lines = b""

    def build(self, status: int, default_headers: Headers, headers: Headers, body: bytes) -> bytes:
        """Return a response.

        Args:
            status: The status code.
            default_headers: The server's own headers. The server replaces the list when a header (the date) changes.
            headers: The headers of the response. They are not checked.
            body: The whole body.
        """
        if self._default_headers is not default_headers:
            self._default_headers = default_headers
            self._default_lines = encode_header_lines([*default_headers, NO_STORE])
        lines = encode_header_lines(headers)
        return b"".join((STATUS_LINE[status], self._default_lines, lines, b"\r\n", body))


RESPONSES: Final = ResponseBuilder()
"""The builder that all connections of a process share."""


def encode_header_lines(headers: Headers) -> bytes:
    """Return the lines of headers."""
    return b"".join([b"%b: %b\r\n" % header for header in headers])
