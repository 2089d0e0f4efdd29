"""All of it together: start, stop, and the settings under which it runs."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from tests.faults.broker import Broker

from saldo.store.migrate import prepare
from torture import mutants
from torture.threads import in_thread
from torture.world.consumers import EXCHANGE
from torture.world.postgresql import Pair
from torture.world.services import Service

SETTINGS = {
    "SALDO_WEBHOOK_ALLOW_PRIVATE": "true",
    # The receiver fails on purpose, and what waits for it must come before the end.
    "SALDO_WEBHOOK_BACKOFF_SECONDS_MIN": "0.2",
    "SALDO_WEBHOOK_BACKOFF_SECONDS_MAX": "2",
    # So that a follower whose connection says nothing knows it soon.
    "SALDO_EVENTS_HEARTBEAT_SECONDS": "2",
}
"""What differs from what users get."""


class World:
    """Two services, two PostgreSQL servers, a broker. An asynchronous context manager.

    Smaller worlds are for bugs that are planted: they are started often, and need less.
    """

    def __init__(
        self,
        directory: Path,
        rabbitmq: str | None,
        *,
        standby: bool = True,
        settings: Mapping[str, str] = MappingProxyType({}),
        planted: str | None = None,
    ) -> None:
        """
        Args:
            directory: of its own, where everything of it is.
            rabbitmq: the program; None: there is no broker.
            standby: whether the primary has one.
            settings: of the services, beside `SETTINGS`.
            planted: the bug that both services have; None: none.
        """
        self.pair = Pair(directory, standby=standby)
        self._planted = planted
        self._broker: Broker | None = None
        settings = SETTINGS | dict(settings)
        if rabbitmq is not None:
            (directory / "rabbitmq").mkdir()
            self._broker = Broker(rabbitmq, directory / "rabbitmq")
            settings |= {
                "SALDO_RABBITMQ_EXCHANGE": EXCHANGE,
                "SALDO_RABBITMQ_STREAM": EXCHANGE,
                "SALDO_RABBITMQ_URL": self._broker.url,
                "SALDO_RABBITMQ_STREAM_URL": self._broker.stream_url,
            }
        self.services: Sequence[Service] = [
            Service(directory, name, self.pair, settings, mutants.command(planted))
            for name in ("one", "two")
        ]

    async def __aenter__(self) -> World:
        try:
            await asyncio.gather(in_thread(self.pair.start), in_thread(self._start_broker))
            for service in self.services:
                await service.open()
            if self._planted is not None:
                await in_thread(self._plant, self._planted)
                await asyncio.gather(*(in_thread(service.start) for service in self.services))
            else:
                for service in self.services:
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
            in_thread(self._kill_broker),
            in_thread(self.pair.stop),
            return_exceptions=True,
        )
        for failure in failures:
            if kindly and failure is not None:
                raise failure

    def _start_broker(self) -> None:
        if self._broker is not None:
            self._broker.start()

    def _kill_broker(self) -> None:
        if self._broker is not None:
            self._broker.kill()

    def _plant(self, name: str) -> None:
        """What of the bug is in the database: before the services start, which find it migrated."""
        server = self.pair.primary.server
        # What the services have if nothing is set; they don't start on a ledger that differs.
        prepare(server.owner_url, server.service_url, currency_decimals=2, max_lateness=None)
        mutants.prepare(name, server.ledger_url)

    @property
    def has_broker(self) -> bool:
        return self._broker is not None

    @property
    def broker(self) -> Broker:
        """Only of a world that has one."""
        assert self._broker is not None
        return self._broker

    @property
    def ports(self) -> list[int]:
        """Of the services, as clients reach them."""
        return [service.clients.port for service in self.services]
