"""docs/howto/scale-out.md as printed: from the nodes of a cluster to a complete ledger."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest

from harness.postgresql import databases
from harness.program.command import Program

pytestmark = pytest.mark.citus

PAGE = Path(__file__).parents[2] / "docs/howto/scale-out.md"


def test_a_ledger_is_distributed_as_the_how_to_says(citus_url: str) -> None:
    create, extend, coordinate = re.findall(r"```sql\n(.*?)```", PAGE.read_text(), re.DOTALL)
    commands = re.findall(r"```sh\nsaldo (.*?)\n```", PAGE.read_text())
    assert commands == ["db distribute", "verify"]
    with psycopg.connect(citus_url) as admin:
        nodes = admin.execute(
            "SELECT nodename, nodeport FROM pg_dist_node WHERE shouldhaveshards ORDER BY nodeid"
        ).fetchall()
    name, here = f"saldo_test_{uuid4().hex[:12]}", urlsplit(citus_url)

    def fill_in_names(text: str) -> str:
        """Return the text with the names and addresses of this test."""
        places = [("coordinator", here.hostname, here.port or 5432)]
        places += [(f"worker-{number}", *node) for number, node in enumerate(nodes, start=1)]
        for host, address, port in places:
            text = text.replace(f"'{host}.example', 5432", f"'{address}', {port}")
        return re.sub(r"\bsaldo(?=[ ;_])", name, text)

    urls = [citus_url, *(databases.replace_server(citus_url, *node) for node in nodes[:2])]
    try:
        for url in urls:
            _run(url, fill_in_names(create))
            _run(databases.replace_database(url, name), fill_in_names(extend))
        _run(databases.replace_database(citus_url, name), fill_in_names(coordinate))
        address = f"{here.hostname}:{here.port or 5432}/{name}"
        saldo = Program(
            SALDO_DATABASE_URL=f"postgresql://{name}:choose-another@{address}",
            SALDO_DATABASE_OWNER_URL=f"postgresql://{name}_owner:choose-one@{address}",
        )
        assert f"64 shards on {len(urls) - 1} workers" in saldo(*commands[0].split()).output
        assert "the ledger is intact" in saldo(*commands[1].split()).output
    finally:
        for url in urls:
            _run(url, f"DROP DATABASE IF EXISTS {name} WITH (FORCE);")
        for url in urls:
            _run(
                url,
                "SET citus.enable_create_role_propagation = off;"
                f"DROP ROLE IF EXISTS {name};DROP ROLE IF EXISTS {name}_owner;",
            )


def _run(url: str, statements: str) -> None:
    """Run the statements one after another, as psql does."""
    with psycopg.connect(url, autocommit=True) as connection:
        for each in statements.split(";"):
            if each.strip():
                connection.execute(each.encode())
