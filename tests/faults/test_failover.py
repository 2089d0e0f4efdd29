"""A primary that is lost for ever, and its promoted synchronous standby: the service follows, nothing is lost."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

import psycopg
import pytest

from harness.http_client import Client, DisconnectedError
from harness.postgresql.standbys import run_standby
from harness.program.service import run_service_process
from saldo.store.connections.connection import connect
from saldo.store.embedded import EmbeddedServer

CLIENTS = 16
POSTS = 60
"""Number of posts of each client."""

# The supervisor of this primary can be killed with it, so that nothing restarts it.
_PRIMARY = """
import sys
from pathlib import Path
from saldo.store.embedded import EmbeddedServer

server = EmbeddedServer(Path(sys.argv[1]))
server.start()
print(server.pid, flush=True)
sys.stdin.read()
server.stop()
"""


class Primary:
    """A server in a process of its own."""

    def __init__(self, data_dir: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PRIMARY, data_dir],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self._server_pid = int(self._process.stdout.readline())
        self.server = EmbeddedServer(data_dir)
        assert self.server.attach_to_running_server()

    def kill(self) -> None:
        """Kill the server and the supervisor that would restart it."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
            os.kill(self._server_pid, signal.SIGKILL)
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()


@pytest.fixture
def primary(tmp_path: Path) -> Iterator[Primary]:
    running = Primary(tmp_path / "primary")
    try:
        yield running
    finally:
        running.kill()


@pytest.fixture
def standby(tmp_path: Path, primary: Primary) -> Iterator[EmbeddedServer]:
    """Yield a synchronous streaming standby."""
    with (
        run_standby(primary.server, tmp_path / "standby") as server,
        psycopg.connect(primary.server.superuser_url, autocommit=True) as admin,
    ):
        admin.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
        admin.execute("SELECT pg_reload_conf()")
        synchronous = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'"
        while admin.execute(synchronous).fetchone() != (1,):
            pass
        yield server


def either(role: str, *servers: EmbeddedServer) -> str:
    """Return a connection string that names all servers and requests the one that is writable."""
    hosts = ",".join(quote(str(server.socket_dir), safe="") for server in servers)
    ports = ",".join("5432" for _ in servers)
    return f"postgresql://{role}@/saldo?host={hosts}&port={ports}&target_session_attrs=read-write"


class Posting:
    """Clients that retry each deposit until it is answered."""

    def __init__(self, url: str, user_id: int) -> None:
        self._url = url
        self._user_id = user_id
        self.acknowledged: list[str] = []
        self.under_way = asyncio.Event()

    async def run(self) -> None:
        await asyncio.gather(*(self._client() for _ in range(CLIENTS)))

    async def _client(self) -> None:
        async with Client(self._url) as client:
            for _ in range(POSTS):
                uuid = str(uuid4())
                while not await self._post(client, uuid):
                    pass
                self.acknowledged.append(uuid)
                if len(self.acknowledged) == CLIENTS * POSTS // 3:
                    self.under_way.set()

    async def _post(self, client: Client, uuid: str) -> bool:
        content = {"uuid": uuid, "user_id": self._user_id, "type": "DEPOSIT", "amount": "1.00"}
        try:
            status, _ = await client.post("/v1/transaction", content)
        except DisconnectedError:
            client.close()
            return False
        assert status in {200, 503, 504}
        return status == 200


async def test_service_follows_a_failover_and_no_acknowledged_transaction_is_lost(
    tmp_path: Path, primary: Primary, standby: EmbeddedServer
) -> None:
    urls = {
        "SALDO_DATABASE_URL": either("saldo", primary.server, standby),
        "SALDO_DATABASE_OWNER_URL": either("saldo_owner", primary.server, standby),
    }
    with run_service_process(tmp_path, **urls) as running:
        async with Client(running.url) as client:
            _, user = await client.post("/v1/user", {"name": "one"})
        posting = Posting(running.url, user["id"])
        clients = asyncio.create_task(posting.run())
        await posting.under_way.wait()

        primary.kill()
        before = set(posting.acknowledged)
        with psycopg.connect(standby.superuser_url, autocommit=True) as admin:
            assert admin.execute("SELECT pg_promote()").fetchone() == (True,)
            await clients

        async with Client(running.url) as client:
            _, found = await client.get(f"/v1/user/{user['id']}/balance")
    assert found["balance"] == f"{CLIENTS * POSTS}.00"
    with psycopg.connect(standby.service_role_url) as connection:
        recorded = {
            str(row[0])
            for row in connection.execute("SELECT uuid FROM saldo.transactions WHERE kind = 1")
        }
    assert len(before) >= CLIENTS * POSTS // 3
    assert before <= recorded
    assert recorded == set(posting.acknowledged)


async def test_silent_host_does_not_keep_the_service_from_the_next_one(
    embedded_server: EmbeddedServer,
) -> None:
    """Connect past a silent address, like that of a machine without power, on which the driver alone would time out."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        url = (
            f"postgresql://saldo@/saldo?host=127.0.0.1,{quote(str(embedded_server.socket_dir), safe='')}"
            f"&port={port},5432&target_session_attrs=read-write"
        )
        connection = await connect(url, application_name="test", statement_timeout_seconds=5)
        assert await connection.fetchval("SELECT 1") == 1
        await connection.close()
