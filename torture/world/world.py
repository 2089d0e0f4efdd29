"""The whole system: start, stop, and its settings."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from harness.events.rabbitmq import Broker
from saldo.store.schema.migrate import prepare_schema
from torture import mutants
from torture.threads import run_in_thread
from torture.world.consumers import EXCHANGE
from torture.world.postgresql import ServerPair
from torture.world.services import Service

SETTINGS = {
    "SALDO_WEBHOOK_ALLOW_PRIVATE": "true",
    "SALDO_WEBHOOK_ALLOW_HTTP": "true",
    # The receiver fails on purpose, and its retries must end before the run does.
    "SALDO_WEBHOOK_BACKOFF_SECONDS_MIN": "0.2",
    "SALDO_WEBHOOK_BACKOFF_SECONDS_MAX": "2",
    # A follower must soon detect that its connection is silent.
    "SALDO_EVENTS_HEARTBEAT_SECONDS": "2",
}
"""Settings that differ from the defaults."""


class World:
    """Two services, two PostgreSQL servers and a broker, as an asynchronous context manager.

    Trials of mutants use smaller worlds, which start faster.
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
        """Create a world; it starts when it is entered.

        Args:
            directory: a directory of its own, for all of its files.
            rabbitmq: the path of the server program; None for a world without a broker.
            standby: whether the primary has a standby.
            settings: settings of the services in addition to `SETTINGS`.
            planted: the name of the mutant that both services run; None for none.
        """
        self.pair = ServerPair(directory, standby=standby)
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
            await asyncio.gather(run_in_thread(self.pair.start), run_in_thread(self._start_broker))
            for service in self.services:
                await service.open()
            if self._planted is not None:
                await run_in_thread(self._plant, self._planted)
                await asyncio.gather(*(run_in_thread(service.start) for service in self.services))
            else:
                for service in self.services:
                    await run_in_thread(service.start)
        except BaseException:
            await self._end(kindly=False)
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        await self._end(kindly=kind is None)

    async def _end(self, *, kindly: bool) -> None:
        """End everything, even if parts of it fail. If `kindly` is true, the services are stopped in order; otherwise
        they are killed."""
        failures = [
            failure
            for service in self.services
            for failure in await asyncio.gather(
                run_in_thread(service.stop if kindly else service.kill),
                return_exceptions=True,
            )
        ]
        failures += await asyncio.gather(
            *(service.close() for service in self.services),
            run_in_thread(self._kill_broker),
            run_in_thread(self.pair.stop),
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
        """Migrate the database, and plant the database part of a mutant in it. The services start afterwards."""
        server = self.pair.primary.server
        # These are the defaults; the services don't start on a ledger with other values.
        prepare_schema(
            server.owner_role_url, server.service_role_url, currency_decimals=2, max_lateness=None
        )
        mutants.prepare(name, server.ledger_url)

    @property
    def has_broker(self) -> bool:
        return self._broker is not None

    @property
    def broker(self) -> Broker:
        """The broker. The world must have one."""
        assert self._broker is not None
        return self._broker

    @property
    def ports(self) -> list[int]:
        """The ports at which clients reach the services."""
        return [service.clients.port for service in self.services]
