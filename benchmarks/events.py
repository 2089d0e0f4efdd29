"""From the log to RabbitMQ: how fast each sink is end to end, and what posting loses meanwhile."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from uuid import uuid4

import aio_pika
import psutil
from tests.acceptance.service import ServiceProcess
from tests.conftest import reachable

from benchmarks import wrk
from benchmarks.bench import Bench
from benchmarks.cost import Cost, Meter
from benchmarks.ledgers import Ledger
from benchmarks.report import Row, Series, Target

EXCHANGE_URL = os.environ.get("SALDO_TEST_RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672/")
STREAM_URL = os.environ.get(
    "SALDO_TEST_RABBITMQ_STREAM_URL", "rabbitmq-stream://guest:guest@127.0.0.1:5552/"
)
MISSING = (
    f"no RabbitMQ with its stream plugin at {EXCHANGE_URL} and {STREAM_URL}: events are skipped"
)

CONNECTIONS = 64
LOOK_SECONDS = 0.01


@dataclass
class Topology:
    """An exchange with a queue that keeps everything, and a stream; gone afterwards."""

    name: str = field(default_factory=lambda: f"saldo-bench-{uuid4()}")

    @property
    def exchange(self) -> dict[str, str]:
        return {"SALDO_RABBITMQ_URL": EXCHANGE_URL, "SALDO_RABBITMQ_EXCHANGE": self.name}

    @property
    def stream(self) -> dict[str, str]:
        return {"SALDO_RABBITMQ_STREAM_URL": STREAM_URL, "SALDO_RABBITMQ_STREAM": self.name}

    async def create(self) -> None:
        async with await aio_pika.connect(EXCHANGE_URL) as connection:
            channel = await connection.channel()
            exchange = await channel.declare_exchange(
                self.name, aio_pika.ExchangeType.TOPIC, durable=True
            )
            queue = await channel.declare_queue(f"{self.name}-queue", durable=True)
            await queue.bind(exchange, "user.#")

    async def delete(self) -> None:
        async with await aio_pika.connect(EXCHANGE_URL) as connection:
            channel = await connection.channel()
            await channel.queue_delete(f"{self.name}-queue")
            await channel.exchange_delete(self.name)
            await channel.queue_delete(self.name)


def available() -> bool:
    """Whether there is a broker to relay to."""
    return reachable(EXCHANGE_URL, 5672) and reachable(STREAM_URL, 5552)


def events(bench: Bench) -> Iterator[Row]:
    """Both sinks, each alone over a log that is there; then single POSTs with and without them."""
    targets = {"exchange": Target(at_least=3500), "stream": Target(at_least=30_000)}
    lines = {"exchange": bench.scale.bulk_lines // 20, "stream": bench.scale.bulk_lines // 2}
    for kind, target in targets.items():
        rates, total = Series(), Cost()
        for _ in range(bench.scale.variant_runs):
            rate, cost = _end_to_end(bench, kind, lines[kind])
            rates.add(rate)
            total += cost
        name = f"events to a RabbitMQ {kind}, end to end"
        yield Row(name, rates, "/s", target=target, cost=total)
    yield from _beside_posting(bench)


def _end_to_end(bench: Bench, kind: str, lines: int) -> tuple[float, Cost]:
    """From the relay's lease to the last confirmation; processor time of the relay, as the service's."""
    with bench.ledgers.fresh() as ledger, _topology() as topology:
        with ledger.serve() as service:
            bench.stream(service, bench.body(bench.workload(lines)))
        settings = topology.exchange if kind == "exchange" else topology.stream
        with ledger.serve(**settings) as service:
            _await(ledger, "leases", 1)
            meter = Meter(bench.ledgers, _relay_pids(service))
            # The users' openings are events, too.
            count = lines + ledger.users + 1
            _, cost = meter.measure(lambda: _await(ledger, "confirmed", count), lambda _: count)
            return count / cost.elapsed, cost


def _beside_posting(bench: Bench) -> Iterator[Row]:
    off, on, total = Series(), Series(), Cost()
    with bench.ledgers.fresh() as ledger, _topology() as topology:
        for _ in range(bench.scale.rounds):
            for series, settings in ((off, {}), (on, topology.exchange | topology.stream)):
                with ledger.serve(**settings) as service:
                    # Its start is not what it costs.
                    _await(ledger, "leases", 2 if settings else 0)
                    requests = bench.posts(bench.workload(0))
                    load = wrk.Load(service.url, requests, CONNECTIONS)
                    (driven,), cost = bench.drive([service.process.pid], [load])
                    requests.file.unlink()
                series.add(driven.rate)
                if series is on:
                    total += cost
    name = f"single POST, {CONNECTIONS} connections, both sinks on"
    yield Row(name, on, "/s", "both off", off.median, Target(ratio_at_least=0.7), total)


def _await(ledger: Ledger, question: str, count: int) -> None:
    """Returns when the answer is so many."""
    while ledger.query(question)[0][0] < count:
        time.sleep(LOOK_SECONDS)


def _relay_pids(service: ServiceProcess) -> list[int]:
    children = psutil.Process(service.process.pid).children()
    return [child.pid for child in children if "spawn_main" in " ".join(child.cmdline())]


@contextmanager
def _topology() -> Iterator[Topology]:
    topology = Topology()
    asyncio.run(topology.create())
    try:
        yield topology
    finally:
        asyncio.run(topology.delete())
