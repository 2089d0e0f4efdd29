"""Any node of a cluster may be named as the database."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from saldo.store.distributed.entry import coordinator_of
from saldo.store.errors import SetUpError
from tests import databases
from tests.acceptance.service import service
from tests.databases import Database
from tests.distributed.test_distribute import program
from tests.faults.test_replica import Asking

pytestmark = pytest.mark.citus


@pytest.fixture
def worker(citus_url: str, cluster: Database) -> Database:
    """The same ledger, by one of its workers."""
    with psycopg.connect(citus_url) as admin:
        node = admin.execute(
            "SELECT nodename, nodeport FROM pg_dist_node"
            " WHERE noderole = 'primary' AND shouldhaveshards LIMIT 1"
        ).fetchone()
    assert node is not None
    return Database(
        databases.at(cluster.owner_url, *node), databases.at(cluster.service_url, *node)
    )


def test_a_worker_knows_the_coordinator(cluster: Database, worker: Database) -> None:
    # As the driver reads it, so is it read: the place is the one of the query.
    with pytest.raises(SetUpError, match="port 1"):
        coordinator_of(f"{worker.service_url}?application_name=a%20b&port=1")
    assert coordinator_of(f"{worker.service_url}?application_name=a%20b") == (
        f"{cluster.service_url}?application_name=a%20b"
    )
    assert coordinator_of(cluster.service_url) == cluster.service_url


def test_a_service_that_names_a_worker_does_everything(
    cluster: Database, worker: Database, tmp_path: Path
) -> None:
    with service(
        tmp_path,
        SALDO_DATABASE_URL=worker.service_url,
        SALDO_DATABASE_OWNER_URL=worker.owner_url,
    ) as running:
        asking = Asking(running.url)
        made = asking.fill()
        assert asking.balance() == made[-1]["balance"]
    assert program(worker)("verify", "--json").lines[-1]["faults"] == []


def test_a_coordinator_that_is_somebody_else_from_here_is_told(
    citus_url: str, cluster: Database, worker: Database
) -> None:
    name = psycopg.conninfo.conninfo_to_dict(cluster.service_url)["dbname"]
    with psycopg.connect(databases.within(citus_url, str(name)), autocommit=True) as admin:
        row = admin.execute("SELECT nodename, nodeport FROM pg_dist_node WHERE groupid = 0")
        host, port = row.fetchone() or ("", 0)
        # A worker, under the name of this machine.
        admin.execute("SELECT citus_set_coordinator_host('localhost', %s)", (port,))
        try:
            assert coordinator_of(worker.service_url).endswith(f"@localhost:{port}/{name}")
            with psycopg.connect(
                databases.within(databases.at(citus_url, *_place(worker)), str(name)),
                autocommit=True,
            ) as there:
                there.execute("UPDATE pg_dist_node SET nodeport = 9 WHERE groupid = 0")
            with pytest.raises(SetUpError, match="it is a worker, and its coordinator localhost:9"):
                coordinator_of(worker.service_url)
        finally:
            admin.execute("SELECT citus_set_coordinator_host(%s, %s)", (host, port))


def _place(database: Database) -> tuple[str, int]:
    named = psycopg.conninfo.conninfo_to_dict(database.service_url)
    return str(named["host"]), int(str(named["port"]))
