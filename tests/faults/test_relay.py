"""Events through everything that dies: broker, relay, service; with a broker of the test's own.

SALDO_TEST_EVENTS: how many transactions are posted meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
from collections import deque
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import aio_pika
import httpx
import psutil
import pytest

from tests.acceptance.service import ServiceProcess, service
from tests.consumers import Received, queue
from tests.faults.broker import Broker, broker

EVENTS = int(os.environ.get("SALDO_TEST_EVENTS", "6000"))
USERS = 40
CHUNK = 250


@pytest.fixture(scope="module")
def own_broker(rabbitmq_program: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with broker(rabbitmq_program, tmp_path_factory.mktemp("rabbitmq")) as running:
        yield running


class World:
    """A service that may die, a broker that may die, and who posts and listens all the same."""

    def __init__(self, directory: Path, own_broker: Broker) -> None:
        self.directory = directory
        self.broker = own_broker
        self.exchange = f"saldo-{uuid4()}"
        self.received = Received()
        self._service: ServiceProcess | None = None
        self._up = asyncio.Event()

    @property
    def settings(self) -> dict[str, str]:
        return {
            "SALDO_RABBITMQ_URL": self.broker.url,
            "SALDO_RABBITMQ_EXCHANGE": self.exchange,
            "SALDO_RELAY_LEASE_SECONDS": "1",
        }

    def start(self) -> None:
        self._service = ServiceProcess(self.directory, **self.settings)
        self._service.wait_until_ready()
        self._up.set()

    def end(self, number: int = signal.SIGTERM) -> None:
        self._up.clear()
        if self._service is not None:
            self._service.end(number)

    @property
    def url(self) -> str:
        assert self._service is not None
        return self._service.url

    def relay_pids(self) -> list[int]:
        """Of the relay's process beside the service."""
        assert self._service is not None
        return [
            child.pid
            for child in psutil.Process(self._service.process.pid).children()
            if "spawn_main" in " ".join(child.cmdline())
        ]

    async def post(self, users: list[int], count: int) -> None:
        """Posts them all, each chunk again until it is answered whole."""
        chunks = deque(
            [
                {
                    "uuid": str(uuid4()),
                    "type": "DEPOSIT",
                    "amount": "0.01",
                    "user_id": random.choice(users),
                }
                for _ in range(CHUNK)
            ]
            for _ in range(count // CHUNK)
        )
        while chunks:
            await self._up.wait()
            body = "".join(json.dumps(line) + "\n" for line in chunks[0])
            with contextlib.suppress(httpx.TransportError):
                async with httpx.AsyncClient(timeout=30) as client:
                    answer = await client.post(
                        f"{self.url}/v1/transactions",
                        content=body,
                        headers={"content-type": "application/x-ndjson"},
                    )
                    codes = {json.loads(line)["status"] for line in answer.text.splitlines()}
                    if codes == {200} and len(answer.text.splitlines()) == CHUNK:
                        chunks.popleft()
                        continue
            await asyncio.sleep(0.05)  # the service is being killed: it will be back

    async def listen(self, count: int) -> None:
        """Consumes, connecting again as often as the broker dies."""
        while len(self.received.events) < count:
            with contextlib.suppress(aio_pika.exceptions.AMQPError, OSError):
                async with queue(self.broker.url, self.exchange, name=self.exchange) as consumer:
                    await consumer.until(self.received, count, seconds=600)
            await asyncio.sleep(0.1)


@pytest.fixture
async def world(tmp_path: Path, own_broker: Broker) -> AsyncIterator[World]:
    world = World(tmp_path, own_broker)
    world.start()
    yield world
    world.end()


async def test_no_number_is_missing_whoever_dies(world: World) -> None:
    async with queue(world.broker.url, world.exchange, name=world.exchange):
        pass  # the queue is there before the first event, and stays
    async with httpx.AsyncClient() as client:
        users = [
            (await client.post(f"{world.url}/v1/user", json={"name": str(number)})).json()["id"]
            for number in range(USERS)
        ]
    total = USERS + EVENTS // CHUNK * CHUNK
    posting = asyncio.create_task(world.post(users, EVENTS))
    listening = asyncio.create_task(world.listen(total))

    async def seen(share: float) -> None:
        """Awaits that the consumer has got so much, so that faults fall into the middle."""
        while len(world.received.events) < share * total:
            assert not listening.done() or listening.exception() is None
            await asyncio.sleep(0.02)

    async with asyncio.timeout(280 if EVENTS < 50_000 else 1800):
        await seen(0.1)
        await asyncio.to_thread(world.broker.kill)
        await asyncio.to_thread(world.broker.start)
        for share in (0.2, 0.3, 0.4):
            await seen(share)
            for pid in world.relay_pids():
                os.kill(pid, signal.SIGKILL)
        await seen(0.5)
        await asyncio.to_thread(world.end, signal.SIGKILL)
        await asyncio.to_thread(world.start)
        await seen(0.6)
        await asyncio.to_thread(world.end, signal.SIGTERM)
        await asyncio.to_thread(world.start)
        await seen(0.7)
        await asyncio.to_thread(world.broker.kill)
        for pid in world.relay_pids():
            os.kill(pid, signal.SIGKILL)
        await asyncio.to_thread(world.broker.start)
        await posting
        await listening
    assert world.received.faults == []
    assert len(world.received.events) == total


async def test_another_process_takes_over_from_a_paused_relay_which_is_fenced(
    own_broker: Broker, tmp_path: Path, database_url: str
) -> None:
    del database_url
    world = World(tmp_path, own_broker)
    world.start()
    try:
        async with queue(own_broker.url, world.exchange) as consumer, httpx.AsyncClient() as client:
            created = await client.post(f"{world.url}/v1/user", json={"name": "a"})
            user_id = created.json()["id"]
            await consumer.until(world.received, 1)
            paused = world.relay_pids()
            for pid in paused:
                os.kill(pid, signal.SIGSTOP)
            # A second service on the same database, with a relay of its own.
            url = f"postgresql://saldo@/saldo?host={tmp_path}/data/socket&port=5432"
            with service(
                tmp_path,
                SALDO_DATABASE_URL=url,
                SALDO_DATABASE_OWNER_URL=url.replace("saldo@", "saldo_owner@"),
                **world.settings,
            ) as second:
                for _ in range(20):
                    answer = await client.post(
                        f"{second.url}/v1/transaction",
                        json={
                            "uuid": str(uuid4()),
                            "type": "DEPOSIT",
                            "amount": "1.00",
                            "user_id": user_id,
                            "timestamp": "2023-10-30T12:30:45Z",
                        },
                    )
                    assert answer.status_code == 200
                await consumer.until(world.received, 21)
                for pid in paused:
                    os.kill(pid, signal.SIGCONT)
        assert world.received.faults == []
    finally:
        world.end()
