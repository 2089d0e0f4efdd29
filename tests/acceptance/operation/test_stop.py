"""A stop of `saldo serve` while 1,000 requests are in progress."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from uuid import uuid4

from harness.http_client import Client, DisconnectedError
from harness.program.service import ServiceProcess, run_service_process

CLIENTS = 1000
USERS = 20
ANSWERS_BEFORE = 3000
CHECKERS = 20


class Load:
    """Clients that each send one deposit after another until the service has stopped."""

    def __init__(self, running: ServiceProcess, users: list[int]) -> None:
        self._running = running
        self._users = users
        self.posted: list[str] = []
        self.refused: list[str] = []
        self.in_flight = 0
        self.in_flight_at_the_signal = 0

    async def run(self) -> None:
        await asyncio.gather(*(self._client(number) for number in range(CLIENTS)))

    async def _client(self, number: int) -> None:
        async with Client(self._running.url) as client:
            while True:
                uuid = str(uuid4())
                deposit = {
                    "uuid": uuid,
                    "type": "DEPOSIT",
                    "amount": "1",
                    "user_id": self._users[number % len(self._users)],
                }
                self.in_flight += 1
                try:
                    status, answer = await client.post("/v1/transaction", deposit)
                except DisconnectedError:
                    return
                finally:
                    self.in_flight -= 1
                if status == 200:
                    self.posted.append(uuid)
                else:
                    assert (status, answer["code"]) == (503, "overloaded")
                    self.refused.append(uuid)
                if len(self.posted) == ANSWERS_BEFORE:
                    self.in_flight_at_the_signal = self.in_flight
                    os.kill(self._running.process.pid, signal.SIGTERM)


async def _create_users(url: str) -> list[int]:
    async with Client(url) as client:
        created = [await client.post("/v1/user", {"name": f"user {n}"}) for n in range(USERS)]
    return [user["id"] for _, user in created]


async def _statuses(url: str, uuids: list[str]) -> set[int]:
    async def check(mine: list[str]) -> set[int]:
        async with Client(url) as client:
            return {(await client.get(f"/v1/transaction/{uuid}"))[0] for uuid in mine}

    checks = await asyncio.gather(*(check(uuids[turn::CHECKERS]) for turn in range(CHECKERS)))
    return set().union(*checks)


async def test_a_stop_loses_nothing_that_was_answered(tmp_path: Path) -> None:
    with run_service_process(tmp_path) as running:
        load = Load(running, await _create_users(running.url))
        await load.run()
        assert await asyncio.to_thread(running.process.wait, 60) == 0
    assert load.in_flight_at_the_signal == CLIENTS - 1
    assert len(load.posted) >= ANSWERS_BEFORE
    with run_service_process(tmp_path) as running:
        assert await _statuses(running.url, load.posted) == {200}
        assert await _statuses(running.url, load.refused) <= {404}
