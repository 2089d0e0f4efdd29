"""A service on a distributed ledger: events, seals, audit and console work as on one machine."""

from __future__ import annotations

import csv
import io
import re
import time
from collections import defaultdict
from collections.abc import Callable
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import TypeVar

import httpx
import pytest

from harness.postgresql.databases import Database
from harness.program.command import Program
from harness.program.service import run_service_process
from harness.transaction_files import deposits, write_csv
from saldo import Client
from saldo.client.models import UserData
from saldo.client.proof import verify_proof
from tests.distributed.test_distribute import program

pytestmark = pytest.mark.citus

T = TypeVar("T")

USERS, ROWS = 70, 350
SECONDS_MAX = 60


def test_events_seals_audit_and_totals_work_on_a_distributed_ledger(
    cluster: Database, rabbitmq_url: str, tmp_path: Path
) -> None:
    saldo = program(cluster)
    settings = {k: v for k, v in saldo.environment.items() if k.startswith("SALDO_")}
    settings |= {"SALDO_RABBITMQ_URL": rabbitmq_url, "SALDO_AUDIT_ENTRIES_PER_SECOND": "100000"}
    with run_service_process(tmp_path, **settings) as running:
        there = Program(SALDO_URL=running.url)
        with Client(running.url) as client:
            users = [client.create_user(f"user {number}").id for number in range(USERS)]
        lines = deposits(ROWS, [str(user) for user in users])
        there("import", str(write_csv(tmp_path / "some.csv", lines)))

        # Every event is delivered, each user's in the order of its numbers.
        numbers: dict[int, list[int]] = defaultdict(list)
        with Client(running.url) as client:
            for event in islice(client.events(start="start"), USERS + ROWS):
                data = event.data
                numbers[data.id if isinstance(data, UserData) else data.user_id].append(data.number)
        assert numbers == {user: list(range(1 + ROWS // USERS)) for user in users}
        (exchange, *_) = _until(
            lambda: saldo("relay", "status", "--json").lines,
            lambda sinks: sinks[0]["events_published"] == USERS + ROWS,
        )
        assert (exchange["name"], exchange["events_behind"]) == ("rabbitmq-exchange", 0)

        # The verifier checks an inclusion proof without the database, once the entry is sealed.
        proof = _until(
            lambda: httpx.get(f"{running.url}/v1/proof/{lines[0][0]}"),
            lambda answer: answer.status_code == 200,
        ).json()
        assert verify_proof(proof)

        # The totals are counted along the log, and the audit covers all of it.
        counted = _until(
            lambda: _metrics(running.url),
            lambda found: (
                found["saldo_ledger_users"] == USERS and found["saldo_ledger_seconds_behind"] == 0
            ),
        )
        assert counted["saldo_ledger_balance"] == float(sum(Decimal(line[2]) for line in lines))
        found = _until(
            lambda: saldo("audit", "status", "--json").json,
            lambda status: status["entries"] >= USERS + ROWS,
        )
        assert found["faults"] == 0

        page = httpx.get(f"{running.url}/console/users/{users[0]}")
        assert (page.status_code, "user 0" in page.text) == (200, True)
        listed = there("statement", str(users[0]), "--from", "2026-01-01", "--format", "csv").output
        assert len(list(csv.reader(io.StringIO(listed)))) > ROWS // USERS


def _metrics(url: str) -> dict[str, float]:
    """Return the metrics without labels."""
    found = re.findall(r"^(\w+) (\S+)$", httpx.get(f"{url}/metrics").text, re.MULTILINE)
    return {name: float(value) for name, value in found}


def _until(ask: Callable[[], T], true: Callable[[T], bool]) -> T:
    """Poll until the answer satisfies the condition."""
    deadline = time.monotonic() + SECONDS_MAX
    while not true(found := ask()):
        assert time.monotonic() < deadline, found
        time.sleep(0.1)
    return found
