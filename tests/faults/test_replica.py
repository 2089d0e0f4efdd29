"""Reads from a streaming replica: either exactly what the primary would answer, or the primary's own answer."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psutil
import psycopg
import pytest

from saldo.store.embedded import EmbeddedServer
from tests import clusters
from tests.acceptance.service import ServiceProcess, service
from tests.standbys import standby_away, standby_of

READS = re.compile(r'^saldo_replica_reads_total\{answered_by="(\w+)"\} (\S+)$', re.MULTILINE)
SECONDS_MAX = 60

FIRST, ENTRIES, PAGE = datetime.fromisoformat("2026-01-01T00:00:00+00:00"), 30, 10


@pytest.fixture(scope="module")
def primary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    directory = tmp_path_factory.mktemp("primary")
    clusters.create(directory)
    server = EmbeddedServer(directory)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def serving(primary: EmbeddedServer, tmp_path: Path) -> Iterator[ServiceProcess]:
    with serve(tmp_path, primary, primary) as running:
        yield running


@pytest.fixture
def replica(
    primary: EmbeddedServer, serving: ServiceProcess, tmp_path: Path
) -> Iterator[EmbeddedServer]:
    """Yield a replica that was created after the schema."""
    with standby_of(primary, tmp_path / "standby") as server:
        yield server


@contextmanager
def serve(
    directory: Path, primary: EmbeddedServer, replica: EmbeddedServer
) -> Iterator[ServiceProcess]:
    with service(
        directory,
        SALDO_DATABASE_URL=primary.service_url,
        SALDO_DATABASE_OWNER_URL=primary.owner_url,
        SALDO_DATABASE_REPLICA_URL=replica.service_url,
    ) as running:
        wait_for(running, "the replica is available")
        yield running


def wait_for(running: ServiceProcess, line: str) -> None:
    deadline = time.monotonic() + SECONDS_MAX
    while line not in running.output():
        assert running.process.poll() is None, running.output()
        assert time.monotonic() < deadline, running.output()
        time.sleep(0.05)


class UserClient:
    """Requests of one user, and the servers that answered them."""

    def __init__(self, url: str, user_id: int = 0) -> None:
        self._url = url
        self.user_id = user_id or self._created()
        self._reads: dict[str, float] = {}
        self.answered()

    def _created(self) -> int:
        found = httpx.post(f"{self._url}/v1/user", json={"name": f"user {uuid4()}"}).json()
        return int(found["id"])

    def post(self, amount: str = "1.00", timestamp: datetime | None = None) -> dict[str, Any]:
        content = {
            "uuid": str(uuid4()),
            "user_id": self.user_id,
            "type": "DEPOSIT",
            "amount": amount,
        }
        if timestamp is not None:
            content["timestamp"] = timestamp.isoformat()
        found: dict[str, Any] = httpx.post(f"{self._url}/v1/transaction", json=content).json()
        return found

    def fill(self) -> list[dict[str, Any]]:
        """Post transactions, some of them late."""
        days = [(7 * n) % ENTRIES for n in range(ENTRIES)]
        return [self.post(f"{n}.00", FIRST + timedelta(days=n)) for n in days if n]

    def get(self, path: str, **query: Any) -> dict[str, Any]:
        answer = httpx.get(f"{self._url}{path}", params=query, timeout=60)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def balance(self, **query: Any) -> str:
        return str(self.get(f"/v1/user/{self.user_id}/balance", **query)["balance"])

    def chart(self) -> dict[str, Any]:
        """Return the console's chart of a period that ends before now."""
        bounds = {"from": FIRST.timestamp(), "to": (FIRST + timedelta(days=60)).timestamp()}
        return self.get(f"/console/users/{self.user_id}/chart", **bounds)

    def list(self, **query: Any) -> dict[str, Any]:
        return self.get(f"/v1/user/{self.user_id}/transactions", limit=PAGE, **query)

    def answered(self) -> set[str]:
        """Return the servers that have answered reads which a replica may answer, since the last call."""
        found = {who: float(n) for who, n in READS.findall(httpx.get(f"{self._url}/metrics").text)}
        since = {who for who, n in found.items() if n > self._reads.get(who, 0)}
        self._reads = found
        return since


@contextmanager
def paused(replica: EmbeddedServer) -> Iterator[None]:
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


def questions(user_id: int, seq: int) -> list[tuple[str, dict[str, Any]]]:
    """Return a request of each kind that a replica may answer."""
    user, date = f"/v1/user/{user_id}", FIRST + timedelta(days=11)
    known = (FIRST + timedelta(days=90)).isoformat()
    return [
        (f"{user}/transactions", {}),
        (f"{user}/transactions", {"limit": PAGE, "type": "DEPOSIT", "from": date.isoformat()}),
        (f"{user}/transactions", {"limit": PAGE, "known_at": known}),
        (f"{user}/balance", {"date": date.isoformat()}),
        (f"{user}/balance", {"date": date.isoformat(), "known_at": known}),
        ("/v1/transactions", {"shard": user_id % 64, "after": seq, "limit": PAGE}),
        ("/v1/transactions", {"shard": user_id % 64}),
    ]


def test_replica_answers_like_the_primary(
    primary: EmbeddedServer, replica: EmbeddedServer, serving: ServiceProcess, tmp_path: Path
) -> None:
    plain = UserClient(serving.url)
    plain.fill()
    catch_up(primary, replica)
    with serve(tmp_path, primary, replica) as running:
        asking = UserClient(running.url, plain.user_id)
        for path, query in questions(plain.user_id, 3):
            assert asking.get(path, **query) == plain.get(path, **query)
            assert asking.answered() == {"replica"}, (path, query)
        assert len(asking.get(f"/console/users/{plain.user_id}/chart")["times"]) > ENTRIES
        assert asking.answered() == {"replica"}
        asking.balance()
        assert asking.answered() == set()  # the most frequent read uses one server


def test_primary_answers_reads_that_the_replica_lags_behind(
    primary: EmbeddedServer, replica: EmbeddedServer, tmp_path: Path
) -> None:
    with serve(tmp_path, primary, replica) as running:
        asking = UserClient(running.url)
        made = asking.fill()
        catch_up(primary, replica)
        with paused(replica):
            new = asking.post("5.00")
            page = asking.list()
            assert page["items"][0]["uuid"] == new["uuid"]
            assert asking.answered() == {"primary"}
            assert asking.balance(date=new["timestamp"]) == new["balance"]
            assert asking.answered() == {"primary"}
            # The replica has everything below that.
            older = asking.list(cursor=page["next_cursor"])
            assert [item["uuid"] for item in older["items"]] == [
                each["uuid"] for each in reversed(made[-2 * PAGE + 1 : -PAGE + 1])
            ]
            assert asking.answered() == {"replica"}
        catch_up(primary, replica)
        assert asking.list() == page
        assert asking.answered() == {"replica"}


def test_replica_answers_known_at_once_nothing_can_be_recorded_before_it(
    primary: EmbeddedServer, replica: EmbeddedServer, tmp_path: Path
) -> None:
    with serve(tmp_path, primary, replica) as running:
        asking = UserClient(running.url)
        first, second, third = (asking.post() for _ in range(3))
        known = second["recorded_at"]
        catch_up(primary, replica)
        assert asking.balance(known_at=known) == "2.00"
        assert asking.answered() == {"replica"}
        # For the last moment the replica can't exclude further entries.
        assert asking.balance(known_at=third["recorded_at"]) == "3.00"
        assert asking.answered() == {"primary"}
        listed = asking.list(known_at=known)
        assert listed["items"] == [_listed(second), _listed(first)]
        asking.post()
        assert asking.list(known_at=known) == listed


def test_primary_answers_while_the_replica_is_unavailable(
    primary: EmbeddedServer, serving: ServiceProcess, tmp_path: Path
) -> None:
    data_dir = tmp_path / "standby"
    with standby_of(primary, data_dir) as replica, serve(tmp_path, primary, replica) as running:
        asking = UserClient(running.url)
        asking.fill()
        catch_up(primary, replica)
        page = asking.list()
        assert asking.answered() == {"replica"}
        replica.stop()
        assert asking.list() == page
        assert asking.answered() == {"primary"}
        again = EmbeddedServer(data_dir)
        again.start()
        try:
            while asking.answered() != {"replica"}:
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
        before = [asking.get(path, **query) for path, query in questions(asking.user_id, 3)]
        chart = asking.chart()
        with serve(tmp_path, replica, replica) as other:
            # Late or current, any answer from there would differ.
            elsewhere = UserClient(other.url, asking.user_id)
            elsewhere.post("7.00", FIRST)
            lost = elsewhere.post("7.00")
        assert [asking.get(path, **query) for path, query in questions(asking.user_id, 3)] == before
        assert asking.chart() == chart
        kept = [asking.post("5.00"), asking.post("5.00")][-1]
        assert lost["number"] == kept["number"]
        assert asking.list()["items"][0] == _listed(kept)
        assert asking.answered() >= {"primary"}


def test_replica_hides_entries_that_are_not_visible_on_the_primary(
    primary: EmbeddedServer, replica: EmbeddedServer, tmp_path: Path
) -> None:
    """Read an entry whose commit waits for the synchronous standby: after a failover it may never have existed."""
    with serve(tmp_path, primary, replica) as running, ThreadPoolExecutor(1) as beside:
        asking = UserClient(running.url)
        asking.fill()
        catch_up(primary, replica)
        asked = questions(asking.user_id, 3)
        before = [asking.get(path, **query) for path, query in asked]
        with standby_away(primary):
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
        assert asking.answered() == {"replica"}
        with hung(replica):
            assert asking.list() == page
            assert asking.answered() == {"primary"}
            wait_for(running, "the replica is unavailable")
        while asking.answered() != {"replica"}:
            assert asking.list() == page


def test_replica_of_another_database_is_not_used(
    primary: EmbeddedServer, serving: ServiceProcess, tmp_path: Path
) -> None:
    with service(
        tmp_path,
        SALDO_DATABASE_URL=primary.service_url,
        SALDO_DATABASE_OWNER_URL=primary.owner_url,
        SALDO_DATABASE_REPLICA_URL=primary.superuser_url.replace("/saldo?", "/template1?"),
    ) as running:
        wait_for(running, "can't query the replica")
        asking = UserClient(running.url)
        asking.post()
        assert len(asking.list()["items"]) == 1
        assert asking.answered() == {"primary"}


def _listed(posted: dict[str, Any]) -> dict[str, Any]:
    """Return a posted transaction as lists contain it."""
    return {name: value for name, value in posted.items() if name != "code"}
