"""`saldo db distribute`: distributing the ledger from the coordinator to all workers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from harness.postgresql import databases
from harness.postgresql.databases import Database
from harness.program.command import Program
from harness.program.service import run_service_process
from harness.transaction_files import deposits, write_csv
from saldo.ledger.model import SHARDS, Outcome
from saldo.store.citus.placement import connect_to_node, read_shard_nodes
from saldo.store.citus.setup import distribute
from saldo.store.errors import ConfigurationError, ConnectionLostError
from saldo.store.schema.migrate import prepare_schema
from saldo.store.statements import load_statement
from tests.distributed.calls import connect_store, request

pytestmark = pytest.mark.citus

SESSION: Any = {"application_name": "saldo test", "statement_timeout_seconds": 30}


def program(database: Database) -> Program:
    """Return the command line of an operator."""
    return Program(
        SALDO_DATABASE_URL=database.service_role_url,
        SALDO_DATABASE_OWNER_URL=database.owner_role_url,
    )


def test_filled_ledger_is_distributed_and_stays_consistent(citus_url: str, tmp_path: Path) -> None:
    with databases.create_citus_database(citus_url) as database:
        saldo = program(database)
        settings = {k: v for k, v in saldo.environment.items() if k.startswith("SALDO_")}
        with run_service_process(tmp_path, **settings) as running:
            there = Program(SALDO_URL=running.url)
            users = [there.user(f"user {number}") for number in range(70)]
            there("import", str(write_csv(tmp_path / "some.csv", deposits(700, users))))
            before = [there.balance(user) for user in users[:3]]
            there("export", str(tmp_path / "before.csv"))
            ended = saldo("db", "distribute", code=1)
            assert "other connections to the ledger: stop all its clients first" in ended.errors
        done = saldo("db", "distribute", "--json").json
        assert (done["shards"], done["entries"]) == (SHARDS, 770)
        assert "is already distributed" in saldo("db", "distribute", code=1).errors
        found = saldo("verify", "--json").json
        assert (found["whole"], found["entries"]) == (True, 770)
        with run_service_process(tmp_path, **settings) as running:
            there = Program(SALDO_URL=running.url)
            assert [there.balance(user) for user in users[:3]] == before
            there("export", str(tmp_path / "after.csv"))
            assert (tmp_path / "after.csv").read_bytes() == (tmp_path / "before.csv").read_bytes()
            again = there("import", str(tmp_path / "some.csv"), "--json").json
            assert (again["posted"], again["replayed"]) == (0, 700)
            there("withdraw", users[0], str(before[0]))
            there("withdraw", users[0], "0.01", code=1)


def test_the_shards_are_spread_evenly(cluster: Database) -> None:
    with psycopg.connect(cluster.owner_role_url) as connection:
        rows = connection.execute(
            """
            SELECT count(*), count(DISTINCT n.nodeid) FROM pg_dist_node AS n WHERE n.shouldhaveshards
            """
        ).fetchone()
        assert rows is not None
        placed = connection.execute(
            "SELECT count(*) FROM citus_shards WHERE table_name = 'saldo.transactions'::regclass"
            " GROUP BY nodename, nodeport"
        ).fetchall()
        assert sum(count for (count,) in placed) == SHARDS
        assert len(placed) == rows[0]
        assert max(placed)[0] - min(placed)[0] <= 1
        distinct = connection.execute(
            "SELECT count(DISTINCT get_shard_id_for_distribution_column('saldo.transactions', s::smallint))"
            " FROM generate_series(0, 63) AS s"
        ).fetchone()
        assert distinct == (SHARDS,)


def test_database_without_citus_cannot_be_distributed(citus_url: str) -> None:
    with databases.create_database(citus_url) as database:
        prepare_schema(
            database.owner_role_url,
            database.service_role_url,
            currency_decimals=2,
            max_lateness=None,
        )
        with pytest.raises(ConfigurationError, match="CREATE EXTENSION citus"):
            distribute(database.owner_role_url, database.service_role_url)


async def test_each_shard_has_a_node_and_other_servers_are_rejected(cluster: Database) -> None:
    async with connect_store(cluster.service_role_url) as ledger:
        found = await read_shard_nodes(ledger.reader.pool)
        assert len(found) == SHARDS
        for node in {*found}:
            connection = await connect_to_node(node, cluster.service_role_url, **SESSION)
            await connection.close()
            for other in (node._replace(number=99), node._replace(ledger="another")):
                with pytest.raises(
                    ConnectionLostError,
                    match="is not the Citus worker that the coordinator lists there",
                ):
                    await connect_to_node(other, cluster.service_role_url, **SESSION)
    with psycopg.connect(cluster.owner_role_url) as connection:
        rows = connection.execute(
            "SELECT c.nodename, c.nodeport FROM generate_series(0, 63) AS s JOIN citus_shards AS c ON c.shardid ="
            " get_shard_id_for_distribution_column('saldo.transactions', s::smallint) ORDER BY s"
        ).fetchall()
    assert [(node.host, node.port) for node in found] == rows


async def test_a_batch_is_one_remote_command(cluster: Database) -> None:
    async with connect_store(cluster.service_role_url) as ledger:
        user_id = await ledger.user()
        assert (await ledger.post(user_id, 500))[0].outcome is Outcome.POSTED
        connection = ledger.poster._connection
        sent: list[str] = []
        connection.add_log_listener(lambda _, message: sent.append(message.message))
        await connection.execute(
            "SET citus.log_remote_commands = on; SET client_min_messages = log"
        )
        await ledger.post(user_id, 1, 2, -3)
        assert len([line for line in sent if "issuing" in line]) == 1, sent
        assert "post_on_shard_2" in sent[0]


async def test_query_for_one_user_goes_to_one_shard(cluster: Database) -> None:
    async with connect_store(cluster.service_role_url) as ledger:
        user_id = await ledger.user()
        await ledger.post(user_id, 5)
        async with ledger.reader.pool.acquire() as connection:
            for name, arguments in (
                ("users/by_id", (user_id,)),
                ("transactions/page_of_user", (user_id, 0, 10, None, None, None, 10, None)),
                ("audit_scan/last_entry_by_horizon", (user_id, 10, 0, 10)),
                ("transactions/by_uuid_and_user", (uuid4(), user_id)),
            ):
                text = load_statement(name, distributed=True)
                rows = await connection.fetch(f"EXPLAIN (FORMAT JSON) {text}", *arguments)
                (plan,) = json.loads(rows[0][0])
                assert _tasks(plan["Plan"]) == 1, (name, plan)


def _tasks(plan: dict[str, object]) -> int:
    found = json.dumps(plan)
    return int(found.partition('"Task Count": ')[2].split(",")[0].split("}")[0])


async def test_uuid_is_unique_per_shard(cluster: Database) -> None:
    async with connect_store(cluster.service_role_url) as ledger:
        one, other = await ledger.user(), await ledger.user()
        first = request(one, 100)
        (posted,) = await ledger.poster.post([first])
        assert posted is not None
        assert posted.outcome is Outcome.POSTED
        (again, elsewhere) = await ledger.poster.post([first, request(other, 7, first.uuid)])
        assert again is not None
        assert elsewhere is not None
        assert (again.replayed, again.balance) == (True, 100)
        assert (elsewhere.replayed, elsewhere.balance) == (False, 7)
    found = program(cluster)("verify", "--all", "--json", code=1).json
    faults = [(each["rule"], each["uuid"], each["user_id"]) for each in found["faults"]]
    assert faults == [("uuid", str(first.uuid), one), ("uuid", str(first.uuid), other)]


def test_service_role_cannot_alter_history(cluster: Database) -> None:
    with psycopg.connect(cluster.service_role_url, autocommit=True) as connection:
        for attempt in (
            "UPDATE saldo.transactions SET balance = 1",
            "DELETE FROM saldo.transactions",
            "DELETE FROM saldo.seals",
            "TRUNCATE saldo.transactions",
            "DROP TABLE saldo.transactions",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(attempt)


def test_maximum_lateness_can_be_changed(cluster: Database) -> None:
    from datetime import timedelta

    urls = (cluster.owner_role_url, cluster.service_role_url)
    prepare_schema(*urls, currency_decimals=2, max_lateness=timedelta(days=30))
    with psycopg.connect(cluster.service_role_url) as connection:
        row = connection.execute("SELECT max_lateness, lateness_bound FROM saldo.ledger").fetchone()
    assert row == (timedelta(days=30), timedelta(days=30))
