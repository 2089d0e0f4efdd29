"""Delivery of events while broker, relay and service are killed, with a broker of the test's own.

SALDO_TEST_EVENTS: number of transactions that are posted meanwhile.
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

from harness.events.consumers import ReceivedEvents, consume_queue
from harness.events.rabbitmq import Broker, run_broker
from harness.postgresql import data_directories
from harness.program.service import ServiceProcess, run_service_process

EVENTS = int(os.environ.get("SALDO_TEST_EVENTS", "6000"))
USERS = 40
CHUNK = 250


@pytest.fixture(scope="module")
def own_broker(rabbitmq_program: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with run_broker(rabbitmq_program, tmp_path_factory.mktemp("rabbitmq")) as running:
        yield running


class World:
    """A service and a broker that may be killed, with a client and a consumer that go on."""

    def __init__(self, directory: Path, own_broker: Broker) -> None:
        data_directories.create_for_service(directory, {})
        self.directory = directory
        self.broker = own_broker
        self.exchange = f"saldo-{uuid4()}"
        self.received = ReceivedEvents()
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
        """Return the process ids of the service's relay."""
        assert self._service is not None
        return [
            child.pid
            for child in psutil.Process(self._service.process.pid).children()
            if "spawn_main" in " ".join(child.cmdline())
        ]

    async def post(self, users: list[int], count: int) -> None:
        """Post all transactions, retrying each chunk until it is answered completely."""
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
            await asyncio.sleep(0.05)  # the service was killed and will be back

    async def listen(self, count: int) -> None:
        """Consume all events, reconnecting whenever the broker dies."""
        while len(self.received.events) < count:
            with contextlib.suppress(aio_pika.exceptions.AMQPError, OSError):
                async with consume_queue(
                    self.broker.url, self.exchange, name=self.exchange
                ) as consumer:
                    await consumer.take_until(self.received, count, seconds=600)
            await asyncio.sleep(0.1)


@pytest.fixture
async def world(tmp_path: Path, own_broker: Broker) -> AsyncIterator[World]:
    world = World(tmp_path, own_broker)
    world.start()
    yield world
    world.end()


async def test_no_event_number_is_missing_after_any_process_is_killed(world: World) -> None:
    async with consume_queue(world.broker.url, world.exchange, name=world.exchange):
        pass  # the queue exists before the first event, and stays
    async with httpx.AsyncClient() as client:
        users = [
            (await client.post(f"{world.url}/v1/user", json={"name": str(number)})).json()["id"]
            for number in range(USERS)
        ]
    total = USERS + EVENTS // CHUNK * CHUNK
    posting = asyncio.create_task(world.post(users, EVENTS))
    listening = asyncio.create_task(world.listen(total))

    async def wait_for_share(share: float) -> None:
        """Wait until the consumer has received this share, so that faults happen in the middle."""
        while len(world.received.events) < share * total:
            assert not listening.done() or listening.exception() is None
            await asyncio.sleep(0.02)

    async with asyncio.timeout(280 if EVENTS < 50_000 else 1800):
        await wait_for_share(0.1)
        await asyncio.to_thread(world.broker.kill)
        await asyncio.to_thread(world.broker.start)
        for share in (0.2, 0.3, 0.4):
            await wait_for_share(share)
            for pid in world.relay_pids():
                os.kill(pid, signal.SIGKILL)
        await wait_for_share(0.5)
        await asyncio.to_thread(world.end, signal.SIGKILL)
        await asyncio.to_thread(world.start)
        await wait_for_share(0.6)
        await asyncio.to_thread(world.end, signal.SIGTERM)
        await asyncio.to_thread(world.start)
        await wait_for_share(0.7)
        await asyncio.to_thread(world.broker.kill)
        for pid in world.relay_pids():
            os.kill(pid, signal.SIGKILL)
        await asyncio.to_thread(world.broker.start)
        await posting
        await listening
    assert world.received.faults == []
    assert len(world.received.events) == total


async def test_blocking_broker_is_reported_and_does_not_delay_a_stop(
    own_broker: Broker, tmp_path: Path
) -> None:
    """Block the broker by its memory limit, and check that posting goes on and nothing is lost."""
    world = World(tmp_path, own_broker)
    streams = {
        "SALDO_RABBITMQ_STREAM_URL": own_broker.stream_url,
        # The consumer's queue has the name of the exchange, and a stream is a queue, too.
        "SALDO_RABBITMQ_STREAM": f"{world.exchange}-stream",
    }
    limits = {"SALDO_SHUTDOWN_TIMEOUT_SECONDS": "4"}
    count = 30
    async with consume_queue(own_broker.url, world.exchange, name=world.exchange):
        pass
    running = await asyncio.to_thread(
        ServiceProcess, tmp_path, **world.settings, **streams, **limits
    )
    try:
        await asyncio.to_thread(running.wait_until_ready)
        await asyncio.to_thread(own_broker.control, "set_vm_memory_high_watermark", "0.00001")
        async with httpx.AsyncClient(base_url=running.url) as client:
            user_id = (await client.post("/v1/user", json={"name": "a"})).json()["id"]
            for _ in range(count):
                body = {"uuid": str(uuid4()), "type": "DEPOSIT", "amount": "1", "user_id": user_id}
                assert (await client.post("/v1/transaction", json=body)).status_code == 200
            async with asyncio.timeout(60):
                blocked = 'saldo_sink_blocked{sink="rabbitmq-exchange"} 1.0'
                while blocked not in (await client.get("/metrics")).text:
                    await asyncio.sleep(0.2)
        assert "sink rabbitmq-exchange: blocked: RabbitMQ accepts no messages" in running.output()
        # The service ends by itself, with its relay, and doesn't wait for confirmations that never come.
        assert await asyncio.to_thread(running.end) == 0
        told = running.output().partition("Shutting down")[2]
        assert "sink rabbitmq-exchange: stopped before all events were published" in told
        assert "sink rabbitmq-exchange: lease taken, epoch" not in told
        assert "PreconditionFailed" not in running.output()
        assert "Traceback" not in told
    finally:
        await asyncio.to_thread(running.end)
        await asyncio.to_thread(own_broker.control, "set_vm_memory_high_watermark", "0.6")
    running = await asyncio.to_thread(ServiceProcess, tmp_path, **world.settings, **streams)
    try:
        await asyncio.to_thread(running.wait_until_ready)
        async with consume_queue(own_broker.url, world.exchange, name=world.exchange) as consumer:
            await consumer.take_until(world.received, count + 1)
        assert world.received.faults == []
        async with httpx.AsyncClient(base_url=running.url) as client, asyncio.timeout(60):
            for expected in (
                f'saldo_sink_events_published_total{{sink="rabbitmq-stream"}} {count + 1}.0',
                'saldo_sink_blocked{sink="rabbitmq-stream"} 0.0',
            ):
                while expected not in (await client.get("/metrics")).text:
                    await asyncio.sleep(0.2)
        assert "PreconditionFailed" not in running.output()
    finally:
        await asyncio.to_thread(running.end)


async def test_unavailable_or_silent_broker_delays_only_events(
    own_broker: Broker, tmp_path: Path
) -> None:
    """Start the service without a broker, and check that it posts meanwhile and that every event arrives in order."""
    world = World(tmp_path, own_broker)
    async with consume_queue(own_broker.url, world.exchange, name=world.exchange):
        pass  # the queue is durable, and exists before the first event
    await asyncio.to_thread(own_broker.kill)
    try:
        await asyncio.to_thread(world.start)
        async with httpx.AsyncClient(base_url=world.url) as client:
            user_id = (await client.post("/v1/user", json={"name": "a"})).json()["id"]

            async def deposit() -> None:
                body = {"uuid": str(uuid4()), "type": "DEPOSIT", "amount": "1", "user_id": user_id}
                assert (await client.post("/v1/transaction", json=body)).status_code == 200
                assert (await client.get("/healthz/ready")).status_code == 200

            for _ in range(2):
                await deposit()
            await asyncio.to_thread(own_broker.start)
            async with consume_queue(
                own_broker.url, world.exchange, name=world.exchange
            ) as consumer:
                await consumer.take_until(world.received, 3)
            own_broker.signal(signal.SIGSTOP)
            try:
                for _ in range(20):
                    await deposit()
            finally:
                own_broker.signal(signal.SIGCONT)
            async with consume_queue(
                own_broker.url, world.exchange, name=world.exchange
            ) as consumer:
                await consumer.take_until(world.received, 23)
        assert world.received.faults == []
        assert len(world.received.events) == 23
    finally:
        await asyncio.to_thread(world.end)


async def test_another_process_takes_over_from_a_paused_relay_which_is_fenced(
    own_broker: Broker, tmp_path: Path, database_url: str
) -> None:
    del database_url
    world = World(tmp_path, own_broker)
    world.start()
    try:
        async with (
            consume_queue(own_broker.url, world.exchange) as consumer,
            httpx.AsyncClient() as client,
        ):
            created = await client.post(f"{world.url}/v1/user", json={"name": "a"})
            user_id = created.json()["id"]
            await consumer.take_until(world.received, 1)
            paused = world.relay_pids()
            for pid in paused:
                os.kill(pid, signal.SIGSTOP)
            # This second service on the same database has a relay of its own.
            url = f"postgresql://saldo@/saldo?host={tmp_path}/data/socket&port=5432"
            with run_service_process(
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
                await consumer.take_until(world.received, 21)
                for pid in paused:
                    os.kill(pid, signal.SIGCONT)
        assert world.received.faults == []
    finally:
        world.end()
