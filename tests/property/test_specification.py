"""The database against the executable specification: the same random histories through both.

`SALDO_TEST_EXAMPLES` is the number of histories (2,000 by default). With `SALDO_TEST_SECONDS`, further
histories run until the time is over.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from harness.postgresql import databases
from saldo.ledger.model import Outcome
from saldo.store.embedded import EmbeddedServer
from saldo.store.schema.migrate import prepare_schema
from tests.property.histories import Histories, NewRequest, World

EXAMPLES = int(os.environ.get("SALDO_TEST_EXAMPLES", "2000"))
SECONDS = float(os.environ.get("SALDO_TEST_SECONDS", "0"))
SEED = os.environ.get("SALDO_TEST_SEED")
"""Seed of a failed run, to repeat its histories."""

LATENESSES = [None, timedelta(hours=36)]
ROUND_EXAMPLES = 250
"""Number of examples between two checks of the time."""

STEPS = 5
"""Number of steps of a history: first the users, then posts of up to nine requests each."""

WHOLE_LOG = """
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

EXPECTED = {
    *(f"{outcome.name} {kind}" for outcome in Outcome if outcome.is_recorded for kind in ("new", "replayed")),
    *(f"{outcome.name} new" for outcome in Outcome if not outcome.is_recorded),
    "POSTED of the same batch",
    "INSUFFICIENT_FUNDS of the same batch",
    "UUID_CONFLICT of the same batch",
    "late deposit",
    "late withdrawal",
    "late withdrawal refused for a moment of the past",
    "questions",
}  # fmt: skip
"""Cases that every run of thousands of histories contains. The rarest occurs about 50 times in 1,000 histories."""


@pytest.fixture(scope="module", params=LATENESSES, ids=["any lateness", "36 hours late at most"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """Yield a database of its own, where nothing else appends to the log; see the fixture `database_url`."""
    server = os.environ.get("SALDO_TEST_SERVER_URL")
    with ExitStack() as stack:
        if server:
            database = stack.enter_context(
                databases.create_ledger(server, max_lateness=request.param)
            )
        else:
            embedded: EmbeddedServer = request.getfixturevalue("embedded_server")
            database = stack.enter_context(databases.create_embedded_database(embedded))
            urls = (database.owner_role_url, database.service_role_url)
            prepare_schema(*urls, currency_decimals=2, max_lateness=request.param)
        runner = stack.enter_context(asyncio.Runner())
        opened = World.open(
            runner, database.service_role_url, database.owner_role_url, request.param
        )
        stack.callback(opened.close)
        yield opened


def _try(world: World, examples: int, seed_: int) -> None:
    machine: Any = seed(seed_)(lambda: Histories(world))
    try:
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=examples,
                stateful_step_count=STEPS,
                deadline=None,
                database=None,
                derandomize=False,
                suppress_health_check=list(HealthCheck),
            ),
        )
    except BaseException as error:
        error.add_note(f"The same histories again: SALDO_TEST_SEED={seed_}")
        raise


# Shrinking a failure takes minutes.
@pytest.mark.timeout(0 if SECONDS or EXAMPLES > 2000 else 600)
def test_database_agrees_with_the_specification(world: World) -> None:
    seeds = iter([int(SEED)] if SEED else [])
    end = time.monotonic() + SECONDS / len(LATENESSES)
    if not SECONDS:
        _try(world, EXAMPLES // len(LATENESSES), next(seeds, secrets.randbits(64)))
    while time.monotonic() < end:
        _try(world, ROUND_EXAMPLES, next(seeds, secrets.randbits(64)))
    if EXAMPLES >= 1000:
        unbounded = world.posters[0][0].max_lateness is None
        assert EXPECTED - ({"TIMESTAMP_TOO_LATE new"} if unbounded else set()) <= set(world.seen)


def test_late_withdrawals_past_the_budget_of_a_batch_are_decided_as_specified(world: World) -> None:
    """Random histories contain this case too, but some runs of 1,000 histories don't."""
    history = Histories(world)
    history.begin(limits=0, users=1, zone="UTC")
    history.post_with_a_newcomer(neighbour=True, wishes=[NewRequest(0, 50, 1)], questions=[])
    history.post([NewRequest(user, 50, moment) for moment in (1, 2, 3) for user in (0, 1)], [])
    before = world.seen["undecided"]
    history.post([NewRequest(user, -10, 1) for user in (0, 1, 0, 1)], [])
    history.teardown()
    assert world.seen["undecided"] > before


def test_log_is_gapless_and_its_recorded_times_never_decrease(world: World) -> None:
    _try(world, 10, secrets.randbits(64))
    row: Any = world.row(WHOLE_LOG)
    assert row["entries"] > 0
    assert (row["gaps"], row["missing_numbers"], row["backwards"]) == (0, 0, 0)
