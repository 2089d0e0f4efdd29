"""The routing of batches on a distributed ledger: lanes connect directly to the node of each shard.

If a new node can't be reached from this machine, lanes send the batches of its shards to the configured database, which
forwards them to the node.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from saldo.engine.engine import Engine
from saldo.engine.lane import Connect
from saldo.store.citus.placement import Node
from saldo.store.errors import StoreError

PLACE_SECONDS: Final = 5.0
"""Interval between two queries of the placement. If a shard has moved, its previous node forwards the batches until the
next query."""

_log = logging.getLogger("saldo.engine")


class ShardPlacementWatcher:
    """A watcher of the placement of the shards, which tests connections to new nodes before lanes use them."""

    def __init__(
        self,
        engine: Engine,
        read_nodes: Callable[[], Awaitable[Sequence[Node]]],
        connect: Connect,
    ) -> None:
        """
        Args:
            read_nodes: Returns the node of each shard; raises `StoreError`.
            connect: Connects to a node, as a lane does.
        """
        self._engine = engine
        self._read_nodes = read_nodes
        self._connect = connect
        self._reachable_nodes: set[Node] = set()
        self._unreachable_nodes: set[Node] = set()
        self._node_of_each_shard: list[Node | None] = []
        self._is_failing = False

    async def run(self) -> None:
        """Query the placement repeatedly until cancelled."""
        while True:
            try:
                await self.refresh()
                self._is_failing = False
            except StoreError as error:
                if not self._is_failing:
                    _log.warning("can't read the placement of the shards: %s", error)
                self._is_failing = True
            except Exception:
                _log.exception("reading the placement of the shards failed unexpectedly")
            await asyncio.sleep(PLACE_SECONDS)

    async def refresh(self) -> None:
        """Query the placement once.

        Raises:
            StoreError: The database can't be queried.
        """
        nodes = await self._read_nodes()
        await asyncio.gather(
            *(self._probe_node(node) for node in set(nodes) - self._reachable_nodes)
        )
        node_of_each_shard = [node if node in self._reachable_nodes else None for node in nodes]
        if node_of_each_shard != self._node_of_each_shard:
            self._node_of_each_shard = node_of_each_shard
            self._engine.assign_groups_to_nodes(node_of_each_shard)
            for node in sorted(self._reachable_nodes.intersection(nodes)):
                _log.info(
                    "posting to %d shards directly at %s:%d",
                    node_of_each_shard.count(node),
                    node.host,
                    node.port,
                )

    async def _probe_node(self, node: Node) -> None:
        try:
            poster = await self._connect(0, node)
        except StoreError as error:
            if node not in self._unreachable_nodes:
                self._unreachable_nodes.add(node)
                _log.warning(
                    "can't connect to node %s:%d, so its shards are reached through the coordinator: %s",
                    *(node.host, node.port, error),
                )
        else:
            await poster.close()
            self._reachable_nodes.add(node)
            self._unreachable_nodes.discard(node)
