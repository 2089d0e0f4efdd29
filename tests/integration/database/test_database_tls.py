"""Connection strings with `sslmode=verify-full` as in the how-to page: both drivers check the certificate."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
import trustme

from harness.ports import find_free_ports
from harness.postgresql import databases
from harness.prerequisites import skip_or_fail
from harness.program.settings import create_settings
from saldo.bootstrap.database import Database
from saldo.store.connections.connection import check_connection
from saldo.store.embedded.system_account import ServerAccount
from saldo.store.errors import ConfigurationError

START_SECONDS_MAX = 30
DEBIAN = Path("/usr/lib/postgresql")


def _programs() -> Path:
    """Return the directory of PostgreSQL's programs, because the embedded server is built without TLS."""
    found = [*sorted(DEBIAN.glob("*/bin"), reverse=True)]
    initdb = shutil.which("initdb")
    if initdb is not None:
        found.append(Path(initdb).resolve().parent)
    if not found:
        skip_or_fail(
            "postgresql", "no initdb in PATH or /usr/lib/postgresql (Debian: package postgresql)"
        )
    return found[0]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def server_url(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the superuser's connection string of a server that requires TLS; its certificate is for localhost."""
    programs, account = _programs(), ServerAccount.for_server()
    cluster = tmp_path_factory.mktemp("tls") / "cluster"
    cluster.mkdir(mode=0o700)
    account.chown(cluster)
    (port,) = find_free_ports(1)

    def command(program: str, *arguments: str) -> list[str]:
        return [
            *account.build_command_prefix([cluster, programs]),
            str(programs / program),
            *arguments,
        ]

    subprocess.run(
        command(
            "initdb", f"--pgdata={cluster}", "--username=postgres", "--auth=trust", "--no-sync"
        ),
        check=True,
        capture_output=True,
    )
    issued = authority.issue_cert("localhost")
    issued.private_key_pem.write_to_path(cluster / "server.key")
    issued.cert_chain_pems[0].write_to_path(cluster / "server.crt")
    for name in ("server.key", "server.crt"):
        (cluster / name).chmod(0o600)
        account.chown(cluster / name)
    (cluster / "pg_hba.conf").write_text("hostssl all all 127.0.0.1/32 trust\n")
    running = subprocess.Popen(
        command(
            "postgres",
            f"-D{cluster}",
            *("-c", "ssl=on", "-c", "listen_addresses=localhost", "-c", f"port={port}"),
            *("-c", "unix_socket_directories=", "-c", "fsync=off"),
        ),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"postgresql://postgres@localhost:{port}/postgres?sslmode=require"
    try:
        deadline = time.monotonic() + START_SECONDS_MAX
        while not _answers(url):
            assert running.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield url
    finally:
        running.send_signal(signal.SIGINT)  # the fast shutdown, which ends sessions
        running.wait(30)


def _answers(url: str) -> bool:
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:
        return False
    return True


def _require_verification(
    url: str, authority: trustme.CA, directory: Path, host: str = "localhost"
) -> str:
    path = directory / f"{uuid4()}.pem"
    authority.cert_pem.write_to_path(path)
    return url.replace("@localhost", f"@{host}").replace(
        "sslmode=require", f"sslmode=verify-full&sslrootcert={path}"
    )


def test_service_connects_to_the_database_with_verified_tls(
    server_url: str, authority: trustme.CA, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Migrate with one driver and post with the other."""
    with databases.create_database(server_url) as database:
        urls = [
            _require_verification(url, authority, tmp_path)
            for url in (database.service_role_url, database.owner_role_url)
        ]
        settings = create_settings(urls[0], database_owner_url=urls[1])
        with Database(settings) as service_role_url:
            asyncio.run(check_connection(service_role_url))
    assert "sslmode" not in caplog.text


def test_server_with_a_wrong_authority_or_name_is_rejected(
    server_url: str, authority: trustme.CA, tmp_path: Path
) -> None:
    """Connect with each driver; the environment must not name an authority that the driver would trust instead."""
    assert "PGSSLROOTCERT" not in os.environ
    for url in (
        _require_verification(server_url, trustme.CA(), tmp_path),
        _require_verification(server_url, authority, tmp_path, host="127.0.0.1"),
    ):
        with pytest.raises(psycopg.OperationalError, match="certificate"):
            psycopg.connect(url)
        with pytest.raises(ConfigurationError, match="certificate"):
            asyncio.run(check_connection(url))
