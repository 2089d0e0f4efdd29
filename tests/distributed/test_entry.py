"""Connection strings of a cluster: the database may be named by any of its nodes."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from harness.postgresql import databases
from harness.postgresql.databases import Database
from harness.program.service import run_service_process
from harness.replica_reads import UserClient
from saldo.store.citus.coordinator import find_coordinator_url
from saldo.store.errors import ConfigurationError
from tests.distributed.test_distribute import program

pytestmark = pytest.mark.citus


@pytest.fixture
def worker(citus_url: str, cluster: Database) -> Database:
    """Return the same ledger at the address of one of its workers."""
    with psycopg.connect(citus_url) as admin:
        node = admin.execute(
            "SELECT nodename, nodeport FROM pg_dist_node"
            " WHERE noderole = 'primary' AND shouldhaveshards LIMIT 1"
        ).fetchone()
    assert node is not None
    return Database(
        databases.replace_server(cluster.owner_role_url, *node),
        databases.replace_server(cluster.service_role_url, *node),
    )


def test_coordinator_is_found_from_a_worker(cluster: Database, worker: Database) -> None:
    # The URL is parsed like the driver parses it: parameters in the query override the address.
    with pytest.raises(ConfigurationError, match="port 1"):
        find_coordinator_url(f"{worker.service_role_url}?application_name=a%20b&port=1")
    assert find_coordinator_url(f"{worker.service_role_url}?application_name=a%20b") == (
        f"{cluster.service_role_url}?application_name=a%20b"
    )
    assert find_coordinator_url(cluster.service_role_url) == cluster.service_role_url


def test_service_with_a_workers_address_works(
    cluster: Database, worker: Database, tmp_path: Path
) -> None:
    with run_service_process(
        tmp_path,
        SALDO_DATABASE_URL=worker.service_role_url,
        SALDO_DATABASE_OWNER_URL=worker.owner_role_url,
    ) as running:
        asking = UserClient(running.url)
        made = asking.fill()
        assert asking.balance() == made[-1]["balance"]
    assert program(worker)("verify", "--json").lines[-1]["faults"] == []


def test_coordinator_address_that_leads_to_another_server_is_reported(
    citus_url: str, cluster: Database, worker: Database
) -> None:
    name = psycopg.conninfo.conninfo_to_dict(cluster.service_role_url)["dbname"]
    with psycopg.connect(
        databases.replace_database(citus_url, str(name)), autocommit=True
    ) as admin:
        row = admin.execute("SELECT nodename, nodeport FROM pg_dist_node WHERE groupid = 0")
        host, port = row.fetchone() or ("", 0)
        # This is the address of a worker, under a name of this machine.
        admin.execute("SELECT citus_set_coordinator_host('localhost', %s)", (port,))
        try:
            assert find_coordinator_url(worker.service_role_url).endswith(
                f"@localhost:{port}/{name}"
            )
            with psycopg.connect(
                databases.replace_database(
                    databases.replace_server(citus_url, *_place(worker)), str(name)
                ),
                autocommit=True,
            ) as there:
                there.execute("UPDATE pg_dist_node SET nodeport = 9 WHERE groupid = 0")
            with pytest.raises(
                ConfigurationError,
                match="the server is a Citus worker, and its coordinator localhost:9",
            ):
                find_coordinator_url(worker.service_role_url)
        finally:
            admin.execute("SELECT citus_set_coordinator_host(%s, %s)", (host, port))


def _place(database: Database) -> tuple[str, int]:
    named = psycopg.conninfo.conninfo_to_dict(database.service_role_url)
    return str(named["host"]), int(str(named["port"]))
