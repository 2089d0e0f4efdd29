"""Faults of a cluster while transactions are posted over HTTP: a node dies and comes back, a shard moves."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import psycopg
import pytest

from harness.postgresql import databases
from harness.postgresql.databases import Database
from harness.program.service import run_service_process
from saldo import Client
from saldo.ledger.model import SHARDS
from tests.distributed.nodes import Node
from tests.distributed.test_distribute import program

pytestmark = pytest.mark.citus

CLIENTS = 16

PLACES = """
    SELECT nodeport, count(*) FROM citus_shards
    WHERE table_name = 'saldo.transactions'::regclass GROUP BY nodeport ORDER BY nodeport
"""


class Load:
    """Clients that deposit 1 each and retry until they get an answer; each uuid has one effect."""

    def __init__(self, url: str, users: list[int]) -> None:
        self.users = users
        self.posted: dict[int, int] = dict.fromkeys(users, 0)
        self.refused: list[str] = []
        self._http = httpx.AsyncClient(
            base_url=url, timeout=60, limits=httpx.Limits(max_connections=CLIENTS + 1)
        )
        self._over = asyncio.Event()
        self._grown = asyncio.Condition()

    @property
    def total(self) -> int:
        return sum(self.posted.values())

    async def after(self, more: int) -> None:
        """Wait until `more` further deposits are posted."""
        wanted = self.total + more
        async with self._grown:
            await asyncio.wait_for(self._grown.wait_for(lambda: self.total >= wanted), 120)

    async def deposit(self, user: int) -> None:
        """Post one more deposit, which must be answered at once."""
        fields = {"uuid": str(uuid4()), "type": "DEPOSIT", "amount": "1", "user_id": user}
        answer = await self._http.post("/v1/transaction", json=fields)
        assert answer.status_code == 200, answer.text
        self.posted[user] += 1

    async def _client(self, number: int) -> None:
        turn = number
        while not self._over.is_set():
            user = self.users[turn % len(self.users)]
            turn += CLIENTS
            fields = {"uuid": str(uuid4()), "type": "DEPOSIT", "amount": "1", "user_id": user}
            while True:
                answer = await self._http.post("/v1/transaction", json=fields)
                if answer.status_code == 200:
                    break
                if answer.status_code != 503:
                    self.refused.append(answer.text)
                    return
            self.posted[user] += 1
            async with self._grown:
                self._grown.notify_all()

    @asynccontextmanager
    async def run_clients(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as clients:
            for number in range(CLIENTS):
                clients.create_task(self._client(number))
            yield
            self._over.set()
        await self._http.aclose()


async def _check_disturbance(
    cluster: Database, directory: Path, disturb: Callable[[Load], Awaitable[None]]
) -> None:
    """Post during a disturbance, and check that nothing is lost and nothing is posted twice."""
    saldo = program(cluster)
    settings = {k: v for k, v in saldo.environment.items() if k.startswith("SALDO_")}
    with run_service_process(directory, **settings) as running:
        with Client(running.url) as client:
            users = [client.create_user(f"user {number}").id for number in range(64)]
        load = Load(running.url, users)
        async with load.run_clients():
            await load.after(200)
            await disturb(load)
            await load.after(200)
        assert load.refused == []
        with Client(running.url) as client:
            balances = {user: client.balance(user) for user in users}
        assert {user: found.balance for user, found in balances.items()} == load.posted
    found = json.loads(saldo("verify", "--json").output)
    assert found["whole"], found


def _workers(cluster: Database, citus_url: str) -> list[str]:
    """Return a superuser's URL on each worker."""
    with psycopg.connect(cluster.owner_role_url) as connection:
        nodes = connection.execute(
            "SELECT nodename, nodeport FROM pg_dist_node WHERE shouldhaveshards ORDER BY nodeid"
        ).fetchall()
    return [databases.replace_server(citus_url, *node) for node in nodes]


async def test_killed_worker_comes_back_without_losses(
    cluster: Database, citus_url: str, tmp_path: Path
) -> None:
    url, *_ = _workers(cluster, citus_url)
    worker = Node.at(url)
    # Ids are assigned in sequence from 1.
    elsewhere = _shards_elsewhere(cluster, urlsplit(url).port)

    async def kill_worker(load: Load) -> None:
        await asyncio.to_thread(worker.kill)
        try:
            for user in load.users:
                if user % SHARDS in elsewhere:
                    await load.deposit(user)
        finally:
            await asyncio.to_thread(worker.start)

    await _check_disturbance(cluster, tmp_path, kill_worker)


async def test_posting_continues_without_the_coordinator(
    cluster: Database, citus_url: str, tmp_path: Path
) -> None:
    coordinator = Node.at(citus_url)

    async def kill_coordinator(load: Load) -> None:
        await asyncio.to_thread(coordinator.kill)
        try:
            for user in load.users:
                await load.deposit(user)
        finally:
            await asyncio.to_thread(coordinator.start)

    await _check_disturbance(cluster, tmp_path, kill_coordinator)


def _shards_elsewhere(cluster: Database, port: int | None) -> set[int]:
    """Return the shards of the ledger that are not on the worker at this port."""
    with psycopg.connect(cluster.owner_role_url) as connection:
        rows = connection.execute(
            """
            SELECT shard FROM generate_series(0, 63) AS shard
            JOIN citus_shards AS s
                ON s.shardid = get_shard_id_for_distribution_column('saldo.transactions', shard::smallint)
            WHERE s.nodeport <> %s
            """,
            (port,),
        ).fetchall()
    return {shard for (shard,) in rows}


async def test_shards_can_be_moved_and_rebalanced_during_posting(
    cluster: Database, citus_url: str, tmp_path: Path
) -> None:
    def move() -> None:
        name = cluster.owner_role_url.rpartition("/")[2]
        with psycopg.connect(databases.replace_database(citus_url, name), autocommit=True) as admin:
            before = admin.execute(PLACES).fetchall()
            moved = admin.execute(
                """
                SELECT s.shardid, s.nodename, s.nodeport, n.nodename, n.nodeport
                FROM citus_shards AS s
                JOIN pg_dist_node AS n ON n.shouldhaveshards AND n.nodeid = (
                    SELECT max(l.nodeid) FROM pg_dist_node AS l WHERE l.shouldhaveshards
                )
                WHERE s.table_name = 'saldo.transactions'::regclass AND s.nodeport <> n.nodeport
                ORDER BY s.shardid LIMIT 3
                """
            ).fetchall()
            assert moved
            for place in moved:
                admin.execute(
                    "SELECT citus_move_shard_placement(%s, %s, %s, %s, %s, 'force_logical')", place
                )
            assert admin.execute(PLACES).fetchall() != before
            # The default strategy, by size, would find nothing to do, because all shards are small here.
            admin.execute("SELECT citus_rebalance_start(rebalance_strategy := 'by_shard_count')")
            admin.execute("SELECT citus_rebalance_wait()")
            assert admin.execute(PLACES).fetchall() == before

    async def move_shards(load: Load) -> None:
        await asyncio.to_thread(move)

    await _check_disturbance(cluster, tmp_path, move_shards)
