"""A client of the bulk stream that costs next to nothing: one socket, large pieces, both ways at once.

While the clock runs it only moves bytes. What came back is read afterwards: each line must be answered, in
order, under its own uuid.
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

from benchmarks.workload import Outcome

PIECE_BYTES = 256 * 1024
SILENCE_SECONDS_MAX = 60
"""A service that neither reads nor answers for so long has failed."""

UUID_IN_LINE = slice(len('{"uuid":"'), len('{"uuid":"') + 36)


class StreamError(Exception):
    """What came back is not what a stream must be answered with."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, and how long it took from the first byte sent to the last received."""

    seconds: float
    data: bytes


class _Line(msgspec.Struct):
    """What is looked at in a line of the answer."""

    line: int
    code: str
    uuid: str | None
    replayed: bool = False


_lines = msgspec.json.Decoder(_Line)


def send(url: str, body: bytes) -> Answer:
    """Streams the body to the service at `url`."""
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
    """How many lines were answered with each outcome.

    Raises:
        StreamError: a line was left out, or answered out of order or under another's uuid.
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
    """Sends and receives until the service closes the connection."""
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
    """The answer's body, out of its chunks."""
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
