"""Where the shards of a distributed ledger are."""

from __future__ import annotations

from typing import Any, NamedTuple

from saldo.ledger.model import SHARDS
from saldo.store.connection import CONNECT_SECONDS_MAX, Connection, connect, fetch
from saldo.store.errors import ConnectionLostError, RejectedError, translated
from saldo.store.statements import statement


class Node(NamedTuple):
    """A server of a cluster.

    Attributes:
        host, port: as the other nodes reach it.
        number: its own among the nodes.
        ledger: what tells the cluster's ledger from others.
    """

    host: str
    port: int
    number: int
    ledger: str


async def places(pool: Any) -> list[Node]:
    """The node that has each shard, in the order of the shards.

    Raises:
        StoreError: the database can't be asked.
    """
    nodes = [Node(*row) for row in await fetch(pool, "citus_places")]
    if len(nodes) != SHARDS:
        raise RejectedError(f"{len(nodes)} places of {SHARDS} shards")
    return nodes


async def connect_to(
    node: Node, url: str, *, application_name: str, statement_timeout_seconds: float
) -> Connection:
    """A connection for posting to a node, by the rest of the connection string.

    Raises:
        ConnectionLostError: it could not be made; or who answers there is somebody else: what is `localhost` to the
            nodes may be another server here.
    """
    connection = await connect(
        url,
        application_name=application_name,
        statement_timeout_seconds=statement_timeout_seconds,
        node=(node.host, node.port),
    )
    try:
        row = await connection.fetchrow(statement("citus_node"), timeout=CONNECT_SECONDS_MAX)
        if tuple(row) != (node.number, node.ledger):
            raise ConnectionLostError(f"{node.host}:{node.port} is not the node that it should be")  # noqa: TRY301
    except BaseException as error:
        connection.terminate()
        if isinstance(error, Exception):
            raise ConnectionLostError(str(translated(error))) from error
        raise
    return connection
