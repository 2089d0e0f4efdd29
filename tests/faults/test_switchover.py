"""A proxy that leads to a primary and its standby in turn: reads never return less than was acknowledged."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest

from harness.postgresql.pgbouncer import Pgbouncer, run_pgbouncer
from harness.postgresql.standbys import run_standby
from harness.program.settings import create_settings
from saldo.bootstrap.service import run_service
from saldo.ledger.model import USER_ID_MAX, Decision, LedgerLimits, Outcome, TransactionRequest
from saldo.store.connections.connection import fetch, open_pool
from saldo.store.embedded import EmbeddedServer
from saldo.store.errors import ConnectionLostError
from saldo.store.poster import Poster
from saldo.store.schema.migrate import prepare_schema
from tests.faults.test_promotion import follow, promote
from torture.proxy import Proxy, Streams

pytestmark = pytest.mark.timeout(120)


class Address:
    """An address that leads new connections to the current server; open connections stay."""

    def __init__(self, server: EmbeddedServer) -> None:
        self.server = server

    async def connect(self) -> Streams:
        return await asyncio.open_unix_connection(self.server.socket_dir / ".s.PGSQL.5432")


@pytest.fixture
def standby(tmp_path: Path, own_server: EmbeddedServer) -> Iterator[EmbeddedServer]:
    prepare_schema(
        own_server.owner_role_url,
        own_server.service_role_url,
        currency_decimals=2,
        max_lateness=None,
    )
    with run_standby(own_server, tmp_path / "standby") as server:
        yield server


@asynccontextmanager
async def api(url: str) -> AsyncIterator[httpx.AsyncClient]:
    settings = create_settings(url, request_deadline_seconds=1, lanes=1)
    async with run_service(settings, url) as app:
        transport = httpx.ASGITransport(app=app)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            yield client


def end_connections(server: EmbeddedServer, name: str) -> None:
    """End the service's connections with this name on a server."""
    with psycopg.connect(server.superuser_url, autocommit=True) as admin:
        admin.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name LIKE %s",
            (name,),
        )


class Money:
    """A user's deposits, and the service's answers about them."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self.user_id = 0
        self.posted = 0

    async def create(self) -> int:
        found = await self._client.post("/v1/user", json={"name": str(uuid4())})
        self.user_id = self.user_id or found.json().get("id", 0)
        return found.status_code

    async def deposit(self) -> int:
        """Post a deposit; if the answer is 200, the balance must contain it at once."""
        body = {
            "uuid": str(uuid4()),
            "user_id": self.user_id,
            "type": "DEPOSIT",
            "amount": "1.00",
        }
        status = (await self._client.post("/v1/transaction", json=body)).status_code
        if status == 200:
            self.posted += 1
            assert await self.balance() == (200, f"{self.posted}.00")
            assert (await self._client.get(f"/v1/transaction/{body['uuid']}")).status_code == 200
        return status

    async def balance(self) -> tuple[int, str | None]:
        found = await self._client.get(f"/v1/user/{self.user_id}/balance")
        return found.status_code, found.json().get("balance")

    async def ready(self) -> int:
        return (await self._client.get("/healthz/ready")).status_code


async def until(status: int, ask: Callable[[], Any]) -> None:
    async with asyncio.timeout(30):
        while await ask() != status:
            await asyncio.sleep(0.05)


async def test_connections_leave_a_server_that_is_not_the_primary(
    own_server: EmbeddedServer, standby: EmbeddedServer
) -> None:
    primary, address = own_server, Address(own_server)
    async with Proxy(address.connect) as proxy:
        url = f"postgresql://saldo@127.0.0.1:{proxy.port}/saldo?sslmode=disable"
        async with api(url) as client:
            money = Money(client)
            assert await money.create() == 201
            assert await money.deposit() == 200
            follow(standby, primary)

            # The lane's connection leads to the standby, the readers' still to the primary: the service answers, but is
            # not ready.
            address.server = standby
            end_connections(primary, "saldo lane%")
            assert await money.deposit() in {503, 504}
            assert await money.ready() == 503

            # The readers' connections lead to the standby, too, which is rejected although its answer would be right.
            end_connections(primary, "saldo%")
            assert (await money.balance())[0] == 503
            assert await money.create() == 503
            assert await money.ready() == 503

            # The address leads to the primary again, and the service recovers.
            address.server = primary
            await until(200, money.ready)
            await until(200, money.deposit)
            assert await money.create() == 201
            follow(standby, primary)

            # The standby is promoted while the old primary still runs: the readers' connections to it work.
            address.server = standby
            promote(standby)
            assert (await money.balance())[0] == 200
            end_connections(primary, "saldo lane%")
            # The balance that is read after the answer contains the deposit (`Money.deposit`).
            await until(200, money.deposit)
            assert await money.create() == 201
            assert await money.ready() == 200

            # A new connection to the old primary is rejected.
            address.server = primary
            end_connections(standby, "saldo read")
            assert (await money.balance())[0] == 503


async def lead(proxy: Proxy, address: Address, server: EmbeddedServer, pooler: Pgbouncer) -> None:
    """Lead all connections from a pooler to another server; those to the pooler stay."""
    address.server = server
    proxy.cut()
    url = pooler.url(database="pgbouncer")
    with psycopg.connect(url, autocommit=True, cursor_factory=psycopg.ClientCursor) as admin:
        while admin.execute("SHOW SERVERS").fetchall():
            await asyncio.sleep(0.01)


async def test_standby_behind_a_pooler_is_rejected(
    own_server: EmbeddedServer, standby: EmbeddedServer, pgbouncer_program: str
) -> None:
    """Check that the change is noticed although the service's connection to the pooler stays open."""
    address = Address(own_server)
    async with Proxy(address.connect) as proxy:
        server = f"postgresql://saldo@127.0.0.1:{proxy.port}/saldo"
        options = {"pool_mode": "transaction", "server_tls_sslmode": "disable"}
        stack = run_pgbouncer(pgbouncer_program, server, **options)
        pgbouncer = await asyncio.to_thread(stack.__enter__)
        pool = await open_pool(pgbouncer.url(), connections=1, statement_timeout_seconds=5)
        poster = await Poster.open(
            pgbouncer.url(), LedgerLimits(), lane=0, statement_timeout_seconds=5
        )
        # An atomic array with this request is refused before anything is written; a standby would refuse to write.
        stranger = [TransactionRequest(uuid4(), USER_ID_MAX, 100, None)]
        try:
            assert await poster.post(stranger, atomic=True) == [Decision(Outcome.USER_NOT_FOUND)]
            assert await fetch(pool, "ledger/ready") == [(True,)]
            async with pool.acquire() as connection:
                ours = connection.get_server_pid()
            await lead(proxy, address, standby, pgbouncer)
            with pytest.raises(ConnectionLostError, match="the pooler connects to a standby"):
                await fetch(pool, "log/last_positions")
            with pytest.raises(ConnectionLostError, match="needs the primary"):
                await poster.post(stranger, atomic=True)
            await lead(proxy, address, own_server, pgbouncer)
            assert await fetch(pool, "ledger/ready") == [(True,)]
            async with pool.acquire() as connection:
                assert connection.get_server_pid() == ours
        finally:
            poster.abort_connection()
            pool.terminate()
            await asyncio.to_thread(stack.__exit__, None, None, None)
