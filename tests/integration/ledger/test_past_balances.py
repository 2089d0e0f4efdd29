"""Balances of the past: late withdrawals with a budget, sums above any maximum, and answers that never change."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest

from harness.postgresql.databases import Database, create_embedded_database
from harness.program.settings import create_settings
from saldo.bootstrap.service import run_service
from saldo.ledger.model import Decision, LedgerLimits, Outcome, TransactionRequest
from saldo.store.charts import Charts
from saldo.store.connections.connection import open_pool
from saldo.store.embedded import EmbeddedServer
from saldo.store.errors import ConfigurationError
from saldo.store.poster import Poster
from saldo.store.reader import KnownAtInFutureError, Reader
from saldo.store.schema.migrate import prepare_schema

BEGIN = datetime(2024, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
AMOUNT_MAX = 10**15

CREATE = "SELECT id FROM saldo.create_user_1(%s)"

FILL = """
    INSERT INTO saldo.transactions (
        seq, user_id, number, amount, balance, "timestamp", horizon, recorded_at, uuid, shard, kind, outcome
    )
    SELECT 1 + n, %(user)s, n, 1000, 1000 * n, %(begin)s + n * interval '1 second',
        %(begin)s + n * interval '1 second', clock_timestamp(), gen_random_uuid(), %(user)s %% 64, 1, 0
    FROM generate_series(1, %(entries)s) AS n
"""
"""A statement that inserts deposits in order, a second apart."""

LIFT = """
    INSERT INTO saldo.transactions (
        seq, user_id, number, amount, balance, "timestamp", horizon, recorded_at, uuid, shard, kind, outcome
    )
    SELECT 1 + n, %(user)s, n, CASE n %% 2 WHEN 0 THEN -%(amount)s ELSE %(amount)s END,
        CASE n %% 2 WHEN 0 THEN 0 ELSE %(amount)s END,
        CASE WHEN n = 1 OR n %% 2 = 0 THEN %(begin)s + interval '1 day' ELSE %(begin)s END,
        %(begin)s + interval '1 day', clock_timestamp(), gen_random_uuid(), %(user)s %% 64,
        CASE n %% 2 WHEN 0 THEN 2 ELSE 1 END, 0
    FROM generate_series(1, 20000) AS n
"""
"""A statement that alternately withdraws everything and deposits it again with a timestamp of the day before."""


def create_user(database: Database, **fill: Any) -> int:
    with psycopg.connect(database.service_role_url, autocommit=True) as connection:
        row = connection.execute(CREATE, (str(uuid4()),)).fetchone()
        assert row is not None
        if fill:
            connection.execute(FILL, {"user": row[0], "begin": BEGIN, **fill})
        return int(row[0])


@asynccontextmanager
async def run_api(database: Database, **settings: Any) -> AsyncIterator[httpx.AsyncClient]:
    url = database.service_role_url
    async with run_service(create_settings(url, **settings), url) as app:
        transport = httpx.ASGITransport(app=app)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            yield client


def body(user_id: int, type_: str, amount: str, at: datetime | None = None) -> dict[str, Any]:
    moment = {} if at is None else {"timestamp": at.isoformat()}
    return {"uuid": str(uuid4()), "type": type_, "amount": amount, "user_id": user_id} | moment


async def balance(api: httpx.AsyncClient, user_id: int, **query: datetime) -> str:
    asked = {name: moment.isoformat() for name, moment in query.items()}
    answer = await api.get(f"/v1/user/{user_id}/balance", params=asked)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["balance"])


class Calls:
    """A record of the lanes' batches: requests, undecided requests, and entries read for checks."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.requests: list[int] = []
        self.undecided: list[int] = []
        self.entries: list[int] = []
        post: Callable[..., Any] = Poster.post

        async def watch_post(
            poster: Poster, requests: Sequence[TransactionRequest], *, atomic: bool = False
        ) -> Sequence[Decision | None]:
            decisions: Sequence[Decision | None] = await post(poster, requests, atomic=atomic)
            self.requests.append(len(requests))
            self.undecided.append(sum(decision is None for decision in decisions))
            self.entries.append(poster.late_entries)
            return decisions

        monkeypatch.setattr(Poster, "post", watch_post)


async def post_many(api: httpx.AsyncClient, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    answer = await api.post("/v1/transactions", json=items)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = json.loads(answer.content)
    return found


async def test_late_withdrawals_of_one_user_share_one_read_and_others_go_on(
    own_ledger: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    user, other = create_user(own_ledger, entries=8_900), create_user(own_ledger)
    calls = Calls(monkeypatch)
    async with run_api(own_ledger, lanes=1) as api:
        late = [body(user, "WITHDRAW", "0.01", BEGIN + 2 * SECOND) for _ in range(1000)]
        answers, *deposits = await asyncio.gather(
            post_many(api, late),
            *(api.post("/v1/transaction", json=body(other, "DEPOSIT", "1")) for _ in range(20)),
        )
        assert {answer.status_code for answer in deposits} == {200}
        assert await balance(api, user, date=BEGIN + 2 * SECOND) == "10.00"
    assert len(answers) == 1000
    # In one batch or in several, the user's entries are read once per batch and not for each withdrawal.
    with_late = [entries for entries in calls.entries if entries]
    assert max(with_late) <= 8_900
    assert len(with_late) <= len(calls.requests) <= 24


async def test_batch_reads_a_limited_number_of_entries_and_defers_the_rest(
    own_ledger: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = [create_user(own_ledger, entries=700) for _ in range(5)]
    calls = Calls(monkeypatch)
    async with run_api(own_ledger, lanes=1, late_batch_entries_max=1500) as api:
        items = [
            body(user, *what)
            for what in (
                ("WITHDRAW", "10", BEGIN + SECOND),
                ("DEPOSIT", "1", BEGIN + SECOND),
                ("WITHDRAW", "1.01", BEGIN + SECOND),
                ("WITHDRAW", "1", BEGIN + SECOND),
            )
            for user in users
        ]
        await post_many(api, items)
        for user in users:
            listed = (await api.get(f"/v1/user/{user}/transactions", params={"limit": 4})).json()
            found = [(each["number"], each["outcome"]) for each in listed["items"]]
            assert found == [
                (704, "posted"),
                (703, "insufficient_funds"),
                (702, "posted"),
                (701, "posted"),
            ]
        # An atomic array can leave nothing to the next batch.
        atomic = [body(user, "WITHDRAW", "0.01", BEGIN + 9 * SECOND) for user in users]
        answer = await api.post("/v1/transactions", params={"atomic": "true"}, json=atomic)
        assert (answer.status_code, answer.json()["code"]) == (422, "late_check_too_long")
        fits = await api.post("/v1/transactions", params={"atomic": "true"}, json=atomic[:2])
        assert fits.status_code == 200
    late = [entries for entries in calls.entries if entries]
    assert max(late) <= 1500
    assert calls.requests[:3] == [20, 12, 4]
    assert calls.undecided[:3] == [12, 4, 0]


async def test_a_balance_of_the_past_above_a_bigint_is_answered_exactly(
    own_ledger: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = create_user(own_ledger)
    with psycopg.connect(own_ledger.service_role_url, autocommit=True) as connection:
        connection.execute(LIFT, {"user": user, "begin": BEGIN, "amount": AMOUNT_MAX})
    noon = BEGIN + timedelta(hours=12)
    past = "99990000000000000.00"  # 9,999 * 10^13: over 10^19 minor units; a bigint ends at 9.2 * 10^18
    pool = await open_pool(own_ledger.service_role_url, connections=1, statement_timeout_seconds=30)
    sampled = await Charts(pool, timeout_seconds=30).list_balances_at(user, [noon])
    await pool.close()
    assert (sampled, type(sampled[0])) == ([9_999 * AMOUNT_MAX], int)
    limits = {"late_check_entries_max": 100_000, "late_batch_entries_max": 100_000}
    async with run_api(own_ledger, **limits) as api:
        assert await balance(api, user) == "0.00"
        assert await balance(api, user, date=noon) == past
        assert await balance(api, user, before=noon) == past
        assert await balance(api, user, date=noon, known_at=datetime.now(UTC)) == past
        # A late withdrawal is checked against that balance, and refused because of the current one.
        refused = await api.post("/v1/transaction", json=body(user, "WITHDRAW", "1", noon))
        assert (refused.status_code, refused.json()["code"]) == (402, "insufficient_funds")
        small = await api.post("/v1/transaction", json=body(user, "DEPOSIT", "2", noon))
        assert small.status_code == 200
        posted = await api.post("/v1/transaction", json=body(user, "WITHDRAW", "1", noon))
        assert posted.status_code == 200
        assert await balance(api, user, date=noon) == "99990000000000001.00"


async def test_known_balances_stay_the_same_when_the_clock_jumps(own_ledger: Database) -> None:
    """Set the clock back by an hour, by changing the stored times as a clock that was ahead would leave them."""
    url = own_ledger.service_role_url
    user, quiet = create_user(own_ledger), create_user(own_ledger)
    poster = await Poster.open(url, LedgerLimits(), lane=0, statement_timeout_seconds=30)
    reader = await Reader.open(url, connections=1, timeout_seconds=30, entries_read_max=100)

    async def post(user_id: int) -> datetime:
        (decision,) = await poster.post([TransactionRequest(uuid4(), user_id, 100, None)])
        assert decision is not None
        assert decision.outcome is Outcome.POSTED
        assert decision.recorded_at is not None
        return decision.recorded_at

    async def known_until() -> datetime | None:
        found: datetime | None = await reader.pool.fetchval("SELECT known_until FROM saldo.ledger")
        return found

    try:
        recorded = await post(user)
        assert await known_until() is None
        # Nothing can be recorded before the shard's last entry, so nothing is stored.
        assert await reader.read_balance(user, None, recorded - timedelta(microseconds=1)) == 0
        assert await known_until() is None
        assert await reader.read_balance(user, None, recorded) == 100
        noted = await known_until()
        assert noted is not None
        assert noted >= recorded
        # This is as if a clock that was ahead by an hour had asked.
        ahead = datetime.now(UTC) + timedelta(hours=1)
        with psycopg.connect(own_ledger.owner_role_url, autocommit=True) as connection:
            connection.execute("UPDATE saldo.ledger SET known_until = %s", (ahead,))
        for user_id, known in ((user, 100), (quiet, 0)):
            assert await reader.read_balance(user_id, None, ahead) == known
            assert await post(user_id) > ahead
            assert await reader.read_balance(user_id, None, ahead) == known
        with pytest.raises(KnownAtInFutureError):
            await reader.read_balance(user, None, ahead + timedelta(minutes=1))
        # The last entries of both shards are ahead of the clock now, and the past before them can't change.
        head = await post(user)
        assert await post(user) >= head
        assert await known_until() == ahead
        assert await reader.read_balance(user, None, head - timedelta(microseconds=1)) == 100
    finally:
        await poster.close()
        await reader.close()


async def test_concurrent_known_at_reads_wait_for_one_update(
    own_ledger: Database,
) -> None:
    """Check that waiting reads need one commit only: each locks its shard, so none may wait for the others' commits."""
    users = [create_user(own_ledger) for _ in range(3)]
    asked = datetime.now(UTC)
    reader = await Reader.open(
        own_ledger.service_role_url, connections=3, timeout_seconds=30, entries_read_max=100
    )
    waiting = """
        SELECT count(DISTINCT l.pid) FROM pg_locks AS l JOIN pg_stat_activity AS a ON a.pid = l.pid
        WHERE NOT l.granted AND a.datname = current_database()
    """
    version = "SELECT xmin::text FROM saldo.ledger"
    try:
        with (
            psycopg.connect(own_ledger.owner_role_url) as first,
            psycopg.connect(own_ledger.owner_role_url, autocommit=True) as watch,
        ):
            row = first.execute("SELECT * FROM saldo.balance_2(%s, NULL, %s)", (users[0], asked))
            assert row.fetchone() == (0, False)
            noted = first.execute(version).fetchone()
            others = [
                asyncio.create_task(
                    reader.read_balance(user, None, asked - timedelta(microseconds=n))
                )
                for n, user in enumerate(users)
            ]
            async with asyncio.timeout(30):
                while watch.execute(waiting).fetchone() != (3,):
                    await asyncio.sleep(0.01)
            first.commit()
            assert await asyncio.gather(*others) == [0, 0, 0]
            assert watch.execute(version).fetchone() == noted
    finally:
        await reader.close()


async def test_parallel_withdrawals_of_the_whole_balance_at_three_processes(
    own_ledger: Database,
) -> None:
    """Send withdrawals of 100.00, and late ones of 0.01 dated an hour ago, to three processes.

    Either one of the former or some of the latter are posted, and all processes answer the same.
    """
    async with AsyncExitStack() as stack:
        apis = [await stack.enter_async_context(run_api(own_ledger)) for _ in range(3)]
        user, now = create_user(own_ledger), datetime.now(UTC)
        then = now - timedelta(hours=2)
        await apis[0].post("/v1/transaction", json=body(user, "DEPOSIT", "100", then))
        wishes = [body(user, "WITHDRAW", "100") for _ in range(30)]
        wishes += [body(user, "WITHDRAW", "0.01", now - timedelta(hours=1)) for _ in range(12)]
        answers = await asyncio.gather(
            *(
                apis[place % 3].post("/v1/transaction", json=wish)
                for place, wish in enumerate(wishes)
            )
        )
        amounts = [answer.json()["amount"] for answer in answers if answer.status_code == 200]
        assert {answer.status_code for answer in answers} <= {200, 402}
        assert amounts == ["100.00"] or amounts == ["0.01"] * 12
        moments = [now - timedelta(minutes=7 * n) for n in range(18)]
        for api in apis:
            assert await balance(api, user) == ("0.00" if len(amounts) == 1 else "99.88")
        for moment in moments:
            found = {await balance(api, user, date=moment) for api in apis}
            assert len(found) == 1
            assert not found.pop().startswith("-")


async def test_known_at_answers_are_the_same_before_and_after_a_late_entry(
    own_ledger: Database,
) -> None:
    day = timedelta(days=1)
    async with run_api(own_ledger) as one, run_api(own_ledger) as other:
        user = create_user(own_ledger)
        deposit = await one.post(
            "/v1/transaction", json=body(user, "DEPOSIT", "100", BEGIN + 10 * day)
        )
        known = datetime.fromisoformat(deposit.json()["recorded_at"])
        asked = [(BEGIN + 5 * day, "0.00", "30.00"), (BEGIN + 15 * day, "100.00", "130.00")]
        for date, before, _ in asked:
            assert await balance(one, user, date=date, known_at=known) == before
        for type_, amount, days in (("DEPOSIT", "50", 3), ("WITHDRAW", "20", 4)):
            late = body(user, type_, amount, BEGIN + days * day)
            assert (await one.post("/v1/transaction", json=late)).status_code == 200
        for api in (one, other):
            for date, before, after in asked:
                assert await balance(api, user, date=date) == after
                assert await balance(api, user, date=date, known_at=known) == before


@pytest.mark.parametrize(
    ("decimals", "deposit", "shown", "refused"),
    [(0, "500000", "500000", ["1.5", "100.00"]), (3, "1.005", "1.005", ["1.0005"])],
)
async def test_a_currency_with_no_or_three_decimals(
    embedded_server: EmbeddedServer, decimals: int, deposit: str, shown: str, refused: list[str]
) -> None:
    """Compare the amount in answers, lists and the log (commands: tests/cli/commands/test_currency.py)."""
    with create_embedded_database(embedded_server) as database:
        urls = (database.owner_role_url, database.service_role_url)
        prepare_schema(*urls, currency_decimals=decimals, max_lateness=None)
        user = create_user(database)
        async with run_api(database, currency_decimals=decimals) as api:
            wish = body(user, "DEPOSIT", deposit, BEGIN)
            posted = (await api.post("/v1/transaction", json=wish)).json()
            assert (posted["amount"], posted["balance"]) == (shown, shown)
            for amount in refused:
                answer = await api.post("/v1/transaction", json=body(user, "WITHDRAW", amount))
                assert answer.status_code == 422
                assert f"{decimals} decimals" in answer.text
            assert await balance(api, user) == await balance(api, user, date=BEGIN) == shown
            listed = (await api.get(f"/v1/user/{user}/transactions")).json()["items"]
            log = (await api.get("/v1/transactions", params={"shard": user % 64})).json()
            for each in (*listed, *log["items"]):
                assert (each["amount"], each["balance"]) == (shown, shown)
        with pytest.raises(ConfigurationError, match=f"created with {decimals}"):
            prepare_schema(*urls, currency_decimals=2, max_lateness=None)
