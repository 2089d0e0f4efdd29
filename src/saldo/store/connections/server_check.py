"""A check of the server at an address, which rejects standbys and primaries that have been replaced.

An address that always leads to the current primary (a proxy, a DNS name, a virtual IP address) leads to another server
after a failover, and open connections remain with the old one. Two rules follow:

- A new connection to a standby is rejected. Open connections need no check, because a server becomes a standby only
  after a restart, which closes its connections.
- When a process has connected to a server on a newer timeline, it closes its connections to the older server, which may
  not have noticed yet that it was replaced. A read that follows an acknowledged transaction of the same process
  therefore never misses that transaction.

Processes do not share this knowledge. Another process detects a failover when it opens its next connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from contextlib import suppress
from typing import Any, Final
from weakref import WeakKeyDictionary, WeakSet

from saldo.store.errors import ConnectionLostError


class ServerState:
    """The known state of the server at one address, and the open connections to that server."""

    def __init__(self) -> None:
        self.is_failing = False
        """True if the last attempt to connect failed."""
        self._system = ""
        self._timeline = 0
        self._connections: WeakSet[Any] = WeakSet()

    def admit_connection(self, connection: Any, system: str, timeline: int | None) -> None:
        """Check the server of a new connection.

        Args:
            system: The system identifier of the database cluster.
            timeline: The timeline that the server writes to; None if it is a standby.

        Raises:
            ConnectionLostError: The server must not be used.
        """
        if timeline is None:
            raise ConnectionLostError("the server is a standby, not the primary")
        if system == self._system and timeline < self._timeline:
            raise ConnectionLostError(
                f"the server is an old primary: it writes to timeline {timeline}, and a server on timeline "
                f"{self._timeline} has been promoted since"
            )
        if (system, timeline) != (self._system, self._timeline):
            self._system, self._timeline = system, timeline
            self._drop_other_connections()
        self._connections.add(connection)

    def _drop_other_connections(self) -> None:
        for connection in tuple(self._connections):
            # The connection is aborted, because an unreachable server would not answer a termination message. Callers
            # that wait for a statement get an error and retry.
            with suppress(Exception):
                connection.terminate()
        self._connections.clear()


_states_by_loop: Final[
    WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Hashable, ServerState]]
] = WeakKeyDictionary()


def get_server_state(url: str, node: tuple[str, int] | None = None) -> ServerState:
    """Return the state of an address. Each event loop has its own state, because connections belong to one event loop.

    Args:
        node: The host and port that replace those of the connection string.
    """
    states = _states_by_loop.setdefault(asyncio.get_running_loop(), {})
    return states.setdefault((url, node), ServerState())
