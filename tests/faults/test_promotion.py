"""Promotion of a standby that lacks the tail of the log: from its first answer on, its log has another identity."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from importlib.resources import files
from pathlib import Path
from uuid import UUID, uuid4

import psycopg
import pytest

from harness.postgresql.standbys import run_standby
from saldo.events.event import EVENT_TYPES, Event, EventEncoder
from saldo.events.live.hub import Hub, LiveLimits, PositionGoneError, compute_shards
from saldo.events.live.subscription import EventFilter
from saldo.events.position import LogPosition, derive_epoch
from saldo.ledger.model import LedgerLimits, TransactionRequest, compute_shard
from saldo.relay.relay import Relay, RelayLimits
from saldo.store.connections.connection import open_pool
from saldo.store.embedded import EmbeddedServer
from saldo.store.errors import ConnectionLostError
from saldo.store.log import Log
from saldo.store.poster import Poster, create_user
from saldo.store.schema.migrate import prepare_schema
from saldo.store.sinks import LeaseLostError, SinkLease, Sinks
from tests.faults.test_failover import either

LIMITS = LedgerLimits(
    balance_max=10**15,
    future_tolerance=timedelta(days=1),
    max_lateness=None,
    late_check_entries_max=10_000,
)
KEPT, LOST, REAL = 5, 10, 20
"""Numbers of entries: on both servers, only on the lost primary, and posted after the promotion."""


class Broker:
    """A sink like a RabbitMQ stream: publishing ids only increase, and an event with a lower id is dropped."""

    name = "broker"

    def __init__(self) -> None:
        self._told = b""
        self._ids: dict[tuple[str, int], int] = {}
        self._epoch = ""

    async def open(self, lease: SinkLease) -> None:
        self._epoch = lease.log_epoch

    async def publish(self, events: Sequence[Event]) -> int:
        for event in events:
            publisher = (self._epoch, event.shard)
            if event.seq > self._ids.get(publisher, 0):
                self._ids[publisher] = event.seq
                self._told += event.body
        return 0

    def has(self, uuids: Sequence[UUID]) -> bool:
        """Return whether the broker has accepted the events of all these entries."""
        return all(str(uuid).encode() in self._told for uuid in uuids)

    async def get_blocked_reason(self) -> str | None:
        return None

    async def close(self) -> None: ...


@pytest.fixture
def standby(tmp_path: Path, own_server: EmbeddedServer) -> Iterator[EmbeddedServer]:
    """Yield an asynchronous standby with many dirty pages, whose first checkpoint after its promotion takes long."""
    prepare_schema(
        own_server.owner_role_url,
        own_server.service_role_url,
        currency_decimals=2,
        max_lateness=None,
    )
    with run_standby(own_server, tmp_path / "standby") as server:
        with psycopg.connect(own_server.superuser_url, autocommit=True) as admin:
            admin.execute(
                "CREATE TABLE dirty AS SELECT g, repeat('x', 500) AS x FROM generate_series(1, 5000) g"
            )
        yield server


def follow(standby: EmbeddedServer, primary: EmbeddedServer) -> None:
    """Wait until the standby has replayed all that the primary has written."""
    with psycopg.connect(primary.superuser_url) as admin:
        row = admin.execute("SELECT pg_current_wal_insert_lsn()::text").fetchone()
    assert row is not None
    until(standby, f"SELECT pg_last_wal_replay_lsn() >= '{row[0]}'")


def until(server: EmbeddedServer, condition: str) -> None:
    with psycopg.connect(server.superuser_url, autocommit=True) as admin:
        while admin.execute(condition).fetchone() != (True,):
            pass


def cut(standby: EmbeddedServer) -> None:
    """Stop the standby's replication."""
    with psycopg.connect(standby.superuser_url, autocommit=True) as admin:
        admin.execute("ALTER SYSTEM SET primary_conninfo = ''")
        admin.execute("SELECT pg_reload_conf()")
    until(standby, "SELECT count(*) = 0 FROM pg_stat_wal_receiver")


def promote(standby: EmbeddedServer) -> None:
    with psycopg.connect(standby.superuser_url, autocommit=True) as admin:
        assert admin.execute("SELECT pg_promote()").fetchone() == (True,)


async def post(url: str, user_id: int, count: int) -> list[UUID]:
    """Record deposits and return their uuids."""
    uuids = [uuid4() for _ in range(count)]
    poster = await Poster.open(url, LIMITS, lane=0, statement_timeout_seconds=5)
    try:
        await poster.post([TransactionRequest(uuid, user_id, 100, None) for uuid in uuids])
    finally:
        await poster.close()
    return uuids


async def eventually(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not true():
            await asyncio.sleep(0.01)


@asynccontextmanager
async def run_relay(log: Log, sinks: Sinks, broker: Broker) -> AsyncIterator[Relay]:
    limits = RelayLimits(
        batch_events_max=100, poll_seconds=0.05, lease_seconds=3, publish_timeout_seconds=10
    )
    relay = Relay(broker, log, sinks, EventEncoder(2), limits)
    running = asyncio.create_task(relay.run())
    try:
        yield relay
    finally:
        relay.stop()
        await running


async def test_all_events_are_published_after_a_promotion_that_lost_the_tail(
    own_server: EmbeddedServer, standby: EmbeddedServer
) -> None:
    url = either("saldo", own_server, standby)
    pool = await open_pool(url, connections=4, statement_timeout_seconds=5)
    log, sinks, broker = Log(pool), Sinks(pool, lease_seconds=3), Broker()
    limits = LiveLimits(10, 100_000, heartbeat_seconds=1, poll_seconds=0.05)
    hub = Hub(log, EventEncoder(2), limits)
    try:
        user = (await create_user(pool, "one", timeout_seconds=5)).id
        async with run_relay(log, sinks, broker):
            kept = await post(url, user, KEPT)
            await eventually(lambda: broker.has(kept))
            follow(standby, own_server)
            cut(standby)
            lost = await post(url, user, LOST)
            await eventually(lambda: broker.has(lost))
            identity, heads = await log.read_end()

            own_server.stop()
            promote(standby)
            real = await post(url, user, REAL)
            assert await log.read_identity() != identity

            await eventually(lambda: broker.has(real))
        # A client that has read all of the lost log gets an error, and skips no events silently.
        wanted = EventFilter(frozenset({user}), frozenset(EVENT_TYPES), compute_shards([user]))
        assert (await log.read_last_positions())[compute_shard(user)] > heads[compute_shard(user)]
        with pytest.raises(PositionGoneError):
            await hub.subscribe(wanted, LogPosition(derive_epoch(identity), heads))
    finally:
        await hub.close()
        pool.terminate()


async def test_lease_from_before_a_failover_moves_no_cursor(
    own_server: EmbeddedServer, standby: EmbeddedServer
) -> None:
    """Check that the log's identity is compared, because the lease itself exists on both servers."""
    url = either("saldo", own_server, standby)
    pool = await open_pool(url, connections=1, statement_timeout_seconds=5)
    sinks = Sinks(pool, lease_seconds=600)
    try:
        await sinks.create("test")
        lease = await sinks.acquire_lease("test", uuid4())
        assert lease is not None
        follow(standby, own_server)
        cut(standby)
        await sinks.move_cursors(lease, {1: 0})
        own_server.stop()
        promote(standby)
        with pytest.raises(LeaseLostError):
            while True:
                with suppress(ConnectionLostError):  # from connections to the old primary
                    await sinks.move_cursors(lease, {1: 10})
                    pytest.fail("the cursor was moved")
    finally:
        pool.terminate()


def test_no_statement_reads_the_timeline_of_the_checkpoint() -> None:
    """Check the sources for this function, which returns the old timeline for minutes after a promotion."""
    sources = [
        path
        for path in Path(str(files("saldo"))).rglob("*")
        if path.suffix in {".py", ".sql"} and "migrations" not in path.parts
    ]
    assert len(sources) > 100
    for path in sources:
        text = "\n".join(
            line
            for line in path.read_text("utf-8").splitlines()
            if not line.lstrip().startswith(("--", "#"))
        )
        assert "pg_control_checkpoint" not in text, path
