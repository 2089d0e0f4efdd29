"""The engine with a database that fails, hangs, or is shared with another process."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import traceback
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import psycopg
import pytest

from harness.postgresql.databases import Database
from harness.postgresql.sample_ledger import build_deposit, create_users
from harness.postgresql.standbys import await_absent_standby
from harness.program.settings import create_settings
from saldo.bootstrap.service import create_engine, run_service
from saldo.engine.engine import Engine
from saldo.engine.errors import DeadlineExceededError, OutcomeUnknownError
from saldo.ledger.model import Decision, LedgerLimits, Outcome, TransactionRequest
from saldo.observability import logs
from saldo.store.connections.connection import DatabaseConnection, fetch, open_pool
from saldo.store.embedded import EmbeddedServer
from saldo.store.errors import ConnectionLostError, RejectedError
from saldo.store.poster import Poster
from saldo.store.schema.migrate import prepare_schema


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[EmbeddedServer]:
    """Yield a server that a test may break."""
    server = EmbeddedServer(tmp_path / "data")
    server.start()
    try:
        prepare_schema(
            server.owner_role_url, server.service_role_url, currency_decimals=2, max_lateness=None
        )
        yield server
    finally:
        server.stop()


@asynccontextmanager
async def run_engine(url: str, **given: Any) -> AsyncIterator[Engine]:
    engine = create_engine(create_settings(url, **given), url)
    engine.start()
    try:
        yield engine
    finally:
        await engine.stop(5)


async def test_nothing_is_lost_or_doubled_if_the_server_is_killed_under_load(
    own_server: EmbeddedServer,
) -> None:
    users = create_users(own_server.service_role_url, 20)
    async with run_engine(own_server.service_role_url, request_deadline_seconds=60.0) as engine:
        requests = [build_deposit(users[index % 20]) for index in range(3000)]
        results: dict[UUID, Decision | Exception] = {}
        killed = False

        async def client(mine: list[TransactionRequest]) -> None:
            nonlocal killed
            for request in mine:
                try:
                    results[request.uuid] = await engine.post(request)
                except OutcomeUnknownError as error:
                    results[request.uuid] = error
                if len(results) > 500 and not killed:
                    killed = True
                    assert own_server.pid is not None
                    os.kill(own_server.pid, signal.SIGKILL)

        await asyncio.gather(*(client(requests[start::32]) for start in range(32)))
        assert killed
        decisions = [result for result in results.values() if isinstance(result, Decision)]
        assert len(decisions) == 3000  # all within their deadline
        assert {decision.outcome for decision in decisions} == {Outcome.POSTED}
        assert not any(decision.replayed for decision in decisions)
    with psycopg.connect(own_server.service_role_url) as connection:
        row = connection.execute(
            "SELECT count(*), sum(amount) FROM saldo.transactions WHERE kind <> 0"
        ).fetchone()
        assert row == (3000, 300_000)
        row = connection.execute(
            "SELECT sum(balance) FROM (SELECT DISTINCT ON (user_id) balance FROM saldo.transactions "
            "ORDER BY user_id, number DESC) AS b"
        ).fetchone()
        assert row == (300_000,)


async def test_connection_is_lost_after_the_servers_termination_message(
    own_server: EmbeddedServer,
) -> None:
    """Hold back the end of the connection, so that it comes later than the server's last message, or never."""
    (user_id,) = create_users(own_server.service_role_url, 1)
    said_farewell = asyncio.Event()
    writers: list[asyncio.StreamWriter] = []

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(65536):
            writer.write(chunk)
        if writer is writers[0]:
            said_farewell.set()  # the client must not see that the server has closed

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        socket = str(own_server.socket_dir / ".s.PGSQL.5432")
        behind_reader, behind_writer = await asyncio.open_unix_connection(socket)
        writers.extend((writer, behind_writer))
        await asyncio.gather(pass_on(reader, behind_writer), pass_on(behind_reader, writer))

    listening = await asyncio.start_server(take, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    connection = await asyncpg.connect(
        f"postgresql://saldo@127.0.0.1:{port}/saldo", connection_class=DatabaseConnection
    )
    poster = Poster(connection, LedgerLimits())
    await poster.post([build_deposit(user_id)])
    with psycopg.connect(own_server.superuser_url, autocommit=True) as admin:
        admin.execute("SELECT pg_terminate_backend(%s)", (connection.get_server_pid(),))
    await said_farewell.wait()
    await asyncio.sleep(0)  # the message is sent now, and is read before the next statement
    with pytest.raises(ConnectionLostError):
        await poster.post([build_deposit(user_id)])
    poster.abort_connection()
    listening.close()
    for writer in writers:
        writer.close()


async def test_two_engines_and_the_same_uuids_for_different_users_in_opposite_orders(
    database_url: str,
) -> None:
    first, second = create_users(database_url, 8), create_users(database_url, 8)
    async with run_engine(database_url) as one, run_engine(database_url) as two:
        for round_ in range(20):
            uuids = [uuid4() for _ in range(40)]
            ahead = [build_deposit(random.Random(round_).choice(first), uuid) for uuid in uuids]
            back = [
                build_deposit(random.Random(-round_).choice(second), uuid)
                for uuid in reversed(uuids)
            ]
            decisions = await asyncio.gather(
                *(one.post(request) for request in ahead), *(two.post(request) for request in back)
            )
            outcomes = Counter(decision.outcome for decision in decisions)
            assert outcomes == {Outcome.POSTED: 40, Outcome.UUID_CONFLICT: 40}


async def test_two_engines_post_the_same_users_exactly(database_url: str) -> None:
    users = create_users(database_url, 3)
    async with run_engine(database_url) as one, run_engine(database_url) as two:
        await one.post(TransactionRequest(uuid4(), users[0], 10_000, None))
        withdrawals = [TransactionRequest(uuid4(), users[0], -100, None) for _ in range(150)]
        decisions = await asyncio.gather(
            *(engine.post(request) for request in withdrawals for engine in (one, two))
        )
        posted = {
            request.uuid
            for request, decision in zip(
                (request for request in withdrawals for _ in (one, two)), decisions, strict=True
            )
            if decision.outcome is Outcome.POSTED
        }
        assert len(posted) == 100
        assert min(decision.balance or 0 for decision in decisions) == 0


async def test_without_the_standby_neither_a_post_nor_its_retry_succeeds(
    own_server: EmbeddedServer,
) -> None:
    (user_id,) = create_users(own_server.service_role_url, 1)
    request = build_deposit(user_id)
    with await_absent_standby(own_server):
        async with run_engine(
            own_server.service_role_url, request_deadline_seconds=1.0, batch_timeout_seconds=0.5
        ) as engine:
            with pytest.raises(OutcomeUnknownError):
                await engine.post(request)
            # This attempt waits for the shard's lock, which the first one holds.
            with pytest.raises((OutcomeUnknownError, DeadlineExceededError)):
                await engine.post(request)
        async with run_engine(own_server.service_role_url, request_deadline_seconds=1.0) as engine:
            with pytest.raises(OutcomeUnknownError):
                await engine.post(request)
    async with run_engine(own_server.service_role_url) as engine:
        decision = await engine.post(request)
        assert (decision.outcome, decision.number) == (Outcome.POSTED, 1)


async def test_replay_waits_for_the_standby(
    own_server: EmbeddedServer,
) -> None:
    (user_id,) = create_users(own_server.service_role_url, 1)
    request = build_deposit(user_id)
    async with run_engine(own_server.service_role_url) as engine:
        await engine.post(request)
    with await_absent_standby(own_server):
        async with run_engine(own_server.service_role_url, request_deadline_seconds=1.0) as engine:
            with pytest.raises(OutcomeUnknownError):
                await engine.post(request)


async def test_role_with_default_repeatable_read_works(
    own_server: EmbeddedServer,
) -> None:
    with psycopg.connect(own_server.superuser_url, autocommit=True) as admin:
        admin.execute("ALTER ROLE saldo SET default_transaction_isolation = 'repeatable read'")
        admin.execute("ALTER ROLE saldo SET synchronous_commit = off")
    (user_id,) = _create_read_committed(own_server)
    async with run_engine(own_server.service_role_url) as engine:
        decisions = await asyncio.gather(*(engine.post(build_deposit(user_id)) for _ in range(200)))
        assert {decision.outcome for decision in decisions} == {Outcome.POSTED}
    connection = await asyncpg.connect(own_server.service_role_url)
    with pytest.raises(asyncpg.PostgresError, match="READ COMMITTED"):
        await connection.fetchrow("SELECT * FROM saldo.create_user_1('x')")
    await connection.close()


def _create_read_committed(server: EmbeddedServer) -> list[int]:
    return create_users(server.owner_role_url, 1)


async def test_batch_sends_one_statement(database_url: str) -> None:
    (user_id,) = create_users(database_url, 1)
    connection = await asyncpg.connect(database_url, connection_class=DatabaseConnection)
    poster = Poster(connection, LedgerLimits())
    await poster.post([build_deposit(user_id)])  # the driver loads the types once
    statements: list[str] = []
    connection.add_query_logger(lambda record: statements.append(record.query))
    await poster.post([build_deposit(user_id) for _ in range(50)])
    await poster.post([build_deposit(user_id) for _ in range(50)])
    await poster.close()
    assert len(statements) == 2


def test_history_cannot_be_altered(own_server: EmbeddedServer) -> None:
    create_users(own_server.service_role_url, 1)
    for statement in (
        b"UPDATE saldo.transactions SET amount = 1",
        b"DELETE FROM saldo.transactions",
        b"TRUNCATE saldo.transactions",
    ):
        with (
            psycopg.connect(own_server.service_role_url) as connection,
            pytest.raises(psycopg.errors.InsufficientPrivilege),
        ):
            connection.execute(statement)
        for url in (
            own_server.owner_role_url,
            own_server.superuser_url.replace("@/postgres", "@/saldo"),
        ):
            with (
                psycopg.connect(url) as connection,
                pytest.raises(psycopg.errors.RestrictViolation, match="append-only"),
            ):
                connection.execute(statement)


async def test_post_uses_indexes_on_a_table_never_analysed(
    own_server: EmbeddedServer,
) -> None:
    """Check in the statistics of the table that the rows read by one post don't grow with the table."""
    with psycopg.connect(
        own_server.superuser_url.replace("@/postgres", "@/saldo"), autocommit=True
    ) as admin:
        admin.execute("ALTER TABLE saldo.transactions SET (autovacuum_enabled = off)")
    users = create_users(own_server.service_role_url, 500)
    connection = await asyncpg.connect(
        own_server.service_role_url, connection_class=DatabaseConnection
    )
    poster = Poster(connection, LedgerLimits())
    for _ in range(20):
        await poster.post([build_deposit(user) for user in users])
        await poster.post([build_deposit(users[0])])
    await connection.execute("SELECT pg_stat_force_next_flush()")
    read = await connection.fetchval(
        "SELECT seq_tup_read FROM pg_stat_user_tables WHERE relname = 'transactions'"
    )
    assert read == 0
    await poster.close()


async def test_query_rejected_by_the_database_is_an_internal_error(own_ledger: Database) -> None:
    """Check that the client isn't asked to retry, and that the log contains the reason."""
    async with run_service(
        create_settings(own_ledger.service_role_url), own_ledger.service_role_url
    ) as app:
        transport = httpx.ASGITransport(app=app)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            assert (await client.get("/v1/user")).status_code == 200
            with psycopg.connect(own_ledger.owner_role_url, autocommit=True) as owner:
                owner.execute("REVOKE SELECT ON saldo.users FROM saldo")
            answer = await client.get("/v1/user")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert "retry-after" not in answer.headers
    assert "users" not in answer.text


async def test_database_error_logs_no_name_and_no_amount(
    own_ledger: Database,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Check that no values are logged, although PostgreSQL's and a trigger's messages may contain them."""
    name, amount = "Secret 73912", "73913.00"
    with psycopg.connect(own_ledger.owner_role_url, autocommit=True) as owner:
        owner.execute(
            "ALTER TABLE saldo.users ADD CONSTRAINT u CHECK (name <> 'Secret 73912') NOT VALID"
        )
        owner.execute(
            "ALTER TABLE saldo.transactions ADD CONSTRAINT t CHECK (amount <> 7391300) NOT VALID"
        )
    logs.configure_logging("debug", "json")
    async with run_service(
        create_settings(own_ledger.service_role_url), own_ledger.service_role_url
    ) as app:
        transport = httpx.ASGITransport(app=app)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as api:
            user = (await api.post("/v1/user", json={"name": "somebody"})).json()["id"]
            post = {"user_id": user, "type": "DEPOSIT", "amount": amount}
            answers = [
                await api.post("/v1/user", json={"name": name}),
                await api.post("/v1/transaction", json=post | {"uuid": str(uuid4())}),
                await api.post(
                    "/v1/transactions?atomic=true", json=[post | {"uuid": str(uuid4())}]
                ),
            ]
    assert [answer.status_code for answer in answers] == [500] * 3
    said = capsys.readouterr().err + "".join(answer.text for answer in answers)
    assert said.count("23514") >= 3
    for secret in (name, "73913", "7391300", "DETAIL", "Failing row"):
        assert secret not in said


async def test_a_request_that_takes_too_long_fails_alone(own_ledger: Database) -> None:
    """Check that the batch is ended at the server's statement timeout, and is not retried as a whole."""
    (user_id,) = create_users(own_ledger.service_role_url, 1)
    with psycopg.connect(own_ledger.owner_role_url, autocommit=True) as owner:
        owner.execute(
            "CREATE FUNCTION saldo.slow() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN PERFORM pg_sleep(60); RETURN NEW; END $$"
        )
        owner.execute(
            "CREATE TRIGGER slow BEFORE INSERT ON saldo.transactions FOR EACH ROW"
            " WHEN (NEW.amount = 73913) EXECUTE FUNCTION saldo.slow()"
        )
    slow = TransactionRequest(uuid4(), user_id, 73913, None)
    requests = [build_deposit(user_id), slow, build_deposit(user_id), build_deposit(user_id)]
    async with run_engine(
        own_ledger.service_role_url, batch_timeout_seconds=1.0, request_deadline_seconds=60.0
    ) as engine:
        results = await engine.post_many(requests)
    assert isinstance(results[1], DeadlineExceededError)
    posted = [result for result in results if isinstance(result, Decision)]
    assert [(each.outcome, each.number) for each in posted] == [
        (Outcome.POSTED, number) for number in (1, 2, 3)
    ]


async def test_driver_raises_a_known_error_for_an_argument_it_cannot_encode(
    embedded_server: EmbeddedServer,
) -> None:
    secret = "Secret 73912"
    pool = await open_pool(
        embedded_server.service_role_url, connections=1, statement_timeout_seconds=30
    )
    with pytest.raises(RejectedError) as rejected:
        await fetch(pool, "users/by_id", secret)
    pool.terminate()
    assert secret not in "".join(traceback.format_exception(rejected.value))
