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
        ask: Callable[[], Awaitable[Sequence[Node]]],
        connect: Connect,
    ) -> None:
        """
        Args:
            ask: Returns the node of each shard; raises `StoreError`.
            connect: Connects to a node, as a lane does.
        """
        self._engine = engine
        self._ask = ask
        self._connect = connect
        self._reached: set[Node] = set()
        self._missed: set[Node] = set()
        self._placed: list[Node | None] = []
        self._failing = False

    async def run(self) -> None:
        """Query the placement repeatedly until cancelled."""
        while True:
            try:
                await self.refresh()
                self._failing = False
            except StoreError as error:
                if not self._failing:
                    _log.warning("can't read the placement of the shards: %s", error)
                self._failing = True
            except Exception:
                _log.exception("reading the placement of the shards failed unexpectedly")
            await asyncio.sleep(PLACE_SECONDS)

    async def refresh(self) -> None:
        """Query the placement once.

        Raises:
            StoreError: The database can't be queried.
        """
        nodes = await self._ask()
        await asyncio.gather(*(self._probe(node) for node in set(nodes) - self._reached))
        placed = [node if node in self._reached else None for node in nodes]
        if placed != self._placed:
            self._placed = placed
            self._engine.set_nodes(placed)
            for node in sorted(self._reached.intersection(nodes)):
                _log.info(
                    "posting to %d shards directly at %s:%d",
                    placed.count(node),
                    node.host,
                    node.port,
                )

    async def _probe(self, node: Node) -> None:
        try:
            poster = await self._connect(0, node)
        except StoreError as error:
            if node not in self._missed:
                self._missed.add(node)
                _log.warning(
                    "can't connect to node %s:%d, so its shards are reached through the coordinator: %s",
                    *(node.host, node.port, error),
                )
        else:
            await poster.close()
            self._reached.add(node)
            self._missed.discard(node)
