"""SIGTERM ends a command that waits for the database, also when the command is process 1 of a container."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from harness.postgresql.databases import Database
from harness.program.command import Program
from harness.program.forks import COMMAND
from saldo.store.statements import load_statement

WAITING = ["db migrate", "serve --port 0", "relay"]

WAITS = """
    SELECT count(*) > 0 FROM pg_stat_activity AS a
    WHERE a.application_name = 'saldo migrate' AND a.datname = current_database() AND a.query <> ''
"""


@contextmanager
def run_waiting_command(
    ledger: Database, directory: Path, command: str, *prefix: str
) -> Iterator[subprocess.Popen[str]]:
    """Yield a command that waits for the lock of the migrations."""
    program = Program(
        SALDO_DATABASE_URL=ledger.service_role_url, SALDO_DATABASE_OWNER_URL=ledger.owner_role_url
    )
    with psycopg.connect(ledger.owner_role_url) as holder:
        holder.execute(load_statement("schema/migration_lock"))
        process = subprocess.Popen(
            [*prefix, *COMMAND, *command.split()],
            cwd=directory,
            env=program.environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            with psycopg.connect(ledger.owner_role_url, autocommit=True) as witness:
                while witness.execute(WAITS).fetchone() != (True,):
                    assert process.poll() is None
            yield process
        finally:
            process.kill()
            process.communicate()


@pytest.mark.parametrize("command", WAITING)
def test_sigterm_ends_a_command_that_waits_for_a_lock(
    own_ledger: Database, tmp_path: Path, command: str
) -> None:
    with run_waiting_command(own_ledger, tmp_path, command) as process:
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=30)  # the wait for the lock itself takes a minute
    assert process.returncode == 128 + signal.SIGTERM
    assert errors.splitlines()[-1:] == ["saldo: interrupted"]
    assert "Traceback" not in errors


def test_sigterm_ends_process_1_of_a_namespace(own_ledger: Database, tmp_path: Path) -> None:
    unshare = shutil.which("unshare")
    namespace = (str(unshare), "--pid", "--fork", "--kill-child")
    if unshare is None or subprocess.run([*namespace, "true"], check=False).returncode != 0:
        pytest.skip("process namespaces can't be made here (unshare)")
    with run_waiting_command(own_ledger, tmp_path, "db migrate", *namespace) as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        subprocess.run(["kill", "-TERM", *children], check=True)
        _, errors = process.communicate(timeout=30)
    assert "saldo: interrupted" in errors, errors
