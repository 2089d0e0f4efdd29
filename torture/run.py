"""One run of the suite: start, faults, calm, the final read, the evidence, the checker."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

import msgspec

from torture import final, nemesis, report
from torture.clients import Client, SharedState, create_users, run_while_clients_work
from torture.faults.fault import Fault
from torture.history import ACCOUNTS, CONSUMERS, DELIVERIES, OPERATIONS, Recorder
from torture.nemesis import Nemesis
from torture.report import Summary
from torture.threads import run_in_thread
from torture.world.consumers import Consumers
from torture.world.services import BATCH_TIMEOUT_SECONDS
from torture.world.world import World

CLIENTS = 12
USERS = 32

TOLD_SECONDS_MAX = 300.0
"""Maximum time that the consumers may take to receive all events after the last fault has ended, in seconds."""


class Run:
    """One run, in a directory of its own."""

    def __init__(
        self, directory: Path, rabbitmq: str, seed: str, say: Callable[[str], None]
    ) -> None:
        self._directory = directory
        self._rabbitmq = rabbitmq
        self._seed = seed
        self._say = say
        self._left_out: dict[str, str] = {}

    async def run(self, *, kinds: Sequence[type[Fault]], seconds: float) -> int:
        """Run the suite and return the exit code, which is 1 if anything is wrong."""
        # Paths of Unix sockets must be short, and the running system needs nothing from the directory of the evidence.
        place = Path(tempfile.mkdtemp(prefix="saldo-world-"))
        place.chmod(0o755)
        try:
            whole = await self._torture(place, kinds, seconds)
        except BaseException:
            keep_logs(place, self._directory)
            raise
        finally:
            shutil.rmtree(place, ignore_errors=True)
        return max(0 if whole else 1, await run_in_thread(self._check))

    async def _torture(self, place: Path, kinds: Sequence[type[Fault]], seconds: float) -> bool:
        """Write the evidence, and return whether the system recovered as it should."""
        with ExitStack() as files:

            def recorder(name: str) -> Recorder:
                file: IO[bytes] = files.enter_context((self._directory / name).open("wb"))
                return Recorder(file)

            self._say("starting")
            async with World(place, self._rabbitmq) as world:
                told = recorder(DELIVERIES)
                consumers = Consumers(told, world.broker, world.services, f"{self._seed}-consumers")
                await consumers.start()
                try:
                    users = await create_users(world.ports, USERS)
                    board = SharedState(recorder(OPERATIONS), users, world.ports)
                    one = Nemesis(world, board, consumers, f"{self._seed}-nemesis", self._say)
                    await self._among_clients(world, board, one, kinds, seconds)
                    recorded, whole = await self._end(world, users, one, consumers, recorder)
                finally:
                    await consumers.stop()
                    keep_logs(place, self._directory)
        summary = Summary(
            self._seed,
            seconds,
            f"{os.cpu_count()} cores",
            recorded,
            dict(board.counts),
            dict(consumers.deliveries),
            self._left_out,
        )
        report.save(summary, self._directory)
        return whole

    async def _end(
        self,
        world: World,
        users: Sequence[int],
        one: Nemesis,
        consumers: Consumers,
        recorder: Callable[[str], Recorder],
    ) -> tuple[int, bool]:
        """End the run once all faults are over.

        Returns:
            The number of recorded transactions, and whether the run was right. It was right if the services recovered
            from every fault, every consumer has received everything, and `saldo verify` has found no fault.
        """
        self._say("calm")
        await one.finish()
        nemesis.write(one.happened, self._directory)
        (self._directory / CONSUMERS).write_bytes(msgspec.json.encode(consumers.names))
        settled_at = time.monotonic() + BATCH_TIMEOUT_SECONDS + 1
        accounts, unread = await final.read(world.services[0], users, settled_at)
        if unread:
            raise RuntimeError(f"the final read: {unread}")
        kept = recorder(ACCOUNTS)
        for account in accounts:
            kept.add(account)
        recorded = final.uuids(accounts)
        missing = await final.wait_until_all_delivered(consumers, recorded, TOLD_SECONDS_MAX)
        await consumers.read_stream(recorded, TOLD_SECONDS_MAX)
        for name in missing:
            self._say(f"{name} has not got everything")
        verified = await run_in_thread(self._verify, world)
        recovered = all(each.recovery_seconds is not None for each in one.happened)
        return len(recorded), not missing and verified and recovered

    async def _among_clients(
        self,
        world: World,
        board: SharedState,
        one: Nemesis,
        kinds: Sequence[type[Fault]],
        seconds: float,
    ) -> None:
        """Inject the faults while the clients work."""
        possible = []
        for kind in kinds:
            if reason := kind.reason_unavailable(world):
                self._left_out[kind.kind] = reason
                self._say(f"left out: {kind.kind}: {reason}")
            else:
                possible.append(kind)
        began = datetime.now(UTC).replace(microsecond=0)
        clients = [Client(board, f"{self._seed}-{number}", began) for number in range(CLIENTS)]
        await run_while_clients_work(clients, one.run(possible, seconds))

    def _verify(self, world: World) -> bool:
        """Run `saldo verify`, which checks the rules and the seals, and return whether it found no fault."""
        server = world.pair.primary.server
        urls = {
            "SALDO_DATABASE_URL": server.service_role_url,
            "SALDO_DATABASE_OWNER_URL": server.owner_role_url,
        }
        with (self._directory / "verify.log").open("wb") as log:
            done = subprocess.run(
                [sys.executable, "-m", "saldo", "verify", "--all"],
                env=os.environ | urls,
                stdout=log,
                stderr=log,
                check=False,
            )
        if done.returncode != 0:
            self._say("saldo verify finds something: verify.log")
        return done.returncode == 0

    def _check(self) -> int:
        """Run the checker on the evidence in a process of its own, and print its result and the measurements."""
        command = [sys.executable, "-m", "torture.checker", str(self._directory)]
        checked = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
        print(checked.stdout, end="")
        summary = report.load(self._directory)
        if found := re.search(r"^faults: (\d+)$", checked.stdout, re.MULTILINE):
            summary.faults_found = int(found[1])
            report.save(summary, self._directory)
        happened = nemesis.load(self._directory)
        print(f"\n{report.recovery_table(happened)}\n\n{report.totals_table(summary, happened)}")
        return checked.returncode


def keep_logs(world_directory: Path, directory: Path) -> None:
    """Copy the logs of all processes to the evidence."""
    for log in world_directory.glob("*.log"):
        shutil.copy(log, directory)
    for log in world_directory.glob("?/postgresql.log"):
        shutil.copy(log, directory / f"postgresql-{log.parent.name}.log")
