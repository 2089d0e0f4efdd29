"""`saldo db`: maintenance of the database without a running service."""

from __future__ import annotations

import subprocess
from pathlib import Path

import httpx

from harness.postgresql import databases
from harness.program import forks
from harness.program.environment import copy_environment
from harness.program.service import run_service_process

READY = "the schema of the database is that of this version\n"


def _migrate(directory: Path, *options: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return forks.run(
        ["db", "migrate", *options],
        cwd=directory,
        env=copy_environment() | settings,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_service_starts_without_the_owners_url_after_a_migration(
    tmp_path: Path, machine_postgres: str
) -> None:
    with databases.create_database(machine_postgres) as database:
        urls = {
            "SALDO_DATABASE_URL": database.service_role_url,
            "SALDO_DATABASE_OWNER_URL": database.owner_role_url,
        }
        for _ in range(2):
            done = _migrate(tmp_path, **urls)
            assert (done.returncode, done.stdout) == (0, READY), done.stderr
        with run_service_process(tmp_path, SALDO_DATABASE_URL=database.service_role_url) as running:
            created = httpx.post(f"{running.url}/v1/user", json={"name": "a"})
            assert created.status_code == 201


def test_embedded_database_is_migrated_with_and_without_a_service(tmp_path: Path) -> None:
    refused = _migrate(tmp_path)
    assert refused.returncode == 3
    assert "--local" in refused.stderr
    done = _migrate(tmp_path, "--local")
    assert (done.returncode, done.stdout) == (0, READY), done.stderr
    assert not list(tmp_path.glob("data/postgresql-*/postmaster.pid"))
    with run_service_process(tmp_path) as running:
        done = _migrate(tmp_path)
        assert (done.returncode, done.stdout) == (0, READY), done.stderr
        assert httpx.get(f"{running.url}/healthz/ready").status_code == 200


def test_unreachable_database_is_one_clear_line(tmp_path: Path) -> None:
    done = _migrate(tmp_path, SALDO_DATABASE_URL="postgresql://saldo@127.0.0.1:1/saldo")
    assert (done.returncode, done.stdout) == (3, "")
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("saldo: "))
    assert "127.0.0.1:1/saldo" in line
    assert "Traceback" not in done.stderr
