"""A client of the bulk stream with very low overhead, which sends and receives large pieces on one socket.

While the time is measured, the client only moves bytes. It checks the response afterwards: each line must have an
answer, in order and with the line's uuid.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import msgspec

from benchmarks.load.workload import Outcome

PIECE_BYTES = 256 * 1024
SILENCE_SECONDS_MAX = 60
"""Timeout in seconds for a service that neither reads nor answers."""

UUID_IN_LINE = slice(len('{"uuid":"'), len('{"uuid":"') + 36)


class StreamError(Exception):
    """The error for a response that does not match the stream."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The response, and the time in seconds from the first byte sent to the last byte received."""

    seconds: float
    data: bytes


class _Line(msgspec.Struct):
    """The fields of a response line that are checked."""

    line: int
    code: str
    uuid: str | None
    replayed: bool = False


_lines = msgspec.json.Decoder(_Line)


def send(url: str, body: bytes) -> Answer:
    """Stream the body to the service at `url`."""
    address = urlsplit(url)
    head = (
        f"POST /v1/transactions HTTP/1.1\r\nHost: {address.netloc}\r\nConnection: close\r\n"
        f"Content-Type: application/x-ndjson\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    connection = socket.create_connection((address.hostname, address.port))
    try:
        began = time.perf_counter()
        connection.sendall(head.encode())
        received = _exchange(connection, body)
        seconds = time.perf_counter() - began
    finally:
        connection.close()
    return Answer(seconds, b"".join(received))


def check(answer: Answer, body: bytes) -> Counter[Outcome]:
    """Check the response and count the lines of each outcome.

    Raises:
        StreamError: The answer to a line is missing, is out of order or has another uuid.
    """
    outcomes: Counter[Outcome] = Counter()
    sent = body.split(b"\n")[:-1]
    answered = _payload(answer.data).split(b"\n")[:-1]
    if len(answered) != len(sent):
        raise StreamError(f"{len(sent)} lines were sent, {len(answered)} answered")
    for number, (line, text) in enumerate(zip(sent, answered, strict=True), start=1):
        found = _lines.decode(text)
        if found.line != number or found.uuid != line[UUID_IN_LINE].decode():
            raise StreamError(f"line {number} is answered with {text!r}")
        outcomes[found.code, found.replayed] += 1
    return outcomes


def _exchange(connection: socket.socket, body: bytes) -> list[bytes]:
    """Send and receive until the service closes the connection."""
    connection.setblocking(False)
    left = memoryview(body)
    received: list[bytes] = []
    with selectors.DefaultSelector() as selector:
        selector.register(connection, selectors.EVENT_READ | selectors.EVENT_WRITE)
        while True:
            ready = selector.select(SILENCE_SECONDS_MAX)
            if not ready:
                raise StreamError(f"the service was silent for {SILENCE_SECONDS_MAX} s")
            events = ready[0][1]
            if events & selectors.EVENT_READ:
                piece = connection.recv(PIECE_BYTES)
                if not piece:
                    return received
                received.append(piece)
            if events & selectors.EVENT_WRITE:
                left = left[connection.send(left[:PIECE_BYTES]) :]
                if not left:
                    selector.modify(connection, selectors.EVENT_READ)


def _payload(data: bytes) -> bytes:
    """Decode the chunked body of the response."""
    head, _, rest = data.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200 ") or b"chunked" not in head.lower():
        raise StreamError(f"not a streamed answer: {data[:500]!r}")
    parts: list[Any] = []
    view = memoryview(rest)
    place = 0
    while True:
        end = rest.find(b"\r\n", place)
        size = int(rest[place:end], 16) if end >= 0 else -1
        if size < 0 or end + 2 + size > len(rest):
            raise StreamError("the answer breaks off")
        if size == 0:
            return b"".join(parts)
        parts.append(view[end + 2 : end + 2 + size])
        place = end + 2 + size + 2
