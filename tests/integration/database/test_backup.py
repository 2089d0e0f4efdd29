"""Backups of the embedded database, and restores from them."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import psycopg
import pytest

from harness.postgresql.sample_ledger import build_deposit, create_users
from harness.program.settings import create_settings
from saldo.bootstrap.service import create_engine
from saldo.engine.engine import Engine
from saldo.ledger.model import Outcome
from saldo.store.embedded import EmbeddedServer
from saldo.store.embedded.backup import back_up, restore
from saldo.store.embedded.wal_archive import Recovery
from saldo.store.errors import ConfigurationError
from saldo.store.schema.migrate import prepare_schema
from saldo.store.statements import load_statement

ODD_NAME = 'it\'s 50% of "one" \\ archive'
"""A name that needs different quoting in the shell, in PostgreSQL and in its configuration."""

Row = tuple[Any, ...]


@contextmanager
def serve_database(data_dir: Path, archive_dir: Path | None = None) -> Iterator[EmbeddedServer]:
    """Yield a database prepared like by `saldo serve`."""
    server = EmbeddedServer(data_dir, archive_dir=archive_dir)
    server.start()
    try:
        prepare_schema(
            server.owner_role_url, server.service_role_url, currency_decimals=2, max_lateness=None
        )
        yield server
    finally:
        server.stop()


def rows(server: EmbeddedServer) -> list[Row]:
    """Return the whole log; the sixth column is the recorded time."""
    with psycopg.connect(server.service_role_url) as connection:
        return connection.execute(
            "SELECT shard, seq, uuid, user_id, balance, recorded_at FROM saldo.transactions ORDER BY 1, 2"
        ).fetchall()


def identity(server: EmbeddedServer) -> str:
    with psycopg.connect(server.service_role_url) as connection:
        row = connection.execute(load_statement("log/identity")).fetchone()
    assert row is not None
    return str(row[0])


def now(server: EmbeddedServer) -> datetime:
    with psycopg.connect(server.service_role_url) as connection:
        row = connection.execute("SELECT clock_timestamp()").fetchone()
    assert row is not None
    moment: datetime = row[0]
    return moment


class Load:
    """Clients that post until they are stopped."""

    def __init__(self, engine: Engine, users: list[int]) -> None:
        self._engine = engine
        self._users = users
        self._is_stopping = False
        self._awaited = (0, asyncio.Event())
        self.posted = 0

    async def run(self) -> None:
        await asyncio.gather(*(self._client(user) for user in self._users))

    def stop(self) -> None:
        self._is_stopping = True

    async def more(self, count: int) -> None:
        """Wait until `count` more transactions have been posted."""
        self._awaited = (self.posted + count, asyncio.Event())
        await self._awaited[1].wait()

    async def _client(self, user: int) -> None:
        while not self._is_stopping:
            decision = await self._engine.post(build_deposit(user))
            assert decision.outcome is Outcome.POSTED
            self.posted += 1
            count, reached = self._awaited
            if self.posted >= count:
                reached.set()


class LostLedger(NamedTuple):
    """A ledger that was backed up under load, and then lost."""

    backup: Path
    archive: Path
    before_backup: list[Row]
    moment: datetime
    at_moment: list[Row]
    in_the_end: list[Row]
    identity: str


@pytest.fixture(scope="module")
async def past(tmp_path_factory: pytest.TempPathFactory) -> LostLedger:
    directory = tmp_path_factory.mktemp("past")
    archive, backup = directory / ODD_NAME, directory / "backups/one"
    with serve_database(directory / "data", archive) as server:
        engine = create_engine(create_settings(server.service_role_url), server.service_role_url)
        engine.start()
        load = Load(engine, create_users(server.service_role_url, 16))
        running = asyncio.create_task(load.run())
        await load.more(300)
        before_backup = rows(server)
        await asyncio.to_thread(back_up, server, backup)
        await load.more(300)
        load.stop()
        await running
        moment, at_moment = now(server), rows(server)
        await asyncio.gather(*(engine.post(build_deposit(user)) for user in range(1, 17)))
        await engine.stop(5)
        in_the_end, its_identity = rows(server), identity(server)
    return LostLedger(backup, archive, before_backup, moment, at_moment, in_the_end, its_identity)


def test_the_backup_alone_gives_back_what_was_recorded_before_it(
    past: LostLedger, tmp_path: Path
) -> None:
    restored = restore(past.backup, tmp_path / "data", Recovery(None, None))
    with serve_database(tmp_path / "data") as server:
        found = rows(server)
    assert restored.integrity.entries == len(found)
    assert set(past.before_backup) <= set(found) <= set(past.in_the_end)
    assert len(found) > len(past.before_backup), "nothing was posted during the backup"


def test_with_the_archive_nothing_is_lost(past: LostLedger, tmp_path: Path) -> None:
    restore(past.backup, tmp_path / "data", Recovery(past.archive, None))
    with serve_database(tmp_path / "data") as server:
        assert rows(server) == past.in_the_end


def test_a_moment_of_the_past_is_exactly_what_was_recorded_until_then(
    past: LostLedger, tmp_path: Path
) -> None:
    restore(past.backup, tmp_path / "data", Recovery(past.archive, past.moment))
    with serve_database(tmp_path / "data") as server:
        found = rows(server)
    assert found == past.at_moment
    assert found == [row for row in past.in_the_end if row[5] <= past.moment]


def test_restore_to_a_moment_under_load_gives_a_consistent_ledger(
    past: LostLedger, tmp_path: Path
) -> None:
    """Check the restored entries: uncommitted ones of that moment are missing, and nothing later is included."""
    until = sorted(row[5] for row in past.at_moment)[-100]
    restored = restore(past.backup, tmp_path / "data", Recovery(past.archive, until))
    with serve_database(tmp_path / "data") as server:
        found = rows(server)
    expected = [row for row in past.in_the_end if row[5] <= until]
    assert set(found) <= set(expected)
    assert len(expected) - len(found) < 20, "more than one batch is left out"
    assert restored.integrity.last_recorded_at is not None
    assert restored.integrity.last_recorded_at <= until


def test_every_restore_has_a_new_log_identity(past: LostLedger, tmp_path: Path) -> None:
    """Check the identity, because positions that clients keep must not be valid in the restored ledger."""
    found = {past.identity}
    for name in ("one", "two"):
        restore(past.backup, tmp_path / name, Recovery(None, None))
        with serve_database(tmp_path / name) as server:
            found.add(identity(server))
            create_users(server.service_role_url, 1)
    assert len(found) == 3


def test_restored_server_continues_the_same_archive(past: LostLedger, tmp_path: Path) -> None:
    """Check the archive's files of two restores from the same backup, which must have different names."""
    archive = tmp_path / "archive"
    subprocess.run(["cp", "-a", past.archive, archive], check=True)
    timelines = []
    for name in ("one", "two"):
        restored = restore(past.backup, tmp_path / name, Recovery(archive, past.moment))
        timelines.append(restored.timeline)
        with serve_database(tmp_path / name, archive) as server:
            create_users(server.service_role_url, 1)
        assert (archive / f"{restored.timeline:08X}.history.gz").exists()
        # The server was stopped in order, so the archive has everything that it wrote.
        assert list(archive.glob(f"{restored.timeline:08X}0*.gz"))
    assert timelines[0] < timelines[1]


def test_the_backup_of_a_restored_server_can_be_restored(past: LostLedger, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    restore(past.backup, tmp_path / "one", Recovery(past.archive, past.moment))
    with serve_database(tmp_path / "one", archive) as server:
        back_up(server, tmp_path / "backup")
        create_users(server.service_role_url, 3)
        expected = rows(server)
    restore(tmp_path / "backup", tmp_path / "two", Recovery(archive, None))
    with serve_database(tmp_path / "two") as server:
        assert rows(server) == expected


@pytest.mark.parametrize(
    ("name", "until", "expected"),
    [
        ("not empty", None, "is not empty"),
        (
            "data",
            datetime.fromisoformat("2001-01-01T00:00:00Z"),
            "before consistent recovery point",
        ),
        (
            "data",
            datetime.fromisoformat("2100-01-01T00:00:00Z"),
            "before configured recovery target",
        ),
    ],
)
def test_restore_that_is_not_possible_is_one_line(
    past: LostLedger, tmp_path: Path, name: str, until: datetime | None, expected: str
) -> None:
    (tmp_path / "not empty").mkdir()
    (tmp_path / "not empty/file").touch()
    with pytest.raises(ConfigurationError, match=expected) as caught:
        restore(past.backup, tmp_path / name, Recovery(past.archive, until))
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["not empty"]


def test_a_backup_that_was_altered_is_refused(past: LostLedger, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-a", past.backup, copy], check=True)
    altered = copy / "global/pg_control"
    content = bytearray(altered.read_bytes())
    content[100] ^= 1
    altered.write_bytes(content)
    with pytest.raises(ConfigurationError, match="pg_control was changed after the backup"):
        restore(copy, tmp_path / "data", Recovery(None, None))
    assert not (tmp_path / "data").exists()


def test_a_directory_that_is_no_backup_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="is not a backup that `saldo backup` created"):
        restore(tmp_path, tmp_path / "data", Recovery(None, None))


def test_a_backup_never_replaces_another(past: LostLedger, tmp_path: Path) -> None:
    with (
        serve_database(tmp_path / "data") as server,
        pytest.raises(ConfigurationError, match="already exists"),
    ):
        back_up(server, past.backup)


def test_an_archive_that_can_not_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "archive").write_text("")
    with pytest.raises(ConfigurationError, match="SALDO_WAL_ARCHIVE_DIR"):
        EmbeddedServer(tmp_path / "data", archive_dir=tmp_path / "archive").start()


def _archive(segment: Path, target: Path) -> int:
    script = files("saldo.store.embedded") / "archive.sh"
    return subprocess.run(["sh", str(script), segment, target], check=False).returncode


def test_a_segment_is_archived_once_and_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "archive").mkdir()
    segment, target = tmp_path / "segment", tmp_path / "archive/000000010000000000000001"
    segment.write_bytes(b"one" * 1000)
    assert _archive(segment, target) == 0
    assert _archive(segment, target) == 0, "a repetition after a crash"
    segment.write_bytes(b"two" * 1000)
    assert _archive(segment, target) != 0
    assert [path.name for path in target.parent.iterdir()] == [f"{target.name}.gz"]
    unpacked = subprocess.run(["gunzip", "-c", f"{target}.gz"], check=True, capture_output=True)
    assert unpacked.stdout == b"one" * 1000


# A `saldo restore` that is killed while its server runs.
_KILLED_RESTORE = """
import os, signal, sys
from pathlib import Path
from saldo.store.embedded import backup
from saldo.store.embedded.wal_archive import Recovery

def killed(*arguments):
    print(backup.EmbeddedServer(Path(sys.argv[2]) / "restore.unfinished").cluster, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

backup.migrate_schema = killed
backup.restore(Path(sys.argv[1]), Path(sys.argv[2]), Recovery(None, None))
"""


def test_killed_restore_is_not_served_and_can_be_repeated(past: LostLedger, tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    done = subprocess.run(
        [sys.executable, "-c", _KILLED_RESTORE, past.backup, data_dir],
        check=False,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert done.returncode == -signal.SIGKILL
    pid_file = Path(done.stdout.strip()) / "postmaster.pid"
    orphan = int(pid_file.read_text().split()[0])
    with pytest.raises(ConfigurationError, match="was not completed: repeat saldo restore"):
        EmbeddedServer(data_dir).start()
    restored = restore(past.backup, data_dir, Recovery(past.archive, None))
    # Where no process reaps the dead ones, the process id still exists.
    assert not psutil.pid_exists(orphan) or psutil.Process(orphan).status() == "zombie"
    assert restored.integrity.entries == len(past.in_the_end)
    with serve_database(data_dir) as server:
        assert rows(server) == past.in_the_end
