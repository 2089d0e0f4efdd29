"""What tests share: a database of their own, and the service on it."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest

from saldo.bootstrap.service import running
from saldo.settings import Settings
from saldo.store.embedded import EmbeddedServer
from saldo.store.migrate import prepare
from tests import databases
from tests.acceptance.document import Document
from tests.databases import Database
from tests.deploy import prometheus
from tests.faults import broker
from tests.integration import pgbouncer

PROMISED = os.environ.get("SALDO_TEST_PROMISED", "").split(",")
"""What CI promises to have: a test that is skipped for want of it fails there."""


def missing(what: str, reason: str) -> NoReturn:
    """Skips the test, or fails it where the thing is promised."""
    if what in PROMISED:
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def embedded() -> Iterator[EmbeddedServer]:
    """A PostgreSQL of the tests' own, as users get it."""
    directory = Path(tempfile.mkdtemp(prefix="saldo-test-"))
    server = EmbeddedServer(directory)
    server.start()
    try:
        prepare(server.owner_url, server.service_url, currency_decimals=2, max_lateness=None)
        yield server
    finally:
        server.stop()
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[EmbeddedServer]:
    """A PostgreSQL that a test may stop, with an empty database."""
    server = EmbeddedServer(tmp_path / "data")
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def own_ledger(embedded: EmbeddedServer) -> Iterator[Database]:
    """A ledger of the test's own: what is counted along the log begins at the beginning."""
    with databases.on_embedded(embedded) as database:
        prepare(database.owner_url, database.service_url, currency_decimals=2, max_lateness=None)
        yield database


@pytest.fixture(scope="session")
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The connection string of the service's role.

    On the embedded server; or, if SALDO_TEST_SERVER_URL names a superuser of another server, in a
    database of its own there; distributed, if the database that it names coordinates a Citus cluster.
    """
    superuser_url = os.environ.get("SALDO_TEST_SERVER_URL")
    if not superuser_url:
        embedded: EmbeddedServer = request.getfixturevalue("embedded")
        yield embedded.service_url
        return
    with databases.ledger_on(superuser_url) as database:
        yield database.service_url


@pytest.fixture
def one_machine() -> None:
    """For what is not true of a distributed ledger: a uuid stands for one transaction in each shard there."""
    superuser_url = os.environ.get("SALDO_TEST_SERVER_URL")
    if superuser_url and databases.has_citus(superuser_url):
        pytest.skip("in a distributed ledger a uuid is another one's in another shard")


@pytest.fixture(scope="session")
def machine_postgres() -> str:
    """A PostgreSQL beside the embedded one: SALDO_TEST_DATABASE_URL, or the usual local address."""
    url = os.environ.get("SALDO_TEST_DATABASE_URL", "postgresql://postgres@127.0.0.1:5432/postgres")
    try:
        psycopg.connect(url, connect_timeout=3).close()
    except psycopg.Error as error:
        missing(
            "postgres",
            f"no PostgreSQL at {url.rpartition('@')[2]} (SALDO_TEST_DATABASE_URL): {error}",
        )
    return url


@pytest.fixture(scope="session")
def pgbouncer_program() -> str:
    """pgbouncer, from PATH or where Debian puts it."""
    program = pgbouncer.find()
    if program is None:
        missing("pgbouncer", "no pgbouncer in PATH or /usr/sbin (Debian: package pgbouncer)")
    return program


@pytest.fixture(scope="session")
def rabbitmq_url() -> str:
    """A RabbitMQ: SALDO_TEST_RABBITMQ_URL, or the usual local address."""
    url = os.environ.get("SALDO_TEST_RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672/")
    if not reachable(url, 5672):
        missing("rabbitmq", f"no RabbitMQ at {url.rpartition('@')[2]} (SALDO_TEST_RABBITMQ_URL)")
    return url


@pytest.fixture(scope="session")
def rabbitmq_stream_url() -> str:
    """A RabbitMQ with its stream plugin: SALDO_TEST_RABBITMQ_STREAM_URL, or the usual local address."""
    name = "SALDO_TEST_RABBITMQ_STREAM_URL"
    url = os.environ.get(name, "rabbitmq-stream://guest:guest@127.0.0.1:5552/")
    if not reachable(url, 5552):
        missing("rabbitmq-stream", f"no RabbitMQ streams at {url.rpartition('@')[2]} ({name})")
    return url


@pytest.fixture(scope="session")
def rabbitmq_program() -> str:
    """RabbitMQ's own program, for a broker that a test may kill."""
    program = broker.find()
    if program is None:
        missing("rabbitmq-server", "no rabbitmq-server (Debian: package rabbitmq-server)")
    return program


@pytest.fixture(scope="session")
def prometheus_program() -> str:
    """Prometheus' own program: each test starts one."""
    return _installed("prometheus")


@pytest.fixture(scope="session")
def promtool() -> str:
    """Prometheus' checker of rules."""
    return _installed("promtool")


def _installed(program: str) -> str:
    found = prometheus.find(program)
    if found is None:
        missing("prometheus", f"no {program} in PATH or /usr/bin (Debian: package prometheus)")
    return found


def reachable(url: str, port: int) -> bool:
    """Whether something takes connections there; `port`: if the URL has none."""
    parts = urlsplit(url)
    try:
        socket.create_connection((parts.hostname, parts.port or port), timeout=3).close()
    except OSError:
        return False
    return True


def settings_for(database_url: str, **given: object) -> Settings:
    """Settings of a test: nothing from the environment's `.env`."""
    return Settings(_env_file=None, database_url=database_url, zone="UTC", **given)  # type: ignore[arg-type, call-arg]


@pytest.fixture
async def api(database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """The whole application on the real database, called without a socket.

    Every answer it gives is held against the OpenAPI document.
    """
    async with running(settings_for(database_url), database_url) as app:
        transport = httpx.ASGITransport(app=app)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            document = Document((await client.get("/openapi.json")).json())

            async def check(response: httpx.Response) -> None:
                if response.status_code == 204:
                    return  # to OPTIONS, which no document has
                if response.headers["content-type"] != "application/x-ndjson":  # the test's to read
                    await response.aread()
                    document.check(response)

            client.event_hooks = {"response": [check]}
            yield client
