"""Rounds of some seconds in one world, each with clients, one fault, a calm phase, the final read and evidence."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import IO

import msgspec

from torture import final
from torture.clients import Client, SharedState, create_users, deposit, run_while_clients_work
from torture.faults.fault import Fault
from torture.history import ACCOUNTS, CONSUMERS, DELIVERIES, OPERATIONS, Evidence, Recorder, load
from torture.nemesis import Nemesis
from torture.threads import run_in_thread
from torture.world.consumers import Consumers
from torture.world.world import World

CLIENTS = 12
USERS = 16

ROUND_SECONDS = 3.0
BEFORE_FAULT_SECONDS = 1.0
"""Delay of the fault within a round, in seconds. A fault has no effect before the clients have begun."""

READ_SECONDS_MAX = 5.0
"""Time limit for a page of the final read, in seconds. A bug may have made the page unreadable.

The other pages are still evidence.
"""

BATCH_TIMEOUT_SECONDS = 2
"""The service's batch timeout, in seconds. After a post without an answer, the final read waits for this time."""

LEASE_SECONDS = 2
"""The relay's lease, in seconds: the time until another relay takes over from one that was killed."""

SILENCE_SECONDS_MAX = 20.0
"""Time without any delivery after which consumers are assumed to receive nothing more, in seconds."""

SETTINGS = {
    "SALDO_BATCH_TIMEOUT_SECONDS": str(BATCH_TIMEOUT_SECONDS),
    "SALDO_RELAY_LEASE_SECONDS": str(LEASE_SECONDS),
}
"""Settings of a world that keep rounds short."""


class Rounds:
    """All rounds of one world. It is an asynchronous context manager."""

    def __init__(
        self,
        world: World,
        directory: Path,
        seed: str,
        say: Callable[[str], None],
        *,
        has_consumers: bool,
    ) -> None:
        """Open the files of the evidence.

        Args:
            directory: the directory of the evidence.
            told: whether there are consumers.
        """
        self._world = world
        self._directory = directory
        self._seed = seed
        self._say = say
        self._numbers = count()
        self._files: list[IO[bytes]] = []
        self._operations = self._recorder(OPERATIONS)
        deliveries = self._recorder(DELIVERIES)
        self._consumers = (
            Consumers(deliveries, None, world.services, f"{seed}-consumers")
            if has_consumers
            else None
        )
        names = self._consumers.names if self._consumers else ()
        (directory / CONSUMERS).write_bytes(msgspec.json.encode(names))
        self.unread: dict[int, str] = {}
        """Users who could not be read after the last round, with the reason for each."""

    async def __aenter__(self) -> Rounds:
        try:
            if self._consumers is not None:
                await self._consumers.start()
            users = await create_users(self._world.ports, USERS)
        except BaseException:
            await self.__aexit__()
            raise
        self._board = SharedState(self._operations, users, self._world.ports)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._consumers is not None:
            await self._consumers.stop()
        for file in self._files:
            file.close()

    async def run_round(self, kind: type[Fault] | None) -> Evidence:
        """Run one round, and return the evidence of all rounds so far, limited to the users who can be read.

        Args:
            kind: the kind of fault that is injected; None for no fault.
        """
        seed = f"{self._seed}-{next(self._numbers)}"
        began = datetime.now(UTC).replace(microsecond=0)
        clients = [Client(self._board, f"{seed}-{number}", began) for number in range(CLIENTS)]
        one = Nemesis(self._world, self._board, None, f"{seed}-nemesis", self._say)
        await run_while_clients_work(clients, self._harm(one, [] if kind is None else [kind]))
        if self._consumers is not None:
            await self._wait_until_delivered(self._consumers)
        await self._read()
        for file in self._files:
            file.flush()
        evidence = await run_in_thread(load, self._directory)
        return exclude_users(evidence, self.unread)

    async def _harm(self, one: Nemesis, kinds: Sequence[type[Fault]]) -> None:
        await asyncio.sleep(BEFORE_FAULT_SECONDS)
        await one.run(kinds, ROUND_SECONDS - BEFORE_FAULT_SECONDS)

    async def _wait_until_delivered(self, consumers: Consumers) -> None:
        """Post a last transaction of each user, and wait until all consumers have received these transactions.

        By then they have received all earlier events, too. The wait ends early when nothing has been delivered for
        `SILENCE_SECONDS_MAX`, because a bug may have lost one of these events.
        """
        port = self._world.ports[0]
        last = {await deposit(self._board, port, user_id) for user_id in self._board.users}
        heard, since = -1, time.monotonic()
        while any(last - consumers.seen[name] for name in consumers.names):
            if heard != (heard := consumers.deliveries.total()):
                since = time.monotonic()
            if time.monotonic() > since + SILENCE_SECONDS_MAX:
                break
            await asyncio.sleep(0.05)

    async def _read(self) -> None:
        # Only posts with an unknown outcome need a wait.
        settled_at = self._board.unknown_at + BATCH_TIMEOUT_SECONDS + 1
        found = await final.read(
            self._world.services[0], self._board.users, settled_at, READ_SECONDS_MAX
        )
        self.unread = found.unread
        with (self._directory / ACCOUNTS).open("wb") as file:
            kept = Recorder(file)
            for account in found.accounts:
                kept.add(account)

    def _recorder(self, name: str) -> Recorder:
        self._files.append((self._directory / name).open("wb"))
        return Recorder(self._files[-1])


def exclude_users(evidence: Evidence, user_ids: Collection[int]) -> Evidence:
    """Return the evidence without these users, because their state is unknown and can't prove a fault."""
    subjects = set(map(str, user_ids))
    return Evidence(
        [each for each in evidence.operations if each.call.user_id not in user_ids],
        [each for each in evidence.accounts if each.user_id not in user_ids],
        [each for each in evidence.deliveries if each.event.get("subject") not in subjects],
        evidence.consumers,
    )
