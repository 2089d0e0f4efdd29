"""Subscribers of the live stream in a separate process, which read the events and count them."""

from __future__ import annotations

import multiprocessing
import selectors
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from urllib.parse import urlsplit

PIECE_BYTES = 256 * 1024


class Subscribers:
    """A handle on the running subscribers."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    @property
    def events(self) -> int:
        """The number of events that all subscribers together have received so far."""
        self._pipe.send(None)
        return int(self._pipe.recv())


@contextmanager
def run_subscribers(url: str, queries: Sequence[str]) -> Iterator[Subscribers]:
    """Connect one subscriber for each query string."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_read, args=(url, queries, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        if not ours.recv():
            raise ConnectionError("the service doesn't take as many subscribers")
        yield Subscribers(ours)
    finally:
        ours.close()
        process.join()


def _read(url: str, queries: Sequence[str], pipe: Connection) -> None:
    found = selectors.DefaultSelector()
    for query in queries:
        found.register(_connect(url, query), selectors.EVENT_READ)
    streams = [key.fileobj for key in found.get_map().values()]
    # The head of the response shows that the service has accepted the subscriber.
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


def _connect(url: str, query: str) -> socket.socket:
    parts = urlsplit(url)
    stream = socket.create_connection((parts.hostname or "", parts.port or 80))
    stream.sendall(f"GET /v1/events?{query} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
    return stream
