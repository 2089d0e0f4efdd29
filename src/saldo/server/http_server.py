"""The HTTP server: runs the application behind a socket, in one or several processes, until it is stopped."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from math import ceil
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.supervisors import Multiprocess

from saldo.bootstrap.logging_setup import set_up_logging
from saldo.bootstrap.service import run_service
from saldo.bootstrap.tracing import open_tracing
from saldo.http import problems
from saldo.http.asgi import AsgiApp
from saldo.http.connection.fallback_apps import ConnectionLimitApp, ProblemApp
from saldo.http.connection.load_shedding import LoadShedder
from saldo.http.connection.protocol import BufferedHttpProtocol
from saldo.http.connection.server_application import ServerApplication
from saldo.http.connection.timeouts import TimeoutSweeper, WireLimits
from saldo.http.request_state import request_state
from saldo.http.route_table import OTHER
from saldo.http.security_headers import common_headers
from saldo.lifecycle.stop_signals import STOP_SIGNALS, block_signals, unblock_signals
from saldo.observability.worker_metrics import create_metrics_directory, forget_worker
from saldo.server.tls import Certificates
from saldo.settings.model import Settings
from saldo.store.errors import ConfigurationError

BACKLOG = 4096
"""Maximum number of connections that wait in the kernel to be accepted."""

GC_THRESHOLDS = (20_000, 10, 10)
"""Thresholds of the garbage collector. A batch makes thousands of objects, most of which need no collector."""

WORKER_SECONDS_MAX = 60
"""Time within which a worker must respond to a health check. It doesn't respond while it loads its code."""

STOP_SPARE_SECONDS = 10
"""Time after the shutdown timeout at which the server cancels the remaining tasks, with a traceback for each."""

_log = logging.getLogger("saldo")


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that is bound to the address, but does not listen yet.

    Raises:
        ConfigurationError: the address is not one of this machine, or is in use.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
    except OSError as error:
        raise ConfigurationError(
            f"can't listen on {host} port {port}: {error.strerror or error}"
        ) from None
    return listening


def serve_until_stopped(
    settings: Settings,
    database_url: str,
    listening: socket.socket,
    bell_path: Path | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT, drain if that is configured, and finish the requests in flight.

    Args:
        bell_path: the relay's wakeup socket; None means that no relay is woken.
    """
    # The server restores these handlers and then raises the signal that it caught, which must not end the process.
    for number in STOP_SIGNALS:
        signal.signal(number, _ignore_signal)
    certificates = Certificates.of(settings)
    scheme = "http" if certificates is None else "https"
    _log.info("listening on %s://%s:%d", scheme, settings.host, listening.getsockname()[1])
    config = _config(settings, Application(settings, database_url, bell_path, certificates))
    if settings.workers == 1:
        uvicorn.Server(config).run(sockets=[listening])
        return
    with create_metrics_directory():
        Workers(config, sockets=[listening]).run()


class Workers(Multiprocess):
    """A supervisor that restarts workers that die, and removes their gauges from the metrics."""

    def __init__(self, config: uvicorn.Config, sockets: list[socket.socket]) -> None:
        super().__init__(config, sockets)
        self._known: set[int] = set()

    def init_processes(self) -> None:
        """Start the workers."""
        with block_signals():
            super().init_processes()

    def keep_subprocess_alive(self) -> None:
        """Restart dead workers. The supervisor's loop calls this twice a second."""
        with block_signals():
            super().keep_subprocess_alive()
        living = {process.pid for process in self.processes if process.pid is not None}
        for pid in self._known - living:
            forget_worker(pid)
        self._known = living


class Application(ServerApplication):
    """The ASGI application of one process, which starts and stops with the server's lifespan.

    The object is sent to worker processes before it has started, so until then it contains settings only.
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
        self._front: AsgiApp | None = None
        self._application: Callable[[Any, Any, Any], Awaitable[None]] | None = None
        self.connections_max = settings.connections_max
        self.connection_limit_app = ConnectionLimitApp(self, self.route_of)
        """Application that responds while too many connections are open (`saldo.http.connection.protocol`)."""
        self.ambiguous_path_app = ProblemApp(problems.not_found())
        """Application that responds to ambiguous paths."""
        self.wire_limits = WireLimits.of(settings)
        self.timeout_sweeper = TimeoutSweeper(settings.connections_max)
        self._ending: asyncio.Task[None] | None = None
        self.draining = False
        """True if the response to each new request closes its connection (`saldo.http.connection.protocol`)."""

    def __call__(self, scope: Any, receive: Any, send: Any) -> Awaitable[None]:
        # The coroutine of the front is returned, since each awaited layer costs time at every step.
        if scope["type"] == "lifespan" or self._application is None:
            return self._live(receive, send)
        return self._application(scope, receive, send)

    def route_of(self, method: str, path: str) -> str:
        """Return the route label under which a request is counted (`saldo.http.route_table`)."""
        return OTHER if self._front is None else self._front.routes.label(method, path)

    @property
    def load_shedder(self) -> LoadShedder:
        """The load shedder, which rejects requests before they are parsed. It exists once the application serves."""
        assert self._front is not None
        return self._front.load_shedder

    def drain(self) -> None:
        """Begin to drain: report not ready, and close each connection after its next response."""
        self.draining = True
        if self._front is not None:
            self._front.drain()

    def end_streams(self) -> None:
        """End the streams and the connections, because the server stops (`saldo.http.connection.protocol`)."""
        if self._front is not None:
            self._front.end_streams()
        if self._ending is None:
            self._ending = asyncio.create_task(
                self.timeout_sweeper.end_within(self._settings.shutdown_timeout_seconds),
                name="connection shutdown",
            )

    async def _cancel_connection_end(self) -> None:
        """Cancel the task that ends connections, because the server waits for none any more."""
        if self._ending is not None:
            self._ending.cancel()
            await asyncio.wait([self._ending])

    async def _live(self, receive: Any, send: Any) -> None:
        set_up_logging(self._settings)
        _pass_on_first_signal()
        await receive()
        async with (
            open_tracing(self._settings) as tracing,
            run_service(
                self._settings, self._database_url, self._bell_path, tracing
            ) as self._front,
            self.timeout_sweeper.run(),
            nullcontext() if self.certificates is None else self.certificates.renew_in_background(),
        ):
            self._application = (
                self._front
                if tracing is None
                else tracing.wrap_application(
                    self._front, self._front.is_authenticated_cached, request_state
                )
            )
            _freeze_gc()
            with Drain(self._settings.shutdown_delay_seconds, self.drain):
                await send({"type": "lifespan.startup.complete"})
                await receive()
            await self._cancel_connection_end()
        await send({"type": "lifespan.shutdown.complete"})


class Drain:
    """A context manager that delays stop signals, because the server stops listening as soon as it receives one.

    It must be entered after the server has set its signal handlers, which happens before the application starts.
    """

    def __init__(self, seconds: float, begin: Callable[[], None]) -> None:
        """
        Args:
            seconds: time from the signal until the server receives it; 0 disables the delay.
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
        # A signal handler runs at any point of the loop's code, where only this method of the loop is safe to call.
        self._loop.call_soon_threadsafe(self._begin_drain, number)

    def _begin_drain(self, number: int) -> None:
        if self._end is None:
            _log.info("draining: not ready, stopping in %g s", self._seconds)
            self._begin()
            self._end = self._loop.call_later(self._seconds, self._forward_signal, number)
        elif not self._end.cancelled():
            # A second signal skips the rest of the delay.
            self._end.cancel()
            self._forward_signal(number)

    def _forward_signal(self, number: int) -> None:
        self._handlers[number](number, None)


def _freeze_gc() -> None:
    """Remove the objects created at the start from garbage collection, because they are never freed."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


def _pass_on_first_signal() -> None:
    """Pass only the first stop signal to the server, which at a second SIGINT would exit without stopping anything.

    This is called in the server's process as soon as the server has set its handlers, which it restores at the end.
    """
    handlers: dict[int, Any] = {}

    def hear(number: int, frame: FrameType | None) -> None:
        handler = handlers.pop(number, None)
        if handler is not None:
            handlers.clear()
            handler(number, frame)

    for number in STOP_SIGNALS:
        handlers[number] = signal.signal(number, hear)
    unblock_signals()


def _ignore_signal(*_: object) -> None:
    """Ignore a second signal, because the stop has a time limit anyway."""


def _config(settings: Settings, app: Application) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        interface="asgi3",
        workers=settings.workers,
        loop="saldo.server.event_loop:Loop",
        http=BufferedHttpProtocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        # The authenticator evaluates the headers of proxies itself (`saldo.auth.authenticator`).
        proxy_headers=False,
        server_header=False,
        headers=common_headers(settings.hsts_max_age_seconds if app.certificates else 0),
        ssl_context_factory=None if app.certificates is None else app.certificates.context,
        backlog=BACKLOG,
        timeout_keep_alive=settings.keep_alive_seconds,
        timeout_worker_healthcheck=WORKER_SECONDS_MAX,
        # `TimeoutSweeper.end_within` ends the connections. This is a fallback in case it fails.
        timeout_graceful_shutdown=ceil(settings.shutdown_timeout_seconds) + STOP_SPARE_SECONDS,
    )
