"""Subscribers of the live stream, in a process of their own: they read what comes and count it."""

from __future__ import annotations

import multiprocessing
import selectors
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from urllib.parse import urlsplit

PIECE_BYTES = 256 * 1024


class Readers:
    """How many events they have got so far."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    @property
    def events(self) -> int:
        """Of all together."""
        self._pipe.send(None)
        return int(self._pipe.recv())


@contextmanager
def readers(url: str, queries: Sequence[str]) -> Iterator[Readers]:
    """A subscriber for each query, all of them connected."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_read, args=(url, queries, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        if not ours.recv():
            raise ConnectionError("the service doesn't take as many subscribers")
        yield Readers(ours)
    finally:
        ours.close()
        process.join()


def _read(url: str, queries: Sequence[str], pipe: Connection) -> None:
    found = selectors.DefaultSelector()
    for query in queries:
        found.register(_connected(url, query), selectors.EVENT_READ)
    streams = [key.fileobj for key in found.get_map().values()]
    # The answer's head: the service has taken the subscriber in.
    pipe.send(all(stream.recv(PIECE_BYTES).startswith(b"HTTP/1.1 200 ") for stream in streams))  # type: ignore[union-attr]
    found.register(pipe, selectors.EVENT_READ)
    events = 0
    while True:
        for key, _ in found.select():
            if key.fileobj is pipe:
                try:
                    pipe.recv()
                except EOFError:
                    return
                pipe.send(events)
                continue
            data = key.fileobj.recv(PIECE_BYTES)  # type: ignore[union-attr]
            events += data.count(b"\ndata: ")
            if not data:
                found.unregister(key.fileobj)


def _connected(url: str, query: str) -> socket.socket:
    parts = urlsplit(url)
    stream = socket.create_connection((parts.hostname or "", parts.port or 80))
    stream.sendall(f"GET /v1/events?{query} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
    return stream
