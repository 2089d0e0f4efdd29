"""A streaming standby of an embedded server, and a standby that is configured but absent."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from saldo.store.embedded import EmbeddedServer
from saldo.store.embedded.binaries import Programs
from saldo.store.embedded.system_account import ServerAccount


@contextmanager
def run_standby(primary: EmbeddedServer, data_dir: Path) -> Iterator[EmbeddedServer]:
    """Copy the primary to `data_dir`, start the copy as a streaming standby, yield it, and stop it afterwards."""
    cluster = data_dir / "postgresql-18"
    cluster.mkdir(parents=True, mode=0o700)
    account = ServerAccount.for_server()
    account.chown(cluster)
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


@contextmanager
def await_absent_standby(server: EmbeddedServer) -> Iterator[None]:
    """Make commits wait for a synchronous standby that doesn't exist, while the block runs. The block begins once a
    commit waits."""
    over = threading.Event()

    def commit() -> None:
        with psycopg.connect(server.superuser_url, autocommit=True) as witness:
            while not over.is_set():
                witness.execute("SELECT pg_logical_emit_message(true, 'test', 'witness')")

    witness = threading.Thread(target=commit)
    with psycopg.connect(server.superuser_url, autocommit=True) as admin:
        try:
            admin.execute("ALTER SYSTEM SET synchronous_standby_names = 'away'")
            admin.execute("SELECT pg_reload_conf()")
            witness.start()
            waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
            while admin.execute(waits).fetchone() != (1,):
                assert witness.is_alive()
            yield
        finally:
            over.set()
            admin.execute("ALTER SYSTEM RESET synchronous_standby_names")
            admin.execute("SELECT pg_reload_conf()")
            witness.join()
