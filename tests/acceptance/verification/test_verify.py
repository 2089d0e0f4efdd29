"""`saldo verify` and `saldo audit` beside a service, and every command of docs/howto/verify.md as printed."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from harness.postgresql.databases import Database
from harness.postgresql.sample_ledger import disable_triggers, fill, insert, seal
from harness.program import forks
from harness.program.service import run_service_process
from saldo.store.embedded import EmbeddedServer
from tests.acceptance.operation.test_operate import Operator

TEXT = (Path(__file__).parents[3] / "docs/howto/verify.md").read_text()
COMMANDS = re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)

WAIT_SECONDS_MAX = 60


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    return Operator(tmp_path)


@pytest.fixture
def ledger(own_ledger: Database, operator: Operator) -> Database:
    """Return a ledger with entries and seals, which the operator's `.env` names."""
    fill(own_ledger)
    seal(own_ledger, leave=5)
    (operator.directory / ".env").write_text(f"SALDO_DATABASE_URL={own_ledger.service_role_url}\n")
    return own_ledger


def wait_for(happened: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while not happened():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def test_no_command_is_left_out() -> None:
    assert len(COMMANDS) == 7


# These tests start a dozen processes, each taking some seconds on a busy machine.
@pytest.mark.timeout(600)
def test_how_to_commands_work_as_printed(ledger: Database, operator: Operator) -> None:
    # The one about signed heads is run by test_signed_heads.py.
    now, all_, again, heads, _, status, acknowledge = COMMANDS
    with psycopg.connect(ledger.service_role_url) as connection:
        kept = [
            {"shard": shard, "first_seq": first, "last_seq": last, "hash": hash_.hex()}
            for shard, first, last, hash_ in connection.execute(
                "SELECT shard, first_seq, last_seq, hash FROM saldo.seals"
            )
        ]
    (operator.directory / "seals.json").write_text(json.dumps({"items": kept, "next_after": None}))
    for command in (now, again, heads):
        assert operator.run(command).startswith("the ledger is intact: 63 entries verified in ")
    assert json.loads(operator.run(all_))["whole"] is True
    assert not (operator.directory / "verify-state.json").exists()

    # The relay's totals and audit find the fault when the row is there.
    with psycopg.connect(ledger.service_role_url, autocommit=True) as connection:
        uuid = insert(connection, 1, 21, number=21, balance=5000)
        with forks.start(
            ["relay"],
            cwd=operator.directory,
            env=operator.environment,
            stderr=subprocess.PIPE,
            text=True,
        ) as relay:
            try:
                query = "SELECT count(*) FROM saldo.audit_faults"
                wait_for(lambda: connection.execute(query).fetchone() == (1,), "a fault")
                rounds = "SELECT rounds > 0 FROM saldo.audit"
                wait_for(lambda: connection.execute(rounds).fetchone() == (True,), "a round")
            finally:
                relay.terminate()
                _, output = relay.communicate()
    place = f"shard 1, seq 22, uuid {uuid}, user 1, number 21"
    told = [line for line in output.splitlines() if "the audit found a fault" in line]
    assert len(told) == 1
    assert f"{place} violates the rule balance" in told[0]
    assert "5000" not in told[0]
    shown = operator.run(status)
    # The number of the fault is the first one that no attempt has taken.
    found = re.search(r"^fault (\d+): (.*?) \(first", shown, re.MULTILINE)
    assert found is not None, shown
    assert found[2] == f"{place}: balance: found 5000, expected 390"
    assert shown.endswith("1 unacknowledged fault\n")
    done = operator.run(acknowledge.replace("acknowledge 1 ", f"acknowledge {found[1]} "))
    assert done == f"fault {found[1]} is acknowledged\n"
    shown = operator.run(status)
    assert "corrected by transaction 9f0c8a52" in shown
    assert shown.endswith("0 unacknowledged faults\n")


def test_the_embedded_database_is_verified_beside_its_service_and_without(
    operator: Operator,
) -> None:
    with run_service_process(operator.directory) as running:
        user_id = httpx.post(f"{running.url}/v1/user", json={"name": "a"}).json()["id"]
        assert user_id == 1
        assert operator.run("saldo verify").startswith("the ledger is intact: 1 entry verified in ")
        assert httpx.get(f"{running.url}/healthz/ready").status_code == 200
        server = EmbeddedServer(operator.directory / "data")
        assert server.attach_to_running_server()
        with psycopg.connect(server.ledger_url, autocommit=True) as connection:
            connection.execute("ALTER TABLE saldo.transactions DISABLE TRIGGER USER")
            connection.execute("UPDATE saldo.transactions SET horizon = now()")
            connection.execute("ALTER TABLE saldo.transactions ENABLE TRIGGER USER")
        assert "user 1, number 0: horizon: found 20" in run_verify(operator, 1)
    assert "user 1, number 0: horizon: found 20" in run_verify(operator, 1, "--local")


def run_verify(operator: Operator, code: int, *arguments: str) -> str:
    done: subprocess.CompletedProcess[str] = forks.run(
        ["verify", *arguments],
        cwd=operator.directory,
        env=operator.environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == code, done.stderr
    return done.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_verification_resumes(
    ledger: Database, operator: Operator, number: signal.Signals
) -> None:
    """Hold the command up by locks at two places, so that it is stopped between them."""
    state = operator.directory / "state.json"
    with (
        psycopg.connect(ledger.owner_role_url) as first,
        psycopg.connect(ledger.owner_role_url) as second,
        psycopg.connect(ledger.service_role_url, autocommit=True) as watching,
    ):

        def waits(table: str) -> bool:
            return watching.execute(
                "SELECT EXISTS (SELECT FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid)"
                " WHERE a.application_name = 'saldo verify' AND NOT l.granted AND l.relation = %s::regclass)",
                (f"saldo.{table}",),
            ).fetchone() == (True,)

        # In the first shard the command reads its users, in the next one the totals.
        first.execute("LOCK TABLE saldo.users IN ACCESS EXCLUSIVE MODE")
        with forks.start(
            ["verify", "--state", str(state)],
            cwd=operator.directory,
            env=operator.environment,
            stdout=subprocess.PIPE,
            text=True,
        ) as walk:
            wait_for(lambda: waits("users"), "the first shard")
            second.execute("LOCK TABLE saldo.totals IN ACCESS EXCLUSIVE MODE")
            first.commit()
            wait_for(lambda: waits("totals"), "the second shard")
            walk.send_signal(number)
            second.commit()
            output, _ = walk.communicate()
    assert walk.returncode == 128 + number
    assert re.fullmatch(
        rf"stopped: 21 entries verified in .* s, no faults so far; use --state {state} to continue\n",
        output,
    )
    kept: dict[str, Any] = json.loads(state.read_text())
    assert (kept["position"]["shard"], kept["entries"], kept["sealed"]) == (2, 21, 16)
    # What was verified is not read again, even if it is wrong by now.
    with disable_triggers(ledger) as connection:
        connection.execute(
            "UPDATE saldo.transactions SET balance = 5000 WHERE shard = 1 AND seq = 5"
        )
    assert run_verify(operator, 0, "--state", str(state)).startswith(
        "the ledger is intact: 42 entries verified in "
    )
    assert not state.exists()
    assert "shard 1, seq 5, " in run_verify(operator, 1)
