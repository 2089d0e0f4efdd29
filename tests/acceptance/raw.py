"""Bytes over a socket, as no client would send them, and the answers that come back."""

from __future__ import annotations

import json
import socket
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from uuid import uuid4

SECONDS_MAX = 60
"""Until a test gives up; no test waits so long."""

PROBE = b"GET /healthz/live HTTP/1.1\r\nhost: localhost\r\n"
LAST = PROBE + b"connection: close\r\n\r\n"
"""Answered if what came before it was read up to its end and not beyond."""


class Answer(NamedTuple):
    """One of the answers of a connection."""

    status: int
    headers: dict[str, str]
    content: Any


def connect(url: str, receive_bytes: int | None = None) -> socket.socket:
    """A connection. `receive_bytes`: what the system keeps for one who doesn't read."""
    parts = urlsplit(url)
    connection = socket.socket()
    if receive_bytes is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    connection.settimeout(SECONDS_MAX)
    connection.connect((parts.hostname or "", parts.port or 0))
    return connection


def read_to_end(connection: socket.socket) -> bytes:
    """Everything until the server ends the connection, in whatever way."""
    received = b""
    try:
        while piece := connection.recv(65536):
            received += piece
    except ConnectionResetError:
        pass
    return received


def exchange(url: str, *pieces: bytes) -> bytes:
    """Sends the pieces and reads to the end."""
    with connect(url) as connection:
        for piece in pieces:
            try:
                connection.sendall(piece)
            except (BrokenPipeError, ConnectionResetError):
                break  # it need not read what it has refused
        return read_to_end(connection)


def answers_of(received: bytes) -> list[Answer]:
    """The whole answers; fails if there is anything beside them."""
    found = []
    while received:
        head, blank, received = received.partition(b"\r\n\r\n")
        assert blank, head
        status, *lines = head.decode().split("\r\n")
        version, code = status.split(" ")[:2]
        assert version == "HTTP/1.1", head
        headers = dict(line.split(": ", 1) for line in lines)
        if code == "100":
            continue
        length = int(headers["content-length"])
        assert len(received) >= length, (head, received)
        found.append(Answer(int(code), headers, json.loads(received[:length])))
        received = received[length:]
    return found


def deposit(user_id: int) -> bytes:
    """A body that is posted once."""
    content = {"uuid": str(uuid4()), "type": "DEPOSIT", "amount": "1", "user_id": user_id}
    return json.dumps(content).encode()


def chunked(body: bytes, extension: bytes = b"", trailers: bytes = b"") -> bytes:
    """The body in one chunk."""
    return b"%x%b\r\n%b\r\n0\r\n%b\r\n" % (len(body), extension, body, trailers)
