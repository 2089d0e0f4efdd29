"""All of it together: start, stop, and the settings under which it runs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from tests.faults.broker import Broker

from torture.threads import in_thread
from torture.world.consumers import EXCHANGE
from torture.world.postgresql import Pair
from torture.world.services import Service

SETTINGS = {
    "SALDO_RABBITMQ_EXCHANGE": EXCHANGE,
    "SALDO_RABBITMQ_STREAM": EXCHANGE,
    "SALDO_WEBHOOK_ALLOW_PRIVATE": "true",
    # The receiver fails on purpose, and what waits for it must come before the end.
    "SALDO_WEBHOOK_BACKOFF_SECONDS_MIN": "0.2",
    "SALDO_WEBHOOK_BACKOFF_SECONDS_MAX": "2",
    # So that a follower whose connection says nothing knows it soon.
    "SALDO_EVENTS_HEARTBEAT_SECONDS": "2",
}
"""What differs from what users get."""


class World:
    """Two services, two PostgreSQL servers, a broker. An asynchronous context manager."""

    def __init__(self, directory: Path, rabbitmq: str) -> None:
        """
        Args:
            directory: of its own, where everything of it is.
            rabbitmq: the program.
        """
        self.pair = Pair(directory)
        (directory / "rabbitmq").mkdir()
        self.broker = Broker(rabbitmq, directory / "rabbitmq")
        settings = SETTINGS | {
            "SALDO_RABBITMQ_URL": self.broker.url,
            "SALDO_RABBITMQ_STREAM_URL": self.broker.stream_url,
        }
        self.services: Sequence[Service] = [
            Service(directory, name, self.pair, settings) for name in ("one", "two")
        ]

    async def __aenter__(self) -> World:
        try:
            await asyncio.gather(in_thread(self.pair.start), asyncio.to_thread(self.broker.start))
            for service in self.services:
                await service.open()
                await in_thread(service.start)
        except BaseException:
            await self._end(kindly=False)
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        await self._end(kindly=kind is None)

    async def _end(self, *, kindly: bool) -> None:
        """Ends everything, whatever fails meanwhile. Kindly: services as an operator would."""
        failures = [
            failure
            for service in self.services
            for failure in await asyncio.gather(
                in_thread(service.stop if kindly else service.kill),
                return_exceptions=True,
            )
        ]
        failures += await asyncio.gather(
            *(service.close() for service in self.services),
            in_thread(self.broker.kill),
            in_thread(self.pair.stop),
            return_exceptions=True,
        )
        for failure in failures:
            if kindly and failure is not None:
                raise failure

    @property
    def ports(self) -> list[int]:
        """Of the services, as clients reach them."""
        return [service.clients.port for service in self.services]
