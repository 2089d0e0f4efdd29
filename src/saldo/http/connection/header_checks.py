"""Checks of a request's head that the parser does not make.

A request is rejected if a proxy and the service could interpret it differently. Otherwise the proxy could forward a
request that it would have stopped if it had interpreted the request like the service.
"""

from __future__ import annotations

from typing import Any, Final

import httptools

from saldo.http import problems
from saldo.http.problems import Problem

UNREPEATABLE_HEADERS: Final = (
    b"authorization",
    b"content-type",
    b"host",
    b"idempotency-key",
    b"last-event-id",
)
"""Headers that must not be repeated, because they determine what the request means. The parser itself checks the
headers that determine the length of the body."""

VERSIONS: Final = ("1.1", "1.0")

HEADER_OVERHEAD_BYTES: Final = 4
"""Number of bytes in a header's line in addition to name and value: colon, space and line end."""

_AMBIGUOUS_IN_PATH: Final = (b"//", b"%00", b"%2f", b"%5c")
"""Parts of a path that programs interpret differently. Some routers skip empty segments, a NUL ends a string
in C, and routers disagree on encoded slashes and backslashes."""


class _DiscardedTrailers(list[tuple[bytes, bytes]]):
    """A list that discards what is appended to it."""

    def append(self, _: tuple[bytes, bytes]) -> None:
        """Discard the item."""


DISCARDED_TRAILERS: Final = _DiscardedTrailers()
"""The list to which the parser adds the trailers of a body. The list discards them."""


class InvalidHeadersError(Exception):
    """Raised in a callback of the parser to reject the request that is being read. The exception stops the parser."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.code)
        self.problem = problem


def measure_head(url: bytes, headers: list[tuple[bytes, bytes]]) -> int:
    """Return the length of a head in bytes, without the method and the version."""
    return len(url) + sum(len(name) + len(value) + HEADER_OVERHEAD_BYTES for name, value in headers)


def is_ambiguous_path(url: bytes) -> bool:
    """Return whether a router in front of the service could interpret the URL as another path.

    Args:
        url: A URL that contains `%` or `//`.
    """
    path = (httptools.parse_url(url).path or b"").lower()
    return any(is_unclear in path for is_unclear in _AMBIGUOUS_IN_PATH)


def remove_upgrade(
    method: bytes, url: bytes, version: str, headers: list[tuple[bytes, bytes]]
) -> bytes:
    """Return the bytes of a request's head without the headers that ask for an upgrade to another protocol.

    The parser treats a request with an upgrade as the connection's last HTTP request and skips its body. A server may
    ignore an upgrade (RFC 9110, 7.8), and some clients ask for one in the first request of every connection.
    """
    tokens = {
        token.strip().lower()
        for name, value in headers
        if name == b"connection"
        for token in value.split(b",")
    }
    kept_headers = [header for header in headers if header[0] not in {b"connection", b"upgrade"}]
    kept_headers += [
        (b"connection", token) for token in (b"close", b"keep-alive") if token in tokens
    ]
    lines = b"".join([b"%b: %b\r\n" % header for header in kept_headers])
    return b"%b %b HTTP/%b\r\n%b\r\n" % (method, url, version.encode(), lines)


def find_header_problem(scope: Any, headers: dict[bytes, bytes]) -> Problem | None:
    """Return the problem with the headers of an ASGI request, or None if they are valid.

    Args:
        headers: The headers of the scope, with one value for a repeated name.
    """
    if b"host" not in headers and scope["http_version"] == "1.1":
        return problems.build_wrong_header("Host", "is missing")
    coding = headers.get(b"transfer-encoding", b"chunked").lower()
    if coding != b"chunked":
        return problems.build_wrong_header("Transfer-Encoding", "must be chunked")
    if b"transfer-encoding" in headers and scope["http_version"] == "1.0":
        return problems.build_wrong_header("Transfer-Encoding", "is unknown to HTTP/1.0")
    names = [name for name, _ in scope["headers"]]
    for name in UNREPEATABLE_HEADERS:
        if names.count(name) > 1:
            return problems.build_wrong_header(name.decode().title(), "is given more than once")
    return None
