"""Connections that are cut, delayed, lost, half-closed and exhausted."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, ClassVar, Literal

import asyncpg

from torture.faults.fault import Fault
from torture.proxy import Direction, Proxy
from torture.world.services import CONNECTIONS_MAX
from torture.world.world import World

Where = Literal["client", "database"]

STRIKE_INTERVAL_SECONDS = 0.3
"""Interval between two strikes of a repeated fault, in seconds."""

OPENED_AT_ONCE = 16


class _Connections(Fault):
    """A fault in the connections of one service or of both, in one direction or in both."""

    where: ClassVar[Where]

    def __init__(self, world: World, source: random.Random) -> None:
        super().__init__(world, source)
        self.services = world.services if source.random() < 0.5 else [self.service]
        self.direction: Direction = source.choice(("there", "back"))
        self._task: asyncio.Task[None] | None = None

    @property
    def target(self) -> str:
        names = " and ".join(service.name for service in self.services)
        return f"service {names}, {self.direction}"

    @property
    def proxies(self) -> Sequence[Proxy]:
        if self.where == "client":
            return [service.clients for service in self.services]
        return [proxy for service in self.services for proxy in service.database]

    async def end(self) -> None:
        if self._task is not None:
            self._task.cancel()
        for proxy in self.proxies:
            proxy.calm()

    def strike(self) -> None:
        """Apply the fault to the connections once. This is repeated at an interval while the fault lasts."""

    async def _strike_on(self) -> None:
        while True:
            self.strike()
            await asyncio.sleep(STRIKE_INTERVAL_SECONDS)


class _Cut(_Connections):
    """A fault that resets connections at both ends, repeatedly."""

    async def begin(self) -> None:
        self._task = asyncio.create_task(self._strike_on())

    def strike(self) -> None:
        for proxy in self.proxies:
            proxy.cut()


class _HalfClosed(_Connections):
    """A fault that closes one direction of connections and leaves the other open, repeatedly."""

    async def begin(self) -> None:
        self._task = asyncio.create_task(self._strike_on())

    def strike(self) -> None:
        for proxy in self.proxies:
            proxy.half_close(self.direction)


class _Delayed(_Connections):
    """A fault that delays all data in one direction."""

    async def begin(self) -> None:
        seconds = self.random.uniform(0.05, 1.0)
        for proxy in self.proxies:
            proxy.ways[self.direction].delay_seconds = seconds


class _Lost(_Connections):
    """A fault that drops all data in one direction without closing the connection."""

    seconds = (1.5, 4.0)

    async def begin(self) -> None:
        for proxy in self.proxies:
            proxy.ways[self.direction].lost = True


class ClientsCut(_Cut):
    """Resets of the connections between clients and service."""

    kind, where, affects = "client connections cut", "client", frozenset({"clients"})


class ClientsDelayed(_Delayed):
    """Delays in the connections between clients and service."""

    kind, where, affects = "client connections delayed", "client", frozenset({"clients"})


class ClientsLost(_Lost):
    """Loss of data in the connections between clients and service."""

    kind, where, affects = "client connections lost", "client", frozenset({"clients"})


class ClientsHalfClosed(_HalfClosed):
    """Half-closed connections between clients and service."""

    kind, where, affects = "client connections half-closed", "client", frozenset({"clients"})


class DatabaseCut(_Cut):
    """Resets of the connections between service and database."""

    kind, where, affects = "database connections cut", "database", frozenset({"database"})


class DatabaseDelayed(_Delayed):
    """Delays in the connections between service and database."""

    kind, where, affects = "database connections delayed", "database", frozenset({"database"})


class DatabaseLost(_Lost):
    """Loss of data in the connections between service and database."""

    kind, where, affects = "database connections lost", "database", frozenset({"database"})


class DatabaseHalfClosed(_HalfClosed):
    """Half-closed connections between service and database."""

    kind, where, affects = "database connections half-closed", "database", frozenset({"database"})


class DatabaseExhausted(Fault):
    """A fault that opens all connections that the server allows for the role of the service, and closes those of one
    service."""

    kind = "database connections exhausted"
    affects = frozenset({"database"})

    def __init__(self, world: World, source: random.Random) -> None:
        super().__init__(world, source)
        self._taken: list[Any] = []

    @property
    def target(self) -> str:
        return f"server {self.primary.name}, service {self.service.name} cut off"

    async def begin(self) -> None:
        while await self._take() > 0:
            pass
        for proxy in self.service.database:
            proxy.cut()
        # The cut has freed connections. They are taken here, unless the service takes them first.
        await self._take()

    async def end(self) -> None:
        for connection in self._taken:
            connection.terminate()

    async def _take(self) -> int:
        url = self.primary.server.service_role_url
        made = await asyncio.gather(
            *(asyncpg.connect(url, timeout=10) for _ in range(OPENED_AT_ONCE)),
            return_exceptions=True,
        )
        taken = [each for each in made if not isinstance(each, BaseException)]
        self._taken += taken
        return len(taken)


class ServiceExhausted(Fault):
    """A fault that takes all connections that a service accepts, and cuts those of its clients."""

    kind = "service connections exhausted"
    affects = frozenset({"clients", "service"})

    def __init__(self, world: World, source: random.Random) -> None:
        super().__init__(world, source)
        self._taken: list[asyncio.StreamWriter] = []

    @property
    def target(self) -> str:
        return f"service {self.service.name}"

    async def begin(self) -> None:
        for _ in range(CONNECTIONS_MAX):
            with suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", self.service.port)
                self._taken.append(writer)
        self.service.clients.cut()

    async def end(self) -> None:
        for writer in self._taken:
            writer.transport.abort()
