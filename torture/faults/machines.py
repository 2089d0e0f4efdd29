"""Faults of machines: a full disk, a clock that jumps, a primary that is lost for ever."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress

import psycopg

from torture.faults.fault import Fault, reason_without_standby
from torture.threads import run_in_thread
from torture.world.clocks import library
from torture.world.world import World

JUMPS_SECONDS = (-86_400, -3600, -30, 30, 3600, 86_400)

WAL_SWITCHES = 40
"""Number of WAL switches, enough to use up the files that PostgreSQL keeps; the next one needs free space."""


class DiskFull(Fault):
    """A full disk under the primary's data directory, without a single free block."""

    kind = "disk full"
    affects = frozenset({"database"})

    def __init__(self, world: World, source: random.Random) -> None:
        super().__init__(world, source)
        self._node = world.pair.primary
        self._switches = source.random() < 0.5
        self._task: asyncio.Task[None] | None = None

    @property
    def target(self) -> str:
        return f"server {self._node.name}" + (", a new log begins" if self._switches else "")

    @classmethod
    def reason_unavailable(cls, world: World) -> str:
        return world.pair.primary.disk.refused

    async def begin(self) -> None:
        await run_in_thread(self._node.disk.fill)
        self._task = asyncio.create_task(self._keep_full())

    async def end(self) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._node.disk.empty()

    async def _keep_full(self) -> None:
        if self._switches:
            await run_in_thread(self._switch)
        while True:
            await asyncio.sleep(0.1)
            self._node.disk.fill()

    def _switch(self) -> None:
        """Switch the WAL file repeatedly, so that the server needs space for a new file now and not in a minute."""
        with (
            suppress(psycopg.Error),
            psycopg.connect(
                self._node.server.superuser_url, autocommit=True, connect_timeout=2
            ) as admin,
        ):
            for _ in range(WAL_SWITCHES):
                admin.execute("SELECT pg_switch_wal()")


class _ClockJumped(Fault):
    """A clock that jumps ahead or back, and later returns."""

    def __init__(self, world: World, source: random.Random) -> None:
        super().__init__(world, source)
        self._jump_seconds = source.choice(JUMPS_SECONDS)

    @classmethod
    def reason_unavailable(cls, world: World) -> str:
        del world
        return "" if library() else "libfaketime is not installed (Debian: package faketime)"


class DatabaseClockJumped(_ClockJumped):
    """A clock jump of the primary, whose clock gives the recorded times."""

    kind = "database clock jumped"
    affects = frozenset({"database"})

    def __init__(self, world: World, source: random.Random) -> None:
        super().__init__(world, source)
        self._node = world.pair.primary

    @property
    def target(self) -> str:
        return f"server {self._node.name}, {self._jump_seconds:+d} s"

    async def begin(self) -> None:
        self._node.clock.set_offset(self._jump_seconds)

    async def end(self) -> None:
        self._node.clock.set_offset(0)


class ServiceClockJumped(_ClockJumped):
    """A clock jump of one service and its relay."""

    kind = "service clock jumped"
    affects = frozenset({"service"})

    @property
    def target(self) -> str:
        return f"service {self.service.name}, {self._jump_seconds:+d} s"

    async def begin(self) -> None:
        self.service.clock.set_offset(self._jump_seconds)

    async def end(self) -> None:
        self.service.clock.set_offset(0)


class FailOver(Fault):
    """Loss of the primary for ever: its standby is promoted, and then gets a standby of its own."""

    kind = "fail-over to the standby"
    affects = frozenset({"database"})
    from_begin = True
    seconds = (0.5, 2.0)

    @classmethod
    def reason_unavailable(cls, world: World) -> str:
        return reason_without_standby(world)

    @property
    def target(self) -> str:
        return f"server {self.primary.name} lost"

    async def prepare(self) -> None:
        # Only a standby in synchronous replication may be promoted; on a real platform the cluster manager checks that.
        await run_in_thread(self.world.pair.wait_until_synchronous)

    async def begin(self) -> None:
        await run_in_thread(self.world.pair.fail_over)

    async def end(self) -> None:
        await run_in_thread(self.world.pair.attach_standby)
