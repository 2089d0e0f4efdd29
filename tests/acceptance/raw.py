"""Raw bytes over a socket, unlike those of any real client, and the parsed answers."""

from __future__ import annotations

import json
import socket
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from uuid import uuid4

SECONDS_MAX = 60
"""Time limit of a test's wait, in seconds; far longer than any test should need."""

PROBE = b"GET /healthz/live HTTP/1.1\r\nhost: localhost\r\n"
FINAL_PROBE = PROBE + b"connection: close\r\n\r\n"
"""A last request, which is answered if the request before it was read to its end and not further."""


class Answer(NamedTuple):
    """One answer of a connection."""

    status: int
    headers: dict[str, str]
    content: Any


def connect(url: str, receive_bytes: int | None = None) -> socket.socket:
    """Open a connection. `receive_bytes`: the size of its receive buffer, for a client that doesn't read."""
    parts = urlsplit(url)
    connection = socket.socket()
    if receive_bytes is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    connection.settimeout(SECONDS_MAX)
    connection.connect((parts.hostname or "", parts.port or 0))
    return connection


def read_to_end(connection: socket.socket) -> bytes:
    """Read until the server closes or resets the connection, and return all bytes."""
    received = b""
    try:
        while piece := connection.recv(65536):
            received += piece
    except ConnectionResetError:
        pass
    return received


def exchange(url: str, *pieces: bytes) -> bytes:
    """Send the pieces and return everything that comes back."""
    with connect(url) as connection:
        for piece in pieces:
            try:
                connection.sendall(piece)
            except (BrokenPipeError, ConnectionResetError):
                break  # the server need not read what it has rejected
        return read_to_end(connection)


def answers_of(received: bytes) -> list[Answer]:
    """Parse the answers; fail if one is incomplete or there are other bytes."""
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
    """Return the body of a deposit with a new uuid."""
    content = {"uuid": str(uuid4()), "type": "DEPOSIT", "amount": "1", "user_id": user_id}
    return json.dumps(content).encode()


def encode_chunked(body: bytes, extension: bytes = b"", trailers: bytes = b"") -> bytes:
    """Return the body as one chunk, and the end of the chunked body."""
    return b"%x%b\r\n%b\r\n0\r\n%b\r\n" % (len(body), extension, body, trailers)
