"""The SQL function against the executable specification: the same histories through both.

`SALDO_TEST_EXAMPLES` says how many (2,000 by default; a million runs for hours).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.rows import dict_row

from saldo.ledger.model import Decision, Limits, TransactionRequest
from saldo.ledger.specification import Ledger
from saldo.store.poster import _decision

EXAMPLES = int(os.environ.get("SALDO_TEST_EXAMPLES", "2000"))
YEAR = datetime(2023, 1, 1, tzinfo=UTC)
LIMITS = Limits(balance_max=400, late_check_entries_max=4, future_tolerance=timedelta(minutes=5))
NEVER = UUID("ffffffff-ffff-4fff-bfff-ffffffffffff")
_names = count()

# Few of each, so that equal instants, duplicates and clashes are the rule.
_moments = st.one_of(
    st.none(),
    st.integers(0, 6).map(lambda hours: YEAR + timedelta(hours=hours)),
    st.just(YEAR + timedelta(days=365 * 150)),  # in the future
)
_requests = st.lists(
    st.tuples(
        st.integers(0, 5),  # which uuid of the example's
        st.integers(0, 3),  # which user; the last one doesn't exist
        st.sampled_from([50, 20, 30, 100, 350, -10, -20, -50, -60, -100]),
        _moments,
    ),
    min_size=1,
    max_size=14,
)
_reuse = st.lists(st.booleans(), min_size=14, max_size=14)
_cuts = st.lists(st.integers(1, 5), min_size=14, max_size=14)


@pytest.fixture(scope="module")
def database(database_url: str) -> Iterator[psycopg.Connection[dict[str, Any]]]:
    with psycopg.connect(database_url, autocommit=True, row_factory=dict_row) as connection:
        yield connection


def _create_user(database: psycopg.Connection[dict[str, Any]]) -> int:
    row = database.execute(
        "SELECT id FROM saldo.create_user_1(%s)", (f"property {os.getpid()} {next(_names)}",)
    ).fetchone()
    assert row is not None
    return int(row["id"])


def _post(
    database: psycopg.Connection[dict[str, Any]], batch: list[TransactionRequest], limits: Limits
) -> list[Decision]:
    row = database.execute(
        "SELECT outcomes, replays, user_ids, numbers, amounts, balances, timestamps, recorded_ats "
        "FROM saldo.post_2(%s::uuid[], %s::bigint[], %s::bigint[], %s::timestamptz[], %s, %s, %s, false)",
        (
            [request.uuid for request in batch],
            [request.user_id for request in batch],
            [request.amount for request in batch],
            [request.timestamp for request in batch],
            limits.balance_max,
            limits.future_tolerance,
            limits.late_check_entries_max,
        ),
    ).fetchone()
    assert row is not None
    outcomes, replays, *_ = row.values()
    columns = [
        row[name]
        for name in ("user_ids", "numbers", "amounts", "balances", "timestamps", "recorded_ats")
    ]
    return [
        _decision(request, *fields)
        for request, *fields in zip(batch, outcomes, replays, *columns, strict=True)
    ]


def _visible(decision: Decision) -> tuple[Any, ...]:
    return (
        decision.outcome,
        decision.replayed,
        decision.user_id,
        decision.number,
        decision.amount,
        decision.balance,
        decision.timestamp,
        decision.recorded_at,
    )


@settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None
)
@given(items=_requests, fresh=_reuse, cuts=_cuts)
def test_post_decides_as_the_specification_does(
    database: psycopg.Connection[dict[str, Any]],
    items: list[tuple[int, int, int, datetime | None]],
    fresh: list[bool],
    cuts: list[int],
) -> None:
    specification = Ledger(LIMITS)
    users = [_create_user(database) for _ in range(3)]
    opened = {}
    for user in users:
        row = database.execute(
            "SELECT uuid, recorded_at FROM saldo.transactions WHERE user_id = %s", (user,)
        ).fetchone()
        assert row is not None
        specification.open(user, row["uuid"], row["recorded_at"])
        opened[user] = row["recorded_at"]
    users.append(2**62 + users[0])  # nobody
    uuids = [uuid4() for _ in range(6)]
    requests = [
        TransactionRequest(uuid4() if new else uuids[which], users[user], amount, moment)
        for (which, user, amount, moment), new in zip(items, fresh, strict=False)
    ]

    moments: list[datetime] = [max(opened.values())]
    remaining = iter(cuts)
    while requests:
        size = next(remaining)
        batch, requests = requests[:size], requests[size:]
        decided = _post(database, batch, LIMITS)
        # The specification goes by the clock that the ledger read for each shard of the batch.
        clocks = {
            decision.user_id: decision.recorded_at
            for decision in decided
            if decision.outcome.recorded and not decision.replayed
        }
        for request, actual in zip(batch, decided, strict=True):
            now = clocks.get(request.user_id) or moments[-1]
            (expected,) = specification.post([request], now)
            assert _visible(actual) == _visible(expected)
        moments += [moment for moment in clocks.values() if moment is not None]

    dates = [YEAR + timedelta(hours=hours, microseconds=-1) for hours in range(8)]
    dates += [YEAR + timedelta(hours=hours) for hours in range(8)] + moments
    for user in users[:3]:
        for date in dates:
            for known in (None, moments[len(moments) // 2]):
                row = database.execute(
                    "SELECT balance FROM saldo.balance_1(%s, %s, %s)", (user, date, known)
                ).fetchone()
                assert row is not None
                assert row["balance"] == specification.balance_at(user, date, known)
                assert row["balance"] >= 0


def test_the_log_is_gapless_and_its_clock_never_falls(
    database: psycopg.Connection[dict[str, Any]],
) -> None:
    row = database.execute(
        """
        SELECT count(*) AS entries,
            count(*) FILTER (WHERE seq <> expected_seq) AS gaps,
            count(*) FILTER (WHERE number <> expected_number) AS missing_numbers,
            count(*) FILTER (WHERE recorded_at < previous) AS backwards
        FROM (
            SELECT seq, number, recorded_at,
                row_number() OVER (PARTITION BY shard ORDER BY seq) AS expected_seq,
                row_number() OVER (PARTITION BY user_id ORDER BY seq) - 1 AS expected_number,
                lag(recorded_at) OVER (PARTITION BY shard ORDER BY seq) AS previous
            FROM saldo.transactions
        ) AS entries
        """
    ).fetchone()
    assert row is not None
    assert row["entries"] > 0
    assert (row["gaps"], row["missing_numbers"], row["backwards"]) == (0, 0, 0)
