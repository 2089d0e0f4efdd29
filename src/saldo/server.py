"""Runs the application behind a socket, in this process or in several, until it is told to stop."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import signal
import socket
import tempfile

import uvicorn
import uvloop
from uvicorn.supervisors import Multiprocess

from saldo.bootstrap import running
from saldo.settings import Settings
from saldo.store.errors import SetUpError

BACKLOG = 2048
"""Connections the kernel holds for us while we are busy accepting."""

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


def serve_until_stopped(settings: Settings, database_url: str, listening: socket.socket) -> None:
    """Serves until SIGTERM or SIGINT, then finishes what is in flight."""
    # The server restores and raises again what it caught: what then follows is our own orderly stop.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _already_stopping)
    _log.info("listening on http://%s:%d", settings.host, listening.getsockname()[1])
    if settings.workers == 1:
        _run(settings, database_url, [listening])
        return
    with tempfile.TemporaryDirectory(prefix="saldo-metrics-") as directory:
        # Where the workers of prometheus-client put their numbers together.
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = directory
        target = functools.partial(_run_worker, settings, database_url)
        config = _config(settings, "saldo.server:unused", workers=settings.workers)
        Multiprocess(config, target=target, sockets=[listening]).run()


def _already_stopping(*_: object) -> None:
    """A second signal changes nothing: the stop is bounded in time anyway."""


def _run_worker(
    settings: Settings, database_url: str, sockets: list[socket.socket] | None = None
) -> None:
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _already_stopping)
    _run(settings, database_url, sockets or [])


def _run(settings: Settings, database_url: str, sockets: list[socket.socket]) -> None:
    async def serve() -> None:
        async with running(settings, database_url) as app:
            await uvicorn.Server(_config(settings, app)).serve(sockets=sockets)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())


def _config(settings: Settings, app: object, workers: int = 1) -> uvicorn.Config:
    return uvicorn.Config(
        app,  # type: ignore[arg-type]
        workers=workers,
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        backlog=BACKLOG,
        limit_concurrency=settings.connections_max,
        timeout_keep_alive=settings.keep_alive_seconds,
        timeout_graceful_shutdown=int(settings.stop_seconds),
    )
