"""Benchmark of events to RabbitMQ: the end-to-end rate of each sink, and the effect on posting."""

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

from benchmarks.bench import RunContext
from benchmarks.cost import Meter, ResourceUsage
from benchmarks.ledgers import Ledger
from benchmarks.load import wrk
from benchmarks.results.report import Row, Series, Target
from harness.prerequisites import is_reachable
from harness.program.service import ServiceProcess

EXCHANGE_URL = os.environ.get("SALDO_TEST_RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672/")
STREAM_URL = os.environ.get(
    "SALDO_TEST_RABBITMQ_STREAM_URL", "rabbitmq-stream://guest:guest@127.0.0.1:5552/"
)
MISSING = (
    f"no RabbitMQ with its stream plugin at {EXCHANGE_URL} and {STREAM_URL}: events are skipped"
)

CONNECTIONS = 64
POLL_SECONDS = 0.01


@dataclass
class Topology:
    """An exchange with a queue that keeps all messages, and a stream. They are deleted afterwards."""

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


def is_available() -> bool:
    """Return whether a broker can be reached."""
    return is_reachable(EXCHANGE_URL, 5672, "rabbitmq") and is_reachable(
        STREAM_URL, 5552, "rabbitmq-stream"
    )


def measure_events(bench: RunContext) -> Iterator[Row]:
    """Measure each sink alone on an existing log, then single POSTs with and without both sinks."""
    targets = {"exchange": Target(at_least=3500), "stream": Target(at_least=30_000)}
    lines = {"exchange": bench.scale.bulk_lines // 20, "stream": bench.scale.bulk_lines // 2}
    for kind, target in targets.items():
        rates, total = Series(), ResourceUsage()
        for _ in range(bench.scale.variant_runs):
            rate, cost = _end_to_end(bench, kind, lines[kind])
            rates.add(rate)
            total += cost
        name = f"events to a RabbitMQ {kind}, end to end"
        yield Row(name, rates, "/s", target=target, cost=total)
    yield from _posting_with_sinks(bench)


def _end_to_end(bench: RunContext, kind: str, lines: int) -> tuple[float, ResourceUsage]:
    """Measure the rate from the relay's lease to the last confirmation.

    The CPU time of the relay is reported as the service's.
    """
    with bench.ledgers.fresh() as ledger, _topology() as topology:
        with ledger.serve() as service:
            bench.stream(service, bench.body(bench.workload(lines)))
        settings = topology.exchange if kind == "exchange" else topology.stream
        with ledger.serve(**settings) as service:
            _await(ledger, "leases", 1)
            meter = Meter(bench.ledgers, _relay_pids(service))
            # The opening entries of the users are events, too.
            count = lines + ledger.users + 1
            _, cost = meter.measure(lambda: _await(ledger, "confirmed", count), lambda _: count)
            return count / cost.elapsed, cost


def _posting_with_sinks(bench: RunContext) -> Iterator[Row]:
    off, on, total = Series(), Series(), ResourceUsage()
    with bench.ledgers.fresh() as ledger, _topology() as topology:
        for _ in range(bench.scale.rounds):
            for series, settings in ((off, {}), (on, topology.exchange | topology.stream)):
                with ledger.serve(**settings) as service:
                    # Wait for the leases, so that the start of the relay is not measured.
                    _await(ledger, "leases", 2 if settings else 0)
                    requests = bench.posts(bench.workload(0))
                    load = wrk.WrkLoad(service.url, requests, CONNECTIONS)
                    (driven,), cost = bench.drive([service.process.pid], [load])
                    requests.file.unlink()
                series.add(driven.rate)
                if series is on:
                    total += cost
    name = f"single POST, {CONNECTIONS} connections, both sinks on"
    yield Row(name, on, "/s", "both off", off.median, Target(ratio_at_least=0.7), total)


def _await(ledger: Ledger, question: str, count: int) -> None:
    """Poll a query until its result reaches a count."""
    while ledger.query(question)[0][0] < count:
        time.sleep(POLL_SECONDS)


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
