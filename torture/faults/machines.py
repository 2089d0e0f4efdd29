"""What happens to machines: a disk is full, a clock jumps, the primary is lost for ever."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress

import psycopg

from torture.faults.fault import Fault, without_standby
from torture.threads import in_thread
from torture.world.clocks import library
from torture.world.world import World

JUMPS_SECONDS = (-86_400, -3600, -30, 30, 3600, 86_400)

FILES_KEPT = 40
"""Of its log PostgreSQL keeps some for what comes; with the next one it needs room."""


class DiskFull(Fault):
    """Of the primary's data directory: not one block is free."""

    kind = "disk full"
    touches = frozenset({"database"})

    def __init__(self, world: World, source: random.Random) -> None:
        super().__init__(world, source)
        self._node = world.pair.primary
        self._switches = source.random() < 0.5
        self._task: asyncio.Task[None] | None = None

    @property
    def what(self) -> str:
        return f"server {self._node.name}" + (", a new log begins" if self._switches else "")

    @classmethod
    def refused(cls, world: World) -> str:
        return world.pair.primary.disk.refused

    async def begin(self) -> None:
        await in_thread(self._node.disk.fill)
        self._task = asyncio.create_task(self._keep_full())

    async def end(self) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._node.disk.empty()

    async def _keep_full(self) -> None:
        if self._switches:
            await in_thread(self._switch)
        while True:
            await asyncio.sleep(0.1)
            self._node.disk.fill()

    def _switch(self) -> None:
        """The server needs a new file for its log now, not in a minute."""
        with (
            suppress(psycopg.Error),
            psycopg.connect(
                self._node.server.superuser_url, autocommit=True, connect_timeout=2
            ) as admin,
        ):
            for _ in range(FILES_KEPT):
                admin.execute("SELECT pg_switch_wal()")


class _ClockJumped(Fault):
    """Ahead or back, and later to where it was."""

    def __init__(self, world: World, source: random.Random) -> None:
        super().__init__(world, source)
        self._jump_seconds = source.choice(JUMPS_SECONDS)

    @classmethod
    def refused(cls, world: World) -> str:
        del world
        return "" if library() else "libfaketime is not installed (Debian: package faketime)"


class DatabaseClockJumped(_ClockJumped):
    """Of the primary, whose time is what the ledger records."""

    kind = "database clock jumped"
    touches = frozenset({"database"})

    def __init__(self, world: World, source: random.Random) -> None:
        super().__init__(world, source)
        self._node = world.pair.primary

    @property
    def what(self) -> str:
        return f"server {self._node.name}, {self._jump_seconds:+d} s"

    async def begin(self) -> None:
        self._node.clock.set_by(self._jump_seconds)

    async def end(self) -> None:
        self._node.clock.set_by(0)


class ServiceClockJumped(_ClockJumped):
    """Of one service, its relay's too."""

    kind = "service clock jumped"
    touches = frozenset({"service"})

    @property
    def what(self) -> str:
        return f"service {self.service.name}, {self._jump_seconds:+d} s"

    async def begin(self) -> None:
        self.service.clock.set_by(self._jump_seconds)

    async def end(self) -> None:
        self.service.clock.set_by(0)


class FailOver(Fault):
    """The primary is lost at once and for ever; its standby is promoted, and gets a standby of its own."""

    kind = "fail-over to the standby"
    touches = frozenset({"database"})
    from_begin = True
    seconds = (0.5, 2.0)

    @classmethod
    def refused(cls, world: World) -> str:
        return without_standby(world)

    @property
    def what(self) -> str:
        return f"server {self.primary.name} lost"

    async def prepare(self) -> None:
        # A standby that does not follow must not be promoted: that is the platform's work.
        await in_thread(self.world.pair.wait_until_synchronous)

    async def begin(self) -> None:
        await in_thread(self.world.pair.fail_over)

    async def end(self) -> None:
        await in_thread(self.world.pair.attach_standby)
