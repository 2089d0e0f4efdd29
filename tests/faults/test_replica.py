"""Reads from a streaming replica: either exactly what the primary would answer, or the primary's own answer."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from harness.postgresql import data_directories
from harness.postgresql.standbys import await_absent_standby, run_standby
from harness.program.service import ServiceProcess, run_service_process
from harness.replica_reads import ENTRIES, FIRST, PAGE, UserClient, read_requests
from saldo.store.embedded import EmbeddedServer


@pytest.fixture(scope="module")
def primary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    directory = tmp_path_factory.mktemp("primary")
    data_directories.create(directory)
    server = EmbeddedServer(directory)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def service_on_primary(primary: EmbeddedServer, tmp_path: Path) -> Iterator[ServiceProcess]:
    with serve(tmp_path, primary, primary) as running:
        yield running


@pytest.fixture
def replica(
    primary: EmbeddedServer, service_on_primary: ServiceProcess, tmp_path: Path
) -> Iterator[EmbeddedServer]:
    """Yield a replica that was created after the schema."""
    with run_standby(primary, tmp_path / "standby") as server:
        yield server


@contextmanager
def serve(
    directory: Path, primary: EmbeddedServer, replica: EmbeddedServer
) -> Iterator[ServiceProcess]:
    with run_service_process(
        directory,
        SALDO_DATABASE_URL=primary.service_role_url,
        SALDO_DATABASE_OWNER_URL=primary.owner_role_url,
        SALDO_DATABASE_REPLICA_URL=replica.service_role_url,
    ) as running:
        running.wait_for_output("the replica is available")
        yield running


@contextmanager
def pause_replay(replica: EmbeddedServer) -> Iterator[None]:
    """Pause the replay of the replica, which then receives new entries without showing them."""
    with psycopg.connect(replica.superuser_url, autocommit=True) as admin:
        admin.execute("SELECT pg_wal_replay_pause()")
        while admin.execute("SELECT pg_get_wal_replay_pause_state()").fetchone() != ("paused",):
            pass
        yield
        admin.execute("SELECT pg_wal_replay_resume()")


@contextmanager
def hung(replica: EmbeddedServer) -> Iterator[None]:
    """Suspend all processes of the replica."""
    assert replica.pid is not None
    root = psutil.Process(replica.pid)
    stopped = [root, *root.children(recursive=True)]
    for process in stopped:
        process.suspend()
    try:
        yield
    finally:
        for process in stopped:
            process.resume()


def catch_up(primary: EmbeddedServer, replica: EmbeddedServer) -> None:
    with (
        psycopg.connect(primary.superuser_url, autocommit=True) as ahead,
        psycopg.connect(replica.superuser_url, autocommit=True) as behind,
    ):
        row = ahead.execute("SELECT pg_current_wal_lsn()").fetchone()
        assert row is not None
        reached = "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn"
        while behind.execute(reached, row).fetchone() != (True,):
            pass


def test_replica_answers_like_the_primary(
    primary: EmbeddedServer,
    replica: EmbeddedServer,
    service_on_primary: ServiceProcess,
    tmp_path: Path,
) -> None:
    plain = UserClient(service_on_primary.url)
    plain.fill()
    catch_up(primary, replica)
    with serve(tmp_path, primary, replica) as running:
        asking = UserClient(running.url, plain.user_id)
        for path, query in read_requests(plain.user_id, 3):
            assert asking.get(path, **query) == plain.get(path, **query)
            assert asking.pop_answering_servers() == {"replica"}, (path, query)
        assert len(asking.get(f"/console/users/{plain.user_id}/chart")["times"]) > ENTRIES
        assert asking.pop_answering_servers() == {"replica"}
        asking.balance()
        assert asking.pop_answering_servers() == set()  # the most frequent read uses one server


def test_primary_answers_reads_that_the_replica_lags_behind(
    primary: EmbeddedServer, replica: EmbeddedServer, tmp_path: Path
) -> None:
    with serve(tmp_path, primary, replica) as running:
        asking = UserClient(running.url)
        made = asking.fill()
        catch_up(primary, replica)
        with pause_replay(replica):
            new = asking.post("5.00")
            page = asking.list()
            assert page["items"][0]["uuid"] == new["uuid"]
            assert asking.pop_answering_servers() == {"primary"}
            assert asking.balance(date=new["timestamp"]) == new["balance"]
            assert asking.pop_answering_servers() == {"primary"}
            # The replica has everything below that.
            older = asking.list(cursor=page["next_cursor"])
            assert [item["uuid"] for item in older["items"]] == [
                each["uuid"] for each in reversed(made[-2 * PAGE + 1 : -PAGE + 1])
            ]
            assert asking.pop_answering_servers() == {"replica"}
        catch_up(primary, replica)
        assert asking.list() == page
        assert asking.pop_answering_servers() == {"replica"}


def test_replica_answers_known_at_once_nothing_can_be_recorded_before_it(
    primary: EmbeddedServer, replica: EmbeddedServer, tmp_path: Path
) -> None:
    with serve(tmp_path, primary, replica) as running:
        asking = UserClient(running.url)
        first, second, third = (asking.post() for _ in range(3))
        known = second["recorded_at"]
        catch_up(primary, replica)
        assert asking.balance(known_at=known) == "2.00"
        assert asking.pop_answering_servers() == {"replica"}
        # For the last moment the replica can't exclude further entries.
        assert asking.balance(known_at=third["recorded_at"]) == "3.00"
        assert asking.pop_answering_servers() == {"primary"}
        listed = asking.list(known_at=known)
        assert listed["items"] == [_remove_code(second), _remove_code(first)]
        asking.post()
        assert asking.list(known_at=known) == listed


def test_primary_answers_while_the_replica_is_unavailable(
    primary: EmbeddedServer, service_on_primary: ServiceProcess, tmp_path: Path
) -> None:
    data_dir = tmp_path / "standby"
    with run_standby(primary, data_dir) as replica, serve(tmp_path, primary, replica) as running:
        asking = UserClient(running.url)
        asking.fill()
        catch_up(primary, replica)
        page = asking.list()
        assert asking.pop_answering_servers() == {"replica"}
        replica.stop()
        assert asking.list() == page
        assert asking.pop_answering_servers() == {"primary"}
        again = EmbeddedServer(data_dir)
        again.start()
        try:
            while asking.pop_answering_servers() != {"replica"}:
                assert asking.list() == page
        finally:
            again.stop()


def test_promoted_replica_is_not_used(
    primary: EmbeddedServer, replica: EmbeddedServer, tmp_path: Path
) -> None:
    """Make the replica a primary, as after a failover in which the old primary is taken for a replica."""
    with serve(tmp_path, primary, replica) as running:
        asking = UserClient(running.url)
        asking.fill()
        catch_up(primary, replica)
        with psycopg.connect(replica.superuser_url, autocommit=True) as admin:
            assert admin.execute("SELECT pg_promote()").fetchone() == (True,)
        before = [asking.get(path, **query) for path, query in read_requests(asking.user_id, 3)]
        chart = asking.chart()
        with serve(tmp_path, replica, replica) as other:
            # Late or current, any answer from there would differ.
            elsewhere = UserClient(other.url, asking.user_id)
            elsewhere.post("7.00", FIRST)
            lost = elsewhere.post("7.00")
        assert [
            asking.get(path, **query) for path, query in read_requests(asking.user_id, 3)
        ] == before
        assert asking.chart() == chart
        kept = [asking.post("5.00"), asking.post("5.00")][-1]
        assert lost["number"] == kept["number"]
        assert asking.list()["items"][0] == _remove_code(kept)
        assert asking.pop_answering_servers() >= {"primary"}


def test_replica_hides_entries_that_are_not_visible_on_the_primary(
    primary: EmbeddedServer, replica: EmbeddedServer, tmp_path: Path
) -> None:
    """Read an entry whose commit waits for the synchronous standby: after a failover it may never have existed."""
    with serve(tmp_path, primary, replica) as running, ThreadPoolExecutor(1) as beside:
        asking = UserClient(running.url)
        asking.fill()
        catch_up(primary, replica)
        asked = read_requests(asking.user_id, 3)
        before = [asking.get(path, **query) for path, query in asked]
        with await_absent_standby(primary):
            posting = beside.submit(asking.post, "7.00", FIRST)
            with psycopg.connect(replica.ledger_url, autocommit=True) as admin:
                found = "SELECT count(*) > %s FROM saldo.transactions WHERE user_id = %s"
                while admin.execute(found, (ENTRIES, asking.user_id)).fetchone() != (True,):
                    assert not posting.done()
            assert [asking.get(path, **query) for path, query in asked] == before
            assert not posting.done()
        posting.result()
        assert [asking.get(path, **query) for path, query in asked] != before


def test_hanging_replica_counts_as_unavailable(
    primary: EmbeddedServer, replica: EmbeddedServer, tmp_path: Path
) -> None:
    with serve(tmp_path, primary, replica) as running:
        asking = UserClient(running.url)
        asking.fill()
        catch_up(primary, replica)
        page = asking.list()
        assert asking.pop_answering_servers() == {"replica"}
        with hung(replica):
            assert asking.list() == page
            assert asking.pop_answering_servers() == {"primary"}
            running.wait_for_output("the replica is unavailable")
        while asking.pop_answering_servers() != {"replica"}:
            assert asking.list() == page


def test_replica_of_another_database_is_not_used(
    primary: EmbeddedServer, service_on_primary: ServiceProcess, tmp_path: Path
) -> None:
    with run_service_process(
        tmp_path,
        SALDO_DATABASE_URL=primary.service_role_url,
        SALDO_DATABASE_OWNER_URL=primary.owner_role_url,
        SALDO_DATABASE_REPLICA_URL=primary.superuser_url.replace("/saldo?", "/template1?"),
    ) as running:
        running.wait_for_output("can't query the replica")
        asking = UserClient(running.url)
        asking.post()
        assert len(asking.list()["items"]) == 1
        assert asking.pop_answering_servers() == {"primary"}


def _remove_code(posted: dict[str, Any]) -> dict[str, Any]:
    """Return a posted transaction as lists contain it."""
    return {name: value for name, value in posted.items() if name != "code"}
