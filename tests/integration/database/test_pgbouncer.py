"""The service behind a real pgbouncer, in session mode and in transaction mode."""

from __future__ import annotations

import asyncio
import shutil
import signal
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest

from harness.events.consumers import ReceivedEvents, consume_queue
from harness.events.webhook_receiver import run_receiver
from harness.postgresql.pgbouncer import KEEPS_STATEMENTS, Pgbouncer, read_version, run_pgbouncer
from harness.postgresql.standbys import await_absent_standby
from harness.program.settings import create_settings
from saldo.bootstrap.database import Database
from saldo.bootstrap.relay import run_relays
from saldo.bootstrap.service import create_engine, run_service
from saldo.client.proof import verify_proof
from saldo.engine.engine import Engine
from saldo.engine.errors import OutcomeUnknownError
from saldo.ledger.model import Decision, Outcome, TransactionRequest
from saldo.store.connections.connection import Connection, acquire, connect, open_pool
from saldo.store.embedded import EmbeddedServer
from saldo.store.errors import ConfigurationError
from saldo.store.webhooks import Webhooks

pytestmark = pytest.mark.timeout(60)

SHARING = {"pool_mode": "transaction", "default_pool_size": 3, "server_round_robin": 1}
"""Options with few server connections, used in turn, so that each statement runs in another session."""


@dataclass(frozen=True)
class Mode:
    """A mode of pgbouncer."""

    name: str
    options: dict[str, object]
    keeps_statements: bool = False


MODES = [
    Mode("session", {"pool_mode": "session"}),
    Mode("transaction", SHARING),
    Mode("transaction, statements kept", SHARING | {"max_prepared_statements": 5}, True),
]


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedServer]:
    """Yield a server that these tests may configure, in a directory with a short name, because it contains a socket."""
    directory = Path(tempfile.mkdtemp(prefix="saldo-test-"))
    embedded = EmbeddedServer(directory)
    embedded.start()
    try:
        Database(
            create_settings(embedded.service_role_url, database_owner_url=embedded.owner_role_url)
        ).prepare()
        yield embedded
    finally:
        embedded.stop()
        shutil.rmtree(directory)


@pytest.fixture(scope="module", params=MODES, ids=lambda mode: mode.name)
def mode(request: pytest.FixtureRequest, pgbouncer_program: str) -> Mode:
    found: Mode = request.param
    knows = read_version(pgbouncer_program) >= KEEPS_STATEMENTS
    if found.keeps_statements and not knows:
        pytest.skip("this pgbouncer is older than 1.21 and doesn't keep prepared statements")
    if knows and not found.keeps_statements:
        return Mode(found.name, found.options | {"max_prepared_statements": 0})
    return found


@pytest.fixture(scope="module")
def pgbouncer(mode: Mode, pgbouncer_program: str, server: EmbeddedServer) -> Iterator[Pgbouncer]:
    with run_pgbouncer(pgbouncer_program, server.service_role_url, **mode.options) as started:
        yield started


@pytest.fixture
async def api(pgbouncer: Pgbouncer) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of the whole application behind the pooler."""
    settings = create_settings(pgbouncer.url())
    await asyncio.to_thread(Database(settings).prepare)
    async with run_service(settings, pgbouncer.url()) as app:
        transport = httpx.ASGITransport(app=app)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            yield client


@asynccontextmanager
async def run_engine(url: str, **given: Any) -> AsyncIterator[Engine]:
    engine = create_engine(create_settings(url, **given), url)
    engine.start()
    try:
        yield engine
    finally:
        await engine.stop(5)


@contextmanager
def alter_defaults(server: EmbeddedServer, **defaults: str) -> Iterator[None]:
    """Set other defaults of the service's role for future sessions, and reset them afterwards."""
    with psycopg.connect(server.superuser_url, autocommit=True) as admin:
        for name, value in defaults.items():
            admin.execute(f"ALTER ROLE saldo SET {name} = '{value}'".encode())
        try:
            yield
        finally:
            admin.execute("ALTER ROLE saldo RESET ALL")


def create_users(server: EmbeddedServer, count: int) -> list[int]:
    with psycopg.connect(server.service_role_url, autocommit=True) as connection:
        rows = [
            connection.execute("SELECT id FROM saldo.create_user_1(%s)", (str(uuid4()),)).fetchone()
            for _ in range(count)
        ]
    return [row[0] for row in rows if row is not None]


def sum_transactions(server: EmbeddedServer, users: list[int]) -> tuple[int, int]:
    """Return the number of the users' transactions, and their sum."""
    with psycopg.connect(server.service_role_url) as connection:
        row = connection.execute(
            "SELECT count(*), sum(amount)::bigint FROM saldo.transactions"
            " WHERE kind <> 0 AND user_id = ANY(%s)",
            (users,),
        ).fetchone()
    assert row is not None
    return row[0], row[1]


def deposit(user_id: int) -> TransactionRequest:
    return TransactionRequest(uuid4(), user_id, 100, None)


def body(user_id: int, kind: str, amount: str, **fields: Any) -> dict[str, Any]:
    return {"uuid": str(uuid4()), "type": kind, "amount": amount, "user_id": user_id, **fields}


async def create_user(api: httpx.AsyncClient) -> int:
    answer = await api.post("/v1/user", json={"name": f"user {uuid4()}"})
    assert answer.status_code == 201
    return int(answer.json()["id"])


async def post(api: httpx.AsyncClient, content: dict[str, Any]) -> httpx.Response:
    return await api.post("/v1/transaction", json=content)


async def balance(api: httpx.AsyncClient, user_id: int, **query: str) -> str:
    answer = await api.get(f"/v1/user/{user_id}/balance", params=query)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["balance"])


async def test_200_withdrawals_of_1_from_100_post_exactly_100(api: httpx.AsyncClient) -> None:
    user_id = await create_user(api)
    await post(api, body(user_id, "DEPOSIT", "100"))
    answers = await asyncio.gather(
        *(post(api, body(user_id, "WITHDRAW", "1.00")) for _ in range(200))
    )
    assert Counter(answer.status_code for answer in answers) == {200: 100, 402: 100}
    assert await balance(api, user_id) == "0.00"


async def test_identical_withdrawals_have_one_effect_and_a_refusal_is_final(
    api: httpx.AsyncClient,
) -> None:
    user_id = await create_user(api)
    refused = body(user_id, "WITHDRAW", "5")
    assert (await post(api, refused)).status_code == 402
    await post(api, body(user_id, "DEPOSIT", "100"))
    withdrawal = body(user_id, "WITHDRAW", "30")
    answers = await asyncio.gather(*(post(api, withdrawal) for _ in range(100)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert (await post(api, refused)).status_code == 402
    assert (await post(api, withdrawal | {"amount": "31"})).status_code == 409
    assert await balance(api, user_id) == "70.00"


async def test_balances_at_dates_and_known_at_behind_pgbouncer(api: httpx.AsyncClient) -> None:
    user_id = await create_user(api)
    for amount, day in (("10", "10"), ("20", "20"), ("5", "15")):  # the last one is late
        answer = await post(api, body(user_id, "DEPOSIT", amount, timestamp=f"2024-01-{day}"))
        assert answer.status_code == 200
    known_at = answer.json()["recorded_at"]
    before = datetime.fromisoformat(known_at) - timedelta(microseconds=1)

    async def questions() -> list[str]:
        return list(
            await asyncio.gather(
                *(balance(api, user_id, date=f"2024-01-{day}") for day in ("09", "10", "15", "20")),
                balance(
                    api, user_id, date="2024-01-15", known_at=before.astimezone(UTC).isoformat()
                ),
            )
        )

    for answers in await asyncio.gather(*(questions() for _ in range(20))):
        assert answers == ["0.00", "10.00", "15.00", "35.00", "10.00"]


async def test_locks_of_a_stopped_process_time_out(pgbouncer: Pgbouncer) -> None:
    """Check the timeout of idle transactions.

    In transaction mode a statement and its commit are two round trips, and creating a user locks a shard in between.
    """
    pool = await open_pool(pgbouncer.url(), connections=1, statement_timeout_seconds=5)
    try:
        async with acquire(pool) as connection:
            limit = await connection.fetchval("SHOW idle_in_transaction_session_timeout")
            assert limit == ("5s" if connection.pooled else "0")
        async with acquire(pool) as connection:
            await connection.fetchval("SELECT 1")
    finally:
        pool.terminate()


async def test_two_services_post_and_read_through_the_same_pool(
    pgbouncer: Pgbouncer, server: EmbeddedServer
) -> None:
    """Run several services through the same sessions, where no statement may be confused with another."""
    users = create_users(server, 8)
    url = pgbouncer.url()
    async with (
        run_engine(url, lanes=4) as one,
        run_engine(url, lanes=4) as two,
        run_service(create_settings(url), url) as app,
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app=app),  # type: ignore[arg-type]
            base_url="http://localhost",
        ) as client,
    ):

        async def work(engine: Engine, user_id: int) -> list[Decision]:
            decisions = []
            for _ in range(30):
                decisions.append(await engine.post(deposit(user_id)))
                await balance(client, user_id, date="2024-01-01")
            return decisions

        decided = await asyncio.gather(
            *(work(engine, user) for user in users for engine in (one, two))
        )
    outcomes = Counter(decision.outcome for decisions in decided for decision in decisions)
    assert outcomes == {Outcome.POSTED: 480}
    assert sum_transactions(server, users) == (480, 48_000)


async def test_killed_pooler_loses_and_doubles_nothing(
    pgbouncer: Pgbouncer, server: EmbeddedServer
) -> None:
    users = create_users(server, 20)
    requests = [deposit(users[index % 20]) for index in range(2000)]
    decisions: list[Decision] = []
    kill = asyncio.Event()

    async def client(engine: Engine, mine: list[TransactionRequest]) -> None:
        for request in mine:
            decisions.append(await engine.post(request))
            if len(decisions) > 500:
                kill.set()

    async with run_engine(pgbouncer.url(), request_deadline_seconds=60.0) as engine:
        clients = asyncio.gather(*(client(engine, requests[begin::32]) for begin in range(32)))
        await kill.wait()
        await asyncio.to_thread(pgbouncer.end, signal.SIGKILL)
        assert len(decisions) < 2000, "it was killed too late"
        await asyncio.to_thread(pgbouncer.start)
        await clients
    assert Counter(decision.outcome for decision in decisions) == {Outcome.POSTED: 2000}
    assert not any(decision.replayed for decision in decisions)
    assert sum_transactions(server, users) == (2000, 200_000)


async def test_relays_work_behind_pgbouncer(
    api: httpx.AsyncClient, pgbouncer: Pgbouncer, rabbitmq_url: str
) -> None:
    settings = create_settings(
        pgbouncer.url(),
        rabbitmq_url=rabbitmq_url,
        rabbitmq_exchange=f"saldo-test-{uuid4()}",
        webhook_allow_private=True,
        webhook_allow_http=True,
        relay_poll_seconds=0.05,
    )
    received = ReceivedEvents()
    async with AsyncExitStack() as stack:
        receiver = await stack.enter_async_context(run_receiver())
        created = await api.post("/v1/user", json={"name": str(uuid4())})
        user_id = created.json()["id"]
        webhooks = await Webhooks.open(pgbouncer.url(), connections=1, timeout_seconds=10)
        secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
        await webhooks.create(receiver.url, None, [user_id], secret, webhooks_max=100)
        webhooks.terminate()
        key = f"user.{user_id}.#"
        consumer = await stack.enter_async_context(
            consume_queue(rabbitmq_url, settings.rabbitmq_exchange, key)
        )
        # Two relays run at once: one has the lease, and the other waits for it.
        for _ in range(2):
            await stack.enter_async_context(run_relays(settings, pgbouncer.url(), None))
        for _ in range(20):
            body = {"uuid": str(uuid4()), "type": "DEPOSIT", "amount": "1", "user_id": user_id}
            assert (await api.post("/v1/transaction", json=body)).status_code == 200
        await consumer.take_until(received, 21)
        told = await receiver.wait_for_count(20)
    assert not received.faults
    assert received.duplicates == 0
    assert [each.number for each in told[:20]] == [*range(1, 21)]


async def test_sealer_works_behind_pgbouncer(
    api: httpx.AsyncClient, pgbouncer: Pgbouncer, server: EmbeddedServer
) -> None:
    settings = create_settings(pgbouncer.url(), webhooks_enabled=False)
    (user_id,) = create_users(server, 1)
    async with AsyncExitStack() as stack:
        for _ in range(2):
            await stack.enter_async_context(run_relays(settings, pgbouncer.url(), None))
        for _ in range(5):
            body = {"uuid": str(uuid4()), "type": "DEPOSIT", "amount": "1", "user_id": user_id}
            assert (await api.post("/v1/transaction", json=body)).status_code == 200
            while (proof := await api.get(f"/v1/proof/{body['uuid']}")).status_code == 409:
                await asyncio.sleep(0.1)
            assert verify_proof(proof.json(), kept=[(await api.get("/v1/seals")).json()])


async def test_answers_are_durable_in_every_session(
    mode: Mode, pgbouncer_program: str, server: EmbeddedServer
) -> None:
    """Check commits although the role's default doesn't wait for the standby and no session keeps our settings."""
    (user_id,) = create_users(server, 1)
    forgetful = {"server_reset_query": "RESET ALL", "server_reset_query_always": 1}
    request = deposit(user_id)
    with (
        alter_defaults(server, synchronous_commit="off"),
        run_pgbouncer(
            pgbouncer_program, server.service_role_url, **mode.options, **forgetful
        ) as pgbouncer,
    ):
        async with run_engine(pgbouncer.url(), request_deadline_seconds=1.0) as engine:
            await engine.post(deposit(user_id))
            with await_absent_standby(server), pytest.raises(OutcomeUnknownError):
                await engine.post(request)
        async with run_engine(pgbouncer.url()) as engine:
            assert (await engine.post(request)).outcome is Outcome.POSTED


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("default_transaction_isolation", "repeatable read"),
        ("default_transaction_read_only", "on"),
    ],
)
def test_unsuitable_role_default_is_one_clear_line(
    mode: Mode, pgbouncer_program: str, server: EmbeddedServer, name: str, value: str
) -> None:
    """Check the role's defaults, with which sessions start that were not set up on connect."""
    with (
        alter_defaults(server, **{name: value}),
        run_pgbouncer(pgbouncer_program, server.service_role_url, **mode.options) as pgbouncer,
        pytest.raises(
            ConfigurationError, match=f"{name} = .*, not '{value}': run ALTER ROLE"
        ) as caught,
    ):
        Database(
            create_settings(pgbouncer.url(), database_owner_url=server.owner_role_url)
        ).prepare()
    assert "\n" not in str(caught.value)


async def _connect(url: str) -> Connection:
    return await connect(url, application_name="test", statement_timeout_seconds=7)


async def _is_prepared(connection: Connection) -> bool:
    """Return whether the driver names its statements, so that it can reuse them."""
    return bool((await connection.prepare("SELECT 1")).get_name())


async def test_statements_are_prepared_only_where_pgbouncer_keeps_them(
    mode: Mode, pgbouncer: Pgbouncer, server: EmbeddedServer
) -> None:
    for url, kept in ((pgbouncer.url(), mode.keeps_statements), (server.service_role_url, True)):
        connection = await _connect(url)
        assert await _is_prepared(connection) is kept
        await connection.close()


async def test_session_settings_hold_in_session_mode(
    pgbouncer_program: str, server: EmbeddedServer
) -> None:
    """Record a behaviour that transaction mode doesn't promise; docs/howto/postgresql.md describes the consequences."""
    with run_pgbouncer(pgbouncer_program, server.service_role_url, **MODES[0].options) as pgbouncer:
        one, two = await _connect(pgbouncer.url()), await _connect(pgbouncer.url())
        for connection in (one, two, one):
            assert await connection.fetchval("SHOW statement_timeout") == "7s"
            assert await connection.fetchval("SHOW lock_timeout") == "0"
        await one.close()
        await two.close()
