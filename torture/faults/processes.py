"""Processes that are killed, stopped and paused."""

from __future__ import annotations

import os
import random
import signal
from contextlib import suppress
from typing import ClassVar

import psutil

from torture.faults.fault import Fault, reason_without_standby
from torture.threads import run_in_thread
from torture.world.postgresql import SECONDS_MAX
from torture.world.world import World

DATABASE = frozenset({"database"})
SERVICE = frozenset({"service"})
BROKER = frozenset({"broker"})
RELAY = frozenset({"service", "broker"})


class ServiceKilled(Fault):
    """A kill of a service, as by the out-of-memory killer. The service is restarted immediately."""

    kind = "service killed"
    affects = SERVICE
    from_begin = True
    seconds = (0.0, 0.0)

    @property
    def target(self) -> str:
        return f"service {self.service.name}"

    async def begin(self) -> None:
        await run_in_thread(self.service.kill)

    async def end(self) -> None:
        await run_in_thread(self.service.start)


class ServicePaused(Fault):
    """A pause of a service, as if its machine were swapped out or migrated live."""

    kind = "service paused"
    affects = SERVICE

    @property
    def target(self) -> str:
        return f"service {self.service.name}"

    async def begin(self) -> None:
        self.service.signal(signal.SIGSTOP)

    async def end(self) -> None:
        self.service.signal(signal.SIGCONT)


class RelayKilled(Fault):
    """A kill of the relay process of one service or of both. If only one is killed, the fault may have no effect,
    because that relay may hold no lease."""

    kind = "relay killed"
    affects = RELAY
    from_begin = True
    seconds = (0.0, 0.0)

    def __init__(self, world: World, source: random.Random) -> None:
        super().__init__(world, source)
        self.services = world.services if source.random() < 0.5 else [self.service]

    @property
    def target(self) -> str:
        return f"beside service {' and '.join(service.name for service in self.services)}"

    async def begin(self) -> None:
        for pid in [service.relay for service in self.services]:
            if pid is not None:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    async def end(self) -> None:
        pass  # the service restarts it


class _PostgresqlSignalled(Fault):
    """A signal to the primary's first process, which its supervisor then restarts."""

    affects = DATABASE
    from_begin = True
    seconds = (0.0, 0.0)
    number: ClassVar[int]

    @property
    def target(self) -> str:
        return f"server {self.primary.name}"

    async def begin(self) -> None:
        before = self.primary.processes
        self.primary.signal(self.number)
        # Otherwise an answer from a remaining process of the old server could be taken for an answer of the new server.
        await run_in_thread(psutil.wait_procs, _existing_processes(before), SECONDS_MAX)

    async def end(self) -> None:
        pass


def _existing_processes(pids: list[int]) -> list[psutil.Process]:
    found = []
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            found.append(psutil.Process(pid))
    return found


class PostgresqlKilled(_PostgresqlSignalled):
    """A `kill -9` of the first process, which the server's other processes detect by themselves."""

    kind = "postgresql killed"
    number = signal.SIGKILL


class PostgresqlStopped(_PostgresqlSignalled):
    """An immediate shutdown: all of the server's processes end immediately, and nothing is flushed to disk."""

    kind = "postgresql stopped immediately"
    number = signal.SIGQUIT


class PostgresqlPaused(Fault):
    """A pause of all processes of the primary."""

    kind = "postgresql paused"
    affects = DATABASE

    @property
    def target(self) -> str:
        return f"server {self.primary.name}"

    async def begin(self) -> None:
        self.primary.signal(signal.SIGSTOP, whole=True)

    async def end(self) -> None:
        self.primary.signal(signal.SIGCONT, whole=True)


class StandbyPaused(Fault):
    """A pause of all processes of the standby, during which nothing can be committed."""

    kind = "standby paused"
    affects = DATABASE

    @classmethod
    def reason_unavailable(cls, world: World) -> str:
        return reason_without_standby(world)

    @property
    def target(self) -> str:
        return f"server {self.world.pair.standby.name}"

    async def begin(self) -> None:
        self.world.pair.standby.signal(signal.SIGSTOP, whole=True)

    async def end(self) -> None:
        self.world.pair.standby.signal(signal.SIGCONT, whole=True)


class _Rabbitmq(Fault):
    """A fault of the broker."""

    affects = BROKER

    @classmethod
    def reason_unavailable(cls, world: World) -> str:
        return "" if world.has_broker else "there is no broker"


class RabbitmqKilled(_Rabbitmq):
    """A `kill -9` of the broker, which is restarted immediately."""

    kind = "rabbitmq killed"
    from_begin = True
    seconds = (0.0, 0.0)

    async def begin(self) -> None:
        await run_in_thread(self.world.broker.kill)

    async def end(self) -> None:
        await run_in_thread(self.world.broker.start)


class RabbitmqPaused(_Rabbitmq):
    """A pause of all processes of the broker."""

    kind = "rabbitmq paused"

    async def begin(self) -> None:
        self.world.broker.signal(signal.SIGSTOP)

    async def end(self) -> None:
        self.world.broker.signal(signal.SIGCONT)
