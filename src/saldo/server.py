"""Runs the application behind a socket, in this process or in several, until it is told to stop."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.supervisors import Multiprocess

from saldo.bootstrap.logs import set_up_logging
from saldo.bootstrap.service import running
from saldo.bootstrap.tracing import tracing_to
from saldo.http import problems
from saldo.http.crowded import Crowded, Refused
from saldo.http.hot import Front
from saldo.http.pages import headers_of_all
from saldo.http.patience import Sweep, WireLimits
from saldo.http.protocol import JoiningProtocol
from saldo.http.shedding import Shedding
from saldo.settings import Settings
from saldo.store.errors import SetUpError
from saldo.tls import Certificates

BACKLOG = 4096
"""Connections the kernel holds for us while we are busy accepting."""

COLLECT_OBJECTS = (20_000, 10, 10)
"""New objects before a collection. A batch makes thousands, and nearly all go by themselves."""

WORKER_SECONDS_MAX = 60
"""For a worker to say that it lives. It says nothing while it loads its code, on a busy machine for long."""

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)

_log = logging.getLogger("saldo")


def bind(host: str, port: int) -> socket.socket:
    """The listening socket, not listening yet.

    Raises:
        SetUpError: the address is not ours or is in use.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
    except OSError as error:
        raise SetUpError(f"can't listen on {host} port {port}: {error.strerror or error}") from None
    return listening


def serve_until_stopped(
    settings: Settings,
    database_url: str,
    listening: socket.socket,
    bell_path: Path | None = None,
) -> None:
    """Serves until SIGTERM or SIGINT, drains if that is set, then finishes what is in flight.

    Args:
        bell_path: where a relay listens for what is new; None: nowhere.
    """
    # The server restores our handlers and raises again what it caught: the orderly stop follows.
    for number in STOP_SIGNALS:
        signal.signal(number, _already_stopping)
    certificates = Certificates.of(settings)
    scheme = "http" if certificates is None else "https"
    _log.info("listening on %s://%s:%d", scheme, settings.host, listening.getsockname()[1])
    config = _config(settings, Application(settings, database_url, bell_path, certificates))
    if settings.workers == 1:
        uvicorn.Server(config).run(sockets=[listening])
        return
    with tempfile.TemporaryDirectory(prefix="saldo-metrics-") as directory:
        # Where the workers of prometheus-client put their numbers together.
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = directory
        Multiprocess(config, sockets=[listening]).run()


class Application:
    """The ASGI application of one process: starts and stops with the server's lifespan.

    It is sent to worker processes before it has started, so until then it holds settings only.
    """

    def __init__(
        self,
        settings: Settings,
        database_url: str,
        bell_path: Path | None = None,
        certificates: Certificates | None = None,
    ) -> None:
        self._settings = settings
        self.certificates = certificates
        self._database_url = database_url
        self._bell_path = bell_path
        self._front: Front | None = None
        self._application: Callable[[Any, Any, Any], Awaitable[None]] | None = None
        self.connections_max = settings.connections_max
        self.crowded = Crowded(self)
        """Answers in our place while more connections are open (`saldo.http.protocol`)."""
        self.nowhere = Refused(problems.not_found())
        """Answers paths that can be read in two ways."""
        self.wire_limits = WireLimits.of(settings)
        self.sweep = Sweep()
        self.draining = False
        """Each answer to a request that comes now is the last of its connection (`saldo.http.protocol`)."""

    def __call__(self, scope: Any, receive: Any, send: Any) -> Awaitable[None]:
        # Hands the front's own coroutine on: each layer awaited costs at every turn.
        if scope["type"] == "lifespan" or self._application is None:
            return self._live(receive, send)
        return self._application(scope, receive, send)

    @property
    def shedding(self) -> Shedding:
        """Refuses what is too much before it is read (`saldo.http.protocol`); there as soon as it serves."""
        assert self._front is not None
        return self._front.shedding

    def drain(self) -> None:
        """The server will stop soon: not ready, and each connection's next answer is its last."""
        self.draining = True
        if self._front is not None:
            self._front.drain()

    def end_streams(self) -> None:
        """The server stops (`saldo.http.protocol`)."""
        if self._front is not None:
            self._front.end_streams()

    async def _live(self, receive: Any, send: Any) -> None:
        set_up_logging(self._settings)
        await receive()
        async with (
            tracing_to(self._settings) as tracing,
            running(self._settings, self._database_url, self._bell_path, tracing) as self._front,
            self.sweep.looking(),
            nullcontext() if self.certificates is None else self.certificates.renewing(),
        ):
            self._application = self._front if tracing is None else tracing.traced(self._front)
            _spare_the_collector()
            with Drain(self._settings.drain_seconds, self.drain):
                await send({"type": "lifespan.startup.complete"})
                await receive()
        await send({"type": "lifespan.shutdown.complete"})


class Drain:
    """Stands between a signal to stop and the server, which stops listening at once. A context manager.

    Entered when the server has set its signal handlers: it does so before it starts the application.
    """

    def __init__(self, seconds: float, begin: Callable[[], None]) -> None:
        """
        Args:
            seconds: from the signal until the server hears of it; 0: at once.
            begin: called at the signal.
        """
        self._seconds = seconds
        self._begin = begin
        self._loop = asyncio.get_running_loop()
        self._handlers: dict[int, Any] = {}
        self._end: asyncio.TimerHandle | None = None

    def __enter__(self) -> None:
        if self._seconds > 0:
            for number in STOP_SIGNALS:
                self._handlers[number] = signal.signal(number, self._on_signal)

    def __exit__(self, *_: object) -> None:
        if self._end is not None:
            self._end.cancel()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        # A handler runs between any two steps of the loop's own code: only this call of it is safe here.
        self._loop.call_soon_threadsafe(self._told, number)

    def _told(self, number: int) -> None:
        if self._end is None:
            _log.info("not ready; stopping in %g s", self._seconds)
            self._begin()
            self._end = self._loop.call_later(self._seconds, self._hand_on, number)
        elif not self._end.cancelled():
            # Whoever says it twice doesn't want to wait.
            self._end.cancel()
            self._hand_on(number)

    def _hand_on(self, number: int) -> None:
        self._handlers[number](number, None)


def _spare_the_collector() -> None:
    """What was made at the start stays for ever: no use in looking for garbage in it again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_OBJECTS)


def _already_stopping(*_: object) -> None:
    """A second signal changes nothing: the stop is bounded in time anyway."""


def _config(settings: Settings, app: Application) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        interface="asgi3",
        workers=settings.workers,
        loop="saldo.accepting:Loop",
        http=JoiningProtocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        # Nothing here depends on the address of the client.
        proxy_headers=False,
        server_header=False,
        headers=headers_of_all(settings.hsts_seconds if app.certificates else 0),
        ssl_context_factory=None if app.certificates is None else app.certificates.context,
        backlog=BACKLOG,
        timeout_keep_alive=settings.keep_alive_seconds,
        timeout_worker_healthcheck=WORKER_SECONDS_MAX,
        timeout_graceful_shutdown=int(settings.stop_seconds),
    )
