"""Every command of the operator's handbook, run as printed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import psycopg
import pytest

from harness.program.environment import copy_environment
from harness.program.service import run_service_process
from saldo.store.embedded import EmbeddedServer
from saldo.store.embedded.binaries import find_binaries
from saldo.store.embedded.server import OlderVersion

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs/howto/operate.md").read_text()

OWN_MAJOR = "16"
"""Major version of the server that stands for the operator's own.

It is the one in the wheel whose programs all work (decision 0017).
"""

OWN_PROGRAMS = find_binaries(OWN_MAJOR)


def blocks(kind: str, heading: str = "") -> list[str]:
    """Return the code blocks of a kind in a section, or in all sections."""
    section = TEXT if not heading else TEXT.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(rf"```{kind}\n(.*?)```", section, re.DOTALL)


class Operator:
    """A shell in a directory, with the commands `saldo`, `psql` and the like."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        programs = directory / "programs"
        programs.mkdir()
        saldo = programs / "saldo"
        saldo.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m saldo "$@"\n')
        saldo.chmod(0o755)
        self.environment = copy_environment() | {
            "PATH": f"{programs}:{OWN_PROGRAMS}:{os.environ['PATH']}",
            "TZ": "UTC",
        }

    def run(self, command: str) -> str:
        """Run a command and return its output; fail if the command fails."""
        done = subprocess.run(
            ["bash", "-euc", command],
            cwd=self.directory,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, (command, done.stderr)
        return done.stdout


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    return Operator(tmp_path)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedServer]:
    """Yield a server that stands for the operator's own PostgreSQL, with a ledger in it."""
    assert OWN_PROGRAMS is not None
    embedded = EmbeddedServer(tmp_path / "own", older=OlderVersion(OWN_MAJOR, OWN_PROGRAMS))
    embedded.start()
    try:
        with run_service_process(
            tmp_path,
            SALDO_DATABASE_URL=embedded.service_role_url,
            SALDO_DATABASE_OWNER_URL=embedded.owner_role_url,
        ) as running:
            httpx.post(f"{running.url}/v1/user", json={"name": "user-7341"})
        yield embedded
    finally:
        embedded.stop()


def test_no_command_is_left_out() -> None:
    """Check that the page has exactly the commands that the tests below run."""
    assert len(blocks("sh")) == 8
    assert len(blocks("ini")) == 3
    assert len(blocks("sql")) == 6


def test_the_embedded_database_is_backed_up_and_restored(operator: Operator) -> None:
    heading = "Back up and restore the embedded database"
    backup, restore, restore_to, status, prune = blocks("sh", heading)
    (configuration,) = blocks("ini", heading)
    place = str(operator.directory / "backup")

    def here(text: str) -> str:
        return text.replace("/backup", place).replace("2026-11-25 ", f"{datetime.now(UTC):%F} ")

    (operator.directory / ".env").write_text(here(configuration))
    with run_service_process(operator.directory) as running:
        httpx.post(f"{running.url}/v1/user", json={"name": "before"})
        assert "verified" in operator.run(here(backup))
        moment = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        httpx.post(f"{running.url}/v1/user", json={"name": "after"})
        operator.run(status)
    restored = operator.run(here(restore))
    assert "2 users, 2 entries" in restored
    at_moment = operator.run(here(restore_to.replace("2026-11-25T12:00:00Z", moment)))
    assert "1 user, 1 entry" in at_moment
    operator.run(here(prune))
    with run_service_process(operator.directory, SALDO_DATA_DIR="restored") as running:
        assert httpx.get(f"{running.url}/v1/user/2").json()["name"] == "after"


def test_external_database_is_backed_up_and_checked(
    operator: Operator, server: EmbeddedServer
) -> None:
    backup, check = blocks("sh", "Back up and restore your own PostgreSQL")
    operator.environment |= {
        "PGHOST": str(server.socket_dir),
        "PGUSER": "postgres",
        "SALDO_DATABASE_OWNER_URL": server.owner_role_url,
    }
    operator.run(backup.replace("/backup", str(operator.directory)))
    found = operator.run(check.replace("src/", f"{ROOT}/src/"))
    counted = dict(re.findall(r"^(\w+) +\| (\S+)", found, re.MULTILINE))
    assert (counted["users"], counted["entries"]) == ("1", "1")
    assert {value for name, value in counted.items() if "wrong" in name or "missing" in name} == {
        "0"
    }


def test_monitoring_queries_work(server: EmbeddedServer) -> None:
    with psycopg.connect(server.ledger_url, autocommit=True) as connection:
        for block in blocks("sql"):
            for statement in block.strip().split(";\n"):
                connection.execute(statement.encode())


def test_connection_string_with_several_hosts_is_accepted(operator: Operator) -> None:
    (configuration,) = blocks("ini", "High availability")
    (operator.directory / ".env").write_text(configuration)
    read = "from saldo.settings.model import load_settings; print(load_settings().database_url)"
    assert "a.example,b.example" in operator.run(f"{sys.executable} -c '{read}'")


def test_there_is_nothing_to_upgrade_yet(operator: Operator) -> None:
    (command,) = blocks("sh", "Upgrade the embedded PostgreSQL")
    assert "the database already has the PostgreSQL of this version" in operator.run(command)


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("saldo backup there", "there is no database in data"),
        (
            "SALDO_DATABASE_URL=postgresql://x/y saldo backup there",
            "see docs/howto/operate.md for backups of your own PostgreSQL",
        ),
        ("saldo restore there --data-dir new", "is not a backup that `saldo backup` created"),
        ("saldo restore there --data-dir new --to 2026-11-25", "--to requires a WAL archive"),
        ("saldo restore there --data-dir new --to noon --wal-archive .", "--to 'noon' must be a"),
        (
            "saldo restore there --data-dir new --wal-archive none",
            "the WAL archive none is not a directory: correct --wal-archive or SALDO_WAL_ARCHIVE_DIR",
        ),
    ],
)
def test_operator_errors_are_one_line(operator: Operator, command: str, expected: str) -> None:
    output = operator.run(f"{command} 2>&1 && exit 1 || true")
    assert output.count("\n") == 1
    assert output.startswith("saldo: ")
    assert expected in output
