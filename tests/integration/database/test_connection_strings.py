"""Connection strings of managed services, used by both drivers on a real server."""

from __future__ import annotations

import psycopg

from saldo.store.connections.connection import connect
from saldo.store.connections.parameters import check_connection_string


async def test_both_drivers_connect(database_url: str) -> None:
    """Connect with every parameter that services hand out and that matters to one of the drivers."""
    url = (
        f"{database_url}{'&' if '?' in database_url else '?'}channel_binding=prefer&connect_timeout=5&keepalives=1"
        "&keepalives_idle=30&gssencmode=disable&application_name=test&options=-c%20geqo%3Doff&sslmode=prefer"
        "&target_session_attrs=any&load_balance_hosts=random&krbsrvname=postgres&client_encoding=auto"
    )
    check_connection_string(url)
    connection = await connect(url, application_name="test", statement_timeout_seconds=5)
    try:
        assert await connection.fetchval("SHOW geqo") == "off"
    finally:
        await connection.close()
    with psycopg.connect(url) as other:
        assert other.execute("SHOW geqo").fetchone() == ("off",)
