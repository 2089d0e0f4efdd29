"""A streaming standby of an embedded server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from saldo.store.embedded import EmbeddedServer
from saldo.store.embedded.account import Account
from saldo.store.embedded.programs import Programs


@contextmanager
def standby_of(primary: EmbeddedServer, data_dir: Path) -> Iterator[EmbeddedServer]:
    """Copied, started, and stopped at the end; it follows by itself."""
    cluster = data_dir / "postgresql-18"
    cluster.mkdir(parents=True, mode=0o700)
    account = Account.of_server()
    account.give(cluster)
    Programs(account, cluster, primary.socket_dir).run(
        "pg_basebackup",
        f"--dbname={primary.superuser_url}",
        f"--pgdata={cluster}",
        *("--checkpoint=fast", "--write-recovery-conf"),
    )
    server = EmbeddedServer(data_dir)
    server.start()
    try:
        yield server
    finally:
        server.stop()
