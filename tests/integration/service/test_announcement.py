"""The service logs its address when it accepts connections, and not before."""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import Any

import uvicorn

from saldo.server.http_server import AnnouncingServer


class AttemptHandler(logging.Handler):
    """A handler that connects to a port when a record is logged, and keeps the results."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self.results: list[tuple[str, int]] = []
        self._port = port

    def emit(self, record: logging.LogRecord) -> None:
        with socket.socket() as attempt:
            self.results.append(
                (record.getMessage(), attempt.connect_ex(("127.0.0.1", self._port)))
            )


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Start and stop as an ASGI application, and log a message while starting."""
    assert scope["type"] == "lifespan"
    await receive()
    logging.getLogger("saldo").info("starting")
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


def test_the_address_is_logged_when_connections_are_accepted() -> None:
    logger = logging.getLogger("saldo")
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        handler = AttemptHandler(listening.getsockname()[1])
        level = logger.level
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        try:
            config = uvicorn.Config(application, log_config=None)
            config.load()
            server = AnnouncingServer(config, "http://address")

            async def start_and_stop() -> None:
                server.lifespan = config.lifespan_class(config)
                await server.startup(sockets=[listening])
                await server.shutdown(sockets=[listening])

            asyncio.run(start_and_stop())
        finally:
            logger.removeHandler(handler)
            logger.setLevel(level)
    (first, refused), (second, accepted) = handler.results
    assert (first, second) == ("starting", "listening on http://address")
    assert refused != 0
    assert accepted == 0
