"""Reads from the standbys of a cluster, through the coordinator's standby."""

from __future__ import annotations

import time
from pathlib import Path

import psycopg
import pytest

from harness.postgresql import databases
from harness.postgresql.databases import Database
from harness.prerequisites import skip_or_fail
from harness.program.service import run_service_process
from harness.replica_reads import UserClient, read_requests

pytestmark = pytest.mark.citus

SECONDS_MAX = 60


@pytest.fixture
def replica_url(citus_url: str, cluster: Database) -> str:
    """Return the URL of the service's role on the coordinator's standby, which queries the workers' standbys."""
    with psycopg.connect(citus_url) as admin:
        standbys = admin.execute(
            "SELECT s.nodename, s.nodeport, p.nodename, p.nodeport, s.groupid FROM pg_dist_node AS s"
            " JOIN pg_dist_node AS p ON p.groupid = s.groupid AND p.noderole = 'primary'"
            " WHERE s.noderole = 'secondary' ORDER BY s.groupid"
        ).fetchall()
    if not standbys or standbys[0][4] != 0:
        skip_or_fail("citus", "the Citus cluster has no standbys (see docs/howto/scale-out.md)")
    name = psycopg.conninfo.conninfo_to_dict(cluster.service_role_url)["dbname"]
    with psycopg.connect(
        databases.replace_database(citus_url, str(name)), autocommit=True
    ) as admin:
        for standby in standbys:
            admin.execute("SELECT citus_add_secondary_node(%s, %s, %s, %s)", standby[:4])
    return databases.replace_server(cluster.service_role_url, *standbys[0][:2])


def test_standbys_answer_like_the_cluster(
    cluster: Database, replica_url: str, tmp_path: Path
) -> None:
    urls = {
        "SALDO_DATABASE_URL": cluster.service_role_url,
        "SALDO_DATABASE_OWNER_URL": cluster.owner_role_url,
    }
    with (
        run_service_process(tmp_path, **urls) as plain,
        run_service_process(tmp_path, **urls, SALDO_DATABASE_REPLICA_URL=replica_url) as running,
    ):
        running.wait_for_output("the replica is available")
        here = UserClient(plain.url)
        here.fill()
        there = UserClient(running.url, here.user_id)
        deadline = time.monotonic() + SECONDS_MAX
        while there.list() and there.pop_answering_servers() != {"replica"}:
            assert time.monotonic() < deadline, running.output()
        for path, query in read_requests(here.user_id, 3):
            assert there.get(path, **query) == here.get(path, **query)
            assert there.pop_answering_servers() == {"replica"}, (path, query)
        chart = there.get(f"/console/users/{here.user_id}/chart")
        assert chart["times"]
        assert there.pop_answering_servers() == {"replica"}
