"""A TCP load balancer like that of Kubernetes: it probes readiness, and gives new connections to ready backends.

It never moves or retries an open connection: a stopping service must handle its connections itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from harness.http_client import Client, DisconnectedError

PROBE_SECONDS = 0.2
"""Interval between two probes of one backend, in seconds: the delay with which the balancer learns of a change."""


class Backend:
    """One service behind the balancer."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.url = url
        self.address = (parts.hostname or "", parts.port or 80)
        self.ready = asyncio.Event()
        self.unready = asyncio.Event()
        self.connections = 0

    def mark(self, *, ready: bool) -> None:
        here, there = (self.ready, self.unready) if ready else (self.unready, self.ready)
        there.clear()
        here.set()


class Balancer:
    """A balancer that listens; clients connect to `url`."""

    def __init__(self) -> None:
        self._backends: list[Backend] = []
        self._turns = itertools.count()
        self._tasks: set[asyncio.Task[None]] = set()
        self.unserved = 0
        """Connections that arrived when no backend was ready, or that the backend didn't accept."""
        self.url = ""

    def add(self, url: str) -> Backend:
        """Add a service, which is probed from now on."""
        backend = Backend(url)
        self._backends.append(backend)
        self._spawn(self._probe(backend))
        return backend

    def remove(self, backend: Backend) -> None:
        self._backends.remove(backend)

    async def close(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _spawn(self, work: object) -> None:
        task = asyncio.ensure_future(work)  # type: ignore[call-overload]
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _probe(self, backend: Backend) -> None:
        while backend in self._backends:
            try:
                async with Client(backend.url) as client:
                    status, _ = await client.get("/healthz/ready")
            except DisconnectedError:
                status = 0
            backend.mark(ready=status == 200)
            await asyncio.sleep(PROBE_SECONDS)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client connection from its begin to its end."""
        ready = [backend for backend in self._backends if backend.ready.is_set()]
        with contextlib.closing(writer):
            if not ready:
                self.unserved += 1
                return
            backend = ready[next(self._turns) % len(ready)]
            try:
                inner_reader, inner_writer = await asyncio.open_connection(*backend.address)
            except OSError:
                self.unserved += 1
                return
            backend.connections += 1
            with contextlib.closing(inner_writer):
                await _join(reader, inner_writer, inner_reader, writer)


async def _join(
    client_reader: asyncio.StreamReader,
    service_writer: asyncio.StreamWriter,
    service_reader: asyncio.StreamReader,
    client_writer: asyncio.StreamWriter,
) -> None:
    """Pass on data in both directions until one side ends."""
    pipes = {
        asyncio.create_task(_pipe(client_reader, service_writer)),
        asyncio.create_task(_pipe(service_reader, client_writer)),
    }
    try:
        await asyncio.wait(pipes, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for pipe in pipes:
            pipe.cancel()
        await asyncio.gather(*pipes, return_exceptions=True)


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()


@asynccontextmanager
async def run_balancer() -> AsyncIterator[Balancer]:
    """Yield a balancer without backends on a free port."""
    balancer = Balancer()
    server = await asyncio.start_server(balancer.serve, "127.0.0.1", 0, backlog=1024)
    balancer.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield balancer
    finally:
        server.close()
        await balancer.close()
