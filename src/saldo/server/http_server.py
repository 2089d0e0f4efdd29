"""The HTTP server, which runs the application in one or several processes until a signal stops them."""

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
from saldo.http.connection.timeout_sweeper import InputLimits, TimeoutSweeper
from saldo.http.request_state import get_request_state
from saldo.http.route_table import OTHER
from saldo.http.security_headers import build_common_headers
from saldo.lifecycle.stop_signals import STOP_SIGNALS, block_signals, unblock_signals
from saldo.observability.worker_metrics import create_metrics_directory, remove_worker_gauges
from saldo.server.tls import Certificates
from saldo.settings.model import Settings
from saldo.store.errors import ConfigurationError

BACKLOG = 4096
"""Maximum number of connections that wait in the kernel to be accepted."""

GC_THRESHOLDS = (20_000, 10, 10)
"""Thresholds of the garbage collector. A batch creates thousands of objects, and reference counting frees most of
them."""

WORKER_SECONDS_MAX = 60
"""Timeout of the health check of a worker, in seconds. A worker can't respond while it loads its code."""

STOP_SPARE_SECONDS = 10
"""Seconds added to the shutdown timeout for a fallback: if connections were not ended by then, the server cancels the
remaining tasks and logs a traceback for each."""

_log = logging.getLogger("saldo")


def bind_socket(host: str, port: int) -> socket.socket:
    """Return a socket that is bound to the address, but does not listen yet.

    Raises:
        ConfigurationError: the address is not one of this machine, or is in use.
    """
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = addresses[0]
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
    wakeup_path: Path | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT. Then drain for the configured delay, and finish the requests in flight.

    Args:
        wakeup_path: the relay's wakeup socket; None means that no relay is woken.
    """
    early_signals = EarlySignals()
    # When the server ends, it restores these handlers and raises the caught signal again. That signal must not end the
    # process.
    for number in STOP_SIGNALS:
        signal.signal(number, early_signals.record)
    certificates = Certificates.from_settings(settings)
    scheme = "http" if certificates is None else "https"
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    address = f"{scheme}://{host}:{listening.getsockname()[1]}"
    config = _create_config(
        settings,
        SaldoApplication(settings, database_url, wakeup_path, certificates, early_signals),
    )
    if settings.workers == 1:
        AnnouncingServer(config, address).run(sockets=[listening])
        return
    # The workers listen on the socket a moment later.
    _log.info("listening on %s", address)
    with create_metrics_directory():
        WorkerSupervisor(config, [listening], early_signals).run()


class EarlySignals:
    """The first stop signal that arrives before the server has set its own handlers. The server would not get this
    signal, and would go on until it is killed.

    Attributes:
        first: The number of the signal; None if there was none.
    """

    def __init__(self) -> None:
        self.first: int | None = None

    def record(self, number: int, _: FrameType | None) -> None:
        """Handle a signal."""
        self.first = self.first or number


class AnnouncingServer(uvicorn.Server):
    """A server that logs its address when it accepts connections."""

    def __init__(self, config: uvicorn.Config, address: str) -> None:
        super().__init__(config)
        self._address = address

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application and listen, then log the address.

        The message comes last, because people and programs connect as soon as they read it.
        """
        await super().startup(sockets=sockets)
        _log.info("listening on %s", self._address)


class WorkerSupervisor(Multiprocess):
    """A supervisor that restarts dead workers, and removes the gauges of dead workers from the metrics."""

    def __init__(
        self, config: uvicorn.Config, sockets: list[socket.socket], early_signals: EarlySignals
    ) -> None:
        super().__init__(config, sockets)
        if early_signals.first is not None:
            self.signal_queue.append(early_signals.first)
        self._known_pids: set[int] = set()

    def init_processes(self) -> None:
        """Start the workers."""
        with block_signals():
            super().init_processes()

    def keep_subprocess_alive(self) -> None:
        """Restart dead workers. The supervisor's loop calls this twice a second."""
        with block_signals():
            super().keep_subprocess_alive()
        living_pids = {process.pid for process in self.processes if process.pid is not None}
        for pid in self._known_pids - living_pids:
            remove_worker_gauges(pid)
        self._known_pids = living_pids


class SaldoApplication(ServerApplication):
    """The ASGI application of one service process. It is started and stopped by the server's lifespan events.

    The object is pickled and sent to the worker processes before it is started. Until then it contains nothing that
    can't be pickled.
    """

    def __init__(
        self,
        settings: Settings,
        database_url: str,
        wakeup_path: Path | None = None,
        certificates: Certificates | None = None,
        early_signals: EarlySignals | None = None,
    ) -> None:
        self._settings = settings
        self._early_signals = early_signals or EarlySignals()
        self.certificates = certificates
        self._database_url = database_url
        self._wakeup_path = wakeup_path
        self._asgi_app: AsgiApp | None = None
        self._application: Callable[[Any, Any, Any], Awaitable[None]] | None = None
        self.connections_max = settings.connections_max
        self.connection_limit_app = ConnectionLimitApp(self, self.find_route_label)
        """Application that responds while too many connections are open (`saldo.http.connection.protocol`)."""
        self.ambiguous_path_app = ProblemApp(problems.build_not_found())
        """Application that responds to ambiguous paths."""
        self.input_limits = InputLimits.from_settings(settings)
        self.timeout_sweeper = TimeoutSweeper(settings.connections_max)
        self._end_task: asyncio.Task[None] | None = None
        self.is_draining = False
        """True if the response to each new request closes its connection (`saldo.http.connection.protocol`)."""

    def __call__(self, scope: Any, receive: Any, send: Any) -> Awaitable[None]:
        # The application's coroutine is returned and not awaited here, because each awaiting layer adds time to every
        # step.
        if scope["type"] == "lifespan" or self._application is None:
            return self._run_lifespan(receive, send)
        return self._application(scope, receive, send)

    def find_route_label(self, method: str, path: str) -> str:
        """Return the route label under which a request is counted (`saldo.http.route_table`)."""
        return OTHER if self._asgi_app is None else self._asgi_app.routes.find_label(method, path)

    @property
    def load_shedder(self) -> LoadShedder:
        """The load shedder, which rejects requests before they are parsed. The application must have been started."""
        assert self._asgi_app is not None
        return self._asgi_app.load_shedder

    def drain(self) -> None:
        """Begin to drain: report not ready, and close each connection after its next response."""
        self.is_draining = True
        if self._asgi_app is not None:
            self._asgi_app.drain()

    def end_streams(self) -> None:
        """End the streams, and begin to end the connections. Called when the server stops
        (`saldo.http.connection.protocol`)."""
        if self._asgi_app is not None:
            self._asgi_app.end_streams()
        if self._end_task is None:
            self._end_task = asyncio.create_task(
                self.timeout_sweeper.end_connections_within(
                    self._settings.shutdown_timeout_seconds
                ),
                name="connection shutdown",
            )

    async def _cancel_connection_end(self) -> None:
        """Cancel the task that ends connections. Called when the server no longer waits for connections."""
        if self._end_task is not None:
            self._end_task.cancel()
            await asyncio.wait([self._end_task])

    async def _run_lifespan(self, receive: Any, send: Any) -> None:
        set_up_logging(self._settings)
        _pass_on_first_signal(self._early_signals)
        await receive()
        async with (
            open_tracing(self._settings) as tracing,
            run_service(
                self._settings, self._database_url, self._wakeup_path, tracing
            ) as self._asgi_app,
            self.timeout_sweeper.run(),
            nullcontext() if self.certificates is None else self.certificates.renew_in_background(),
        ):
            self._application = (
                self._asgi_app
                if tracing is None
                else tracing.wrap_application(
                    self._asgi_app, self._asgi_app.is_authenticated_cached, get_request_state
                )
            )
            _freeze_gc()
            with DrainDelay(self._settings.shutdown_delay_seconds, self.drain):
                await send({"type": "lifespan.startup.complete"})
                await receive()
            await self._cancel_connection_end()
        await send({"type": "lifespan.shutdown.complete"})


class DrainDelay:
    """A context manager that delays the first stop signal. The server would stop listening as soon as it receives a
    signal.

    The context must be entered after the server has set its signal handlers. The server sets them before it starts the
    application.
    """

    def __init__(self, seconds: float, begin_drain: Callable[[], None]) -> None:
        """
        Args:
            seconds: time from the arrival of the signal until the server receives the signal; 0 disables the delay.
            begin_drain: called when the first signal arrives.
        """
        self._seconds = seconds
        self._begin_service_drain = begin_drain
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
        # A signal handler can interrupt the loop's code at any point. There `call_soon_threadsafe` is the only method
        # of the loop that is safe to call.
        self._loop.call_soon_threadsafe(self._begin_drain, number)

    def _begin_drain(self, number: int) -> None:
        if self._end is None:
            _log.info(
                "draining: the readiness probe fails from now on; the service stops in %g s",
                self._seconds,
            )
            self._begin_service_drain()
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


def _pass_on_first_signal(early_signals: EarlySignals) -> None:
    """Forward only the first stop signal to the server. At a second SIGINT the server would exit without stopping
    anything.

    This function is called in the server's process, after the server has set its signal handlers. It also forwards a
    signal that arrived before.
    """
    handlers: dict[int, Any] = {}

    def handle_first_signal(number: int, frame: FrameType | None) -> None:
        handler = handlers.pop(number, None)
        if handler is not None:
            handlers.clear()
            handler(number, frame)

    for number in STOP_SIGNALS:
        handlers[number] = signal.signal(number, handle_first_signal)
    unblock_signals()
    if early_signals.first is not None:
        handle_first_signal(early_signals.first, None)


def _create_config(settings: Settings, app: SaldoApplication) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        interface="asgi3",
        workers=settings.workers,
        loop="saldo.server.event_loop:BacklogAcceptingLoop",
        http=BufferedHttpProtocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        # The authenticator evaluates the headers of proxies itself (`saldo.auth.authenticator`).
        proxy_headers=False,
        server_header=False,
        headers=build_common_headers(settings.hsts_max_age_seconds if app.certificates else 0),
        ssl_context_factory=None
        if app.certificates is None
        else app.certificates.create_listening_context,
        backlog=BACKLOG,
        timeout_keep_alive=settings.keep_alive_seconds,
        timeout_worker_healthcheck=WORKER_SECONDS_MAX,
        # `TimeoutSweeper.end_connections_within` ends the connections. This timeout is a fallback in case they are not
        # ended.
        timeout_graceful_shutdown=ceil(settings.shutdown_timeout_seconds) + STOP_SPARE_SECONDS,
    )
