"""Processes that are killed, stopped and paused."""

from __future__ import annotations

import os
import random
import signal
from contextlib import suppress
from typing import ClassVar

import psutil

from torture.faults.fault import Fault, without_standby
from torture.threads import in_thread
from torture.world.postgresql import SECONDS_MAX
from torture.world.world import World

DATABASE = frozenset({"database"})
SERVICE = frozenset({"service"})
BROKER = frozenset({"broker"})
RELAY = frozenset({"service", "broker"})


class ServiceKilled(Fault):
    """As a service that runs out of memory; started again at once."""

    kind = "service killed"
    touches = SERVICE
    from_begin = True
    seconds = (0.0, 0.0)

    @property
    def what(self) -> str:
        return f"service {self.service.name}"

    async def begin(self) -> None:
        await in_thread(self.service.kill)

    async def end(self) -> None:
        await in_thread(self.service.start)


class ServicePaused(Fault):
    """As a machine that is swapped out, or moved while it runs."""

    kind = "service paused"
    touches = SERVICE

    @property
    def what(self) -> str:
        return f"service {self.service.name}"

    async def begin(self) -> None:
        self.service.signal(signal.SIGSTOP)

    async def end(self) -> None:
        self.service.signal(signal.SIGCONT)


class RelayKilled(Fault):
    """The process that tells others, beside one service or beside both: of two, one may have nothing to do."""

    kind = "relay killed"
    touches = RELAY
    from_begin = True
    seconds = (0.0, 0.0)

    def __init__(self, world: World, source: random.Random) -> None:
        super().__init__(world, source)
        self.services = world.services if source.random() < 0.5 else [self.service]

    @property
    def what(self) -> str:
        return f"beside service {' and '.join(service.name for service in self.services)}"

    async def begin(self) -> None:
        for pid in [service.relay for service in self.services]:
            if pid is not None:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    async def end(self) -> None:
        pass  # the service starts it again


class _PostgresqlSignalled(Fault):
    """The first process of the primary gets a signal, and its supervisor starts it again."""

    touches = DATABASE
    from_begin = True
    seconds = (0.0, 0.0)
    number: ClassVar[int]

    @property
    def what(self) -> str:
        return f"server {self.primary.name}"

    async def begin(self) -> None:
        before = self.primary.processes
        self.primary.signal(self.number)
        # What the last of them still answers is not the new one's work.
        await in_thread(psutil.wait_procs, _found(before), SECONDS_MAX)

    async def end(self) -> None:
        pass


def _found(pids: list[int]) -> list[psutil.Process]:
    found = []
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            found.append(psutil.Process(pid))
    return found


class PostgresqlKilled(_PostgresqlSignalled):
    """By `kill -9`, which its other processes notice by themselves."""

    kind = "postgresql killed"
    number = signal.SIGKILL


class PostgresqlStopped(_PostgresqlSignalled):
    """An immediate stop: all its processes end at once, and nothing is brought to the disk."""

    kind = "postgresql stopped immediately"
    number = signal.SIGQUIT


class PostgresqlPaused(Fault):
    """All its processes."""

    kind = "postgresql paused"
    touches = DATABASE

    @property
    def what(self) -> str:
        return f"server {self.primary.name}"

    async def begin(self) -> None:
        self.primary.signal(signal.SIGSTOP, whole=True)

    async def end(self) -> None:
        self.primary.signal(signal.SIGCONT, whole=True)


class StandbyPaused(Fault):
    """Nothing can be committed meanwhile."""

    kind = "standby paused"
    touches = DATABASE

    @classmethod
    def refused(cls, world: World) -> str:
        return without_standby(world)

    @property
    def what(self) -> str:
        return f"server {self.world.pair.standby.name}"

    async def begin(self) -> None:
        self.world.pair.standby.signal(signal.SIGSTOP, whole=True)

    async def end(self) -> None:
        self.world.pair.standby.signal(signal.SIGCONT, whole=True)


class _Rabbitmq(Fault):
    """Something happens to the broker."""

    touches = BROKER

    @classmethod
    def refused(cls, world: World) -> str:
        return "" if world.has_broker else "there is no broker"


class RabbitmqKilled(_Rabbitmq):
    """By `kill -9`, and started again at once."""

    kind = "rabbitmq killed"
    from_begin = True
    seconds = (0.0, 0.0)

    async def begin(self) -> None:
        await in_thread(self.world.broker.kill)

    async def end(self) -> None:
        await in_thread(self.world.broker.start)


class RabbitmqPaused(_Rabbitmq):
    """All its processes."""

    kind = "rabbitmq paused"

    async def begin(self) -> None:
        self.world.broker.signal(signal.SIGSTOP)

    async def end(self) -> None:
        self.world.broker.signal(signal.SIGCONT)
