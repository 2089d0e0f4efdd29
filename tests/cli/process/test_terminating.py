"""SIGTERM ends a command that waits for the database, also when the command is process 1 of a container."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
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


SIGNAL_BEFORE_HANDLERS = """
import logging, signal, sys
from saldo.__main__ import main

number = signal.Signals[sys.argv.pop()]

class Filter(logging.Filter):
    def filter(self, record):
        if "listening on" in record.getMessage():
            signal.raise_signal(number)
        return True

logging.getLogger("saldo").addFilter(Filter())
main()
"""
"""A program that gets a signal after it has announced its address, and before the server handles signals."""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("workers", ["1", "2"])
def test_signal_before_the_server_handles_signals_ends_the_service(
    own_ledger: Database, tmp_path: Path, workers: str, number: signal.Signals
) -> None:
    program = Program(
        SALDO_DATABASE_URL=own_ledger.service_role_url,
        SALDO_DATABASE_OWNER_URL=own_ledger.owner_role_url,
        SALDO_PORT="0",
        SALDO_WORKERS=workers,
    )
    done = subprocess.run(
        [sys.executable, "-c", SIGNAL_BEFORE_HANDLERS, "serve", number.name],
        cwd=tmp_path,
        env=program.environment,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
