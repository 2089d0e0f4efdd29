"""What a request's head must and must not have, beyond what the parser sees to.

Whatever two programs on a request's way could read in two ways is refused: a proxy that took the one reading would
let through what it should have stopped.
"""

from __future__ import annotations

from typing import Any, Final

import httptools

from saldo.http import problems
from saldo.http.problems import Problem

ONCE: Final = (b"authorization", b"content-type", b"host", b"idempotency-key", b"last-event-id")
"""Headers that say what a request is; the parser sees to those that say how long it is."""

VERSIONS: Final = ("1.1", "1.0")

LINE_BYTES: Final = 4
"""Of a header's line beside name and value: colon, space and the line's end."""

_UNCLEAR_IN_PATH: Final = (b"//", b"%00", b"%2f", b"%5c")
"""An empty segment, which routers pass over; an end for programs in C; slashes that routers don't agree on."""


class RefusedError(Exception):
    """The request being read is refused. Raised in a callback of the parser, which it stops."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.code)
        self.problem = problem


def head_bytes(url: bytes, headers: list[tuple[bytes, bytes]]) -> int:
    """How long a head is, but for the method and the version."""
    return len(url) + sum(len(name) + len(value) + LINE_BYTES for name, value in headers)


def unclear_path(url: bytes) -> bool:
    """Whether a router in front of us may have seen another path. `url`: one that has `%` or `//`."""
    path = (httptools.parse_url(url).path or b"").lower()
    return any(unclear in path for unclear in _UNCLEAR_IN_PATH)


def without_upgrade(
    method: bytes, url: bytes, version: str, headers: list[tuple[bytes, bytes]]
) -> bytes:
    """The same head from a client that doesn't ask for another protocol.

    The parser takes a request that does for the last one of HTTP: it passes over the body. A server may ignore the
    question (RFC 9110, 7.8), and some clients ask with every first request of a connection.
    """
    tokens = {
        token.strip().lower()
        for name, value in headers
        if name == b"connection"
        for token in value.split(b",")
    }
    kept = [header for header in headers if header[0] not in {b"connection", b"upgrade"}]
    kept += [(b"connection", token) for token in (b"close", b"keep-alive") if token in tokens]
    lines = b"".join([b"%b: %b\r\n" % header for header in kept])
    return b"%b %b HTTP/%b\r\n%b\r\n" % (method, url, version.encode(), lines)


def fault_of(scope: Any, headers: dict[bytes, bytes]) -> Problem | None:
    """What is wrong with the headers of an ASGI request, if anything is.

    Args:
        headers: those of the scope; of several lines with one name, one.
    """
    if b"host" not in headers and scope["http_version"] == "1.1":
        return problems.wrong_header("Host", "is missing")
    coding = headers.get(b"transfer-encoding", b"chunked").lower()
    if coding != b"chunked":
        return problems.wrong_header("Transfer-Encoding", "must be chunked")
    if b"transfer-encoding" in headers and scope["http_version"] == "1.0":
        return problems.wrong_header("Transfer-Encoding", "is unknown to HTTP/1.0")
    names = [name for name, _ in scope["headers"]]
    for name in ONCE:
        if names.count(name) > 1:
            return problems.wrong_header(name.decode().title(), "is given more than once")
    return None
