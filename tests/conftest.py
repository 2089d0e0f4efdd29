"""Fixtures that tests share: a database of their own, and the service on it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import hypothesis
import psycopg
import pytest

from harness import prometheus
from harness.events import rabbitmq
from harness.openapi_document import Document
from harness.postgresql import data_directories, databases, pgbouncer
from harness.postgresql.databases import Database
from harness.prerequisites import HIDDEN, is_reachable, skip_or_fail
from harness.program.settings import create_settings
from saldo.bootstrap.service import run_service
from saldo.store.embedded import EmbeddedServer
from saldo.store.schema.migrate import prepare_schema
from tests.certificates import shorten_authorities
from tests.logging_state import restore_logging
from tests.order import place_of

shorten_authorities()

# Hypothesis fails an example that takes longer than 200 ms, unless this is turned off. On a busy machine any can.
hypothesis.settings.register_profile("saldo", deadline=None)
hypothesis.settings.load_profile("saldo")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that take longest first; the order within a file stays."""
    items.sort(key=lambda item: place_of(item.nodeid))


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """Restore the loggers that a command in this process changed, because the next test would write to its streams."""
    with restore_logging():
        yield


@pytest.fixture(scope="session")
def embedded_server() -> Iterator[EmbeddedServer]:
    """A PostgreSQL of the tests' own, as users get it."""
    directory = Path(tempfile.mkdtemp(prefix="saldo-test-"))
    server = EmbeddedServer(directory)
    server.start()
    try:
        prepare_schema(
            server.owner_role_url, server.service_role_url, currency_decimals=2, max_lateness=None
        )
        yield server
    finally:
        server.stop()
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[EmbeddedServer]:
    """A PostgreSQL that a test may stop, with an empty database."""
    data_directories.create(tmp_path / "data")
    server = EmbeddedServer(tmp_path / "data")
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def empty_ledger(embedded_server: EmbeddedServer) -> Iterator[Database]:
    """An empty ledger to copy, because the migrations take longer than a copy."""
    with databases.create_embedded_database(embedded_server) as database:
        prepare_schema(
            database.owner_role_url,
            database.service_role_url,
            currency_decimals=2,
            max_lateness=None,
        )
        yield database


@pytest.fixture
def own_ledger(embedded_server: EmbeddedServer, empty_ledger: Database) -> Iterator[Database]:
    """A ledger of the test's own, in which totals and sinks start at the beginning of the log."""
    with databases.create_embedded_database(embedded_server, empty_ledger.name) as database:
        yield database


@pytest.fixture(scope="session")
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The connection string of the service's role.

    The database is on the embedded server. If SALDO_TEST_SERVER_URL names a superuser of another server, it is a
    database of its own on that server; it is distributed if the database in that URL coordinates a Citus cluster.
    """
    superuser_url = os.environ.get("SALDO_TEST_SERVER_URL")
    if not superuser_url:
        embedded: EmbeddedServer = request.getfixturevalue("embedded_server")
        yield embedded.service_role_url
        return
    with databases.create_ledger(superuser_url) as database:
        yield database.service_role_url


@pytest.fixture
def one_machine() -> None:
    """Skip tests of what is not true of a distributed ledger, where a uuid is unique per shard only."""
    superuser_url = os.environ.get("SALDO_TEST_SERVER_URL")
    if superuser_url and databases.has_citus(superuser_url):
        pytest.skip("in a distributed ledger a uuid is another one's in another shard")


@pytest.fixture(scope="session")
def machine_postgres() -> str:
    """A PostgreSQL beside the embedded one: SALDO_TEST_DATABASE_URL, or the usual local address."""
    url = os.environ.get("SALDO_TEST_DATABASE_URL", "postgresql://postgres@127.0.0.1:5432/postgres")
    if "postgres" in HIDDEN:
        skip_or_fail("postgres", "PostgreSQL is hidden (SALDO_TEST_HIDDEN)")
    try:
        psycopg.connect(url, connect_timeout=3).close()
    except psycopg.Error as error:
        skip_or_fail(
            "postgres",
            f"no PostgreSQL at {url.rpartition('@')[2]} (SALDO_TEST_DATABASE_URL): {error}",
        )
    return url


@pytest.fixture(scope="session")
def pgbouncer_program() -> str:
    """The path of pgbouncer, in PATH or in Debian's directory."""
    program = pgbouncer.find()
    if program is None:
        skip_or_fail("pgbouncer", "no pgbouncer in PATH or /usr/sbin (Debian: package pgbouncer)")
    return program


@pytest.fixture(scope="session")
def rabbitmq_url() -> str:
    """A RabbitMQ: SALDO_TEST_RABBITMQ_URL, or the usual local address."""
    url = os.environ.get("SALDO_TEST_RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672/")
    if not is_reachable(url, 5672, "rabbitmq"):
        skip_or_fail(
            "rabbitmq", f"no RabbitMQ at {url.rpartition('@')[2]} (SALDO_TEST_RABBITMQ_URL)"
        )
    return url


@pytest.fixture(scope="session")
def rabbitmq_stream_url() -> str:
    """A RabbitMQ with its stream plugin: SALDO_TEST_RABBITMQ_STREAM_URL, or the usual local address."""
    name = "SALDO_TEST_RABBITMQ_STREAM_URL"
    url = os.environ.get(name, "rabbitmq-stream://guest:guest@127.0.0.1:5552/")
    if not is_reachable(url, 5552, "rabbitmq-stream"):
        skip_or_fail("rabbitmq-stream", f"no RabbitMQ streams at {url.rpartition('@')[2]} ({name})")
    return url


@pytest.fixture(scope="session")
def rabbitmq_program() -> str:
    """RabbitMQ's own program, for a broker that a test may kill."""
    program = rabbitmq.find()
    if program is None:
        skip_or_fail("rabbitmq-server", "no rabbitmq-server (Debian: package rabbitmq-server)")
    return program


@pytest.fixture(scope="session")
def prometheus_program() -> str:
    """Prometheus' own program; each test starts one."""
    return _find_or_skip("prometheus")


@pytest.fixture(scope="session")
def promtool() -> str:
    """Prometheus' checker of rules."""
    return _find_or_skip("promtool")


def _find_or_skip(program: str) -> str:
    found = prometheus.find(program)
    if found is None:
        skip_or_fail("prometheus", f"no {program} in PATH or /usr/bin (Debian: package prometheus)")
    return found


@pytest.fixture
async def api(database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """The whole application on the real database, called without a socket.

    Every answer is checked against the OpenAPI document.
    """
    async with run_service(create_settings(database_url), database_url) as app:
        transport = httpx.ASGITransport(app=app)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            document = Document((await client.get("/openapi.json")).json())

            async def check(response: httpx.Response) -> None:
                if response.status_code == 204:
                    return  # an answer to OPTIONS, which the document doesn't contain
                if response.headers["content-type"] != "application/x-ndjson":  # read by the test
                    await response.aread()
                    document.check(response)

            client.event_hooks = {"response": [check]}
            yield client
