"""The placement of a distributed ledger's shards on the nodes of the cluster."""

from __future__ import annotations

from typing import Any, NamedTuple

from saldo.ledger.model import SHARDS
from saldo.store.connections.connection import CONNECT_SECONDS_MAX, Connection, connect, fetch
from saldo.store.errors import ConnectionLostError, RejectedError, translate_error
from saldo.store.statements import load_statement


class Node(NamedTuple):
    """A server of a cluster.

    Attributes:
        host, port: The address by which the other nodes reach the server.
        number: The number of the node in the cluster (Citus's group id).
        ledger: A text that identifies the ledger of the cluster.
    """

    host: str
    port: int
    number: int
    ledger: str


async def read_shard_nodes(pool: Any) -> list[Node]:
    """Return the node that stores each shard, in the order of the shards.

    Raises:
        StoreError: The database can't be queried.
    """
    nodes = [Node(*row) for row in await fetch(pool, "citus/node_of_each_shard")]
    if len(nodes) != SHARDS:
        raise RejectedError(f"the placement has {len(nodes)} shards instead of {SHARDS}")
    return nodes


async def connect_to_node(
    node: Node, url: str, *, application_name: str, statement_timeout_seconds: float
) -> Connection:
    """Open a connection for posting to a node. Host and port are those of the node, and all other parameters those of
    the connection string.

    Raises:
        ConnectionLostError: The connection failed, or another server answered. The latter happens, for example, if the
            nodes know the server as `localhost`, which is another server on this machine.
    """
    connection = await connect(
        url,
        application_name=application_name,
        statement_timeout_seconds=statement_timeout_seconds,
        node=(node.host, node.port),
    )
    try:
        row = await connection.fetchrow(
            load_statement("citus/own_node"), timeout=CONNECT_SECONDS_MAX
        )
        if tuple(row) != (node.number, node.ledger):
            raise ConnectionLostError(  # noqa: TRY301
                f"the server at {node.host}:{node.port} is not the Citus worker that the coordinator lists there: "
                "register the workers under addresses that this machine reaches, or set SALDO_CONNECT_TO_WORKERS=false"
            )
    except BaseException as error:
        connection.terminate()
        if isinstance(error, Exception):
            raise ConnectionLostError(str(translate_error(error))) from error
        raise
    return connection
