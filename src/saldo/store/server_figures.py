"""Figures of the database server for the metrics: sessions, the archiver of its WAL, and the lag of the replica."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from saldo.store.connections.connection import fetch


@dataclass(frozen=True, slots=True)
class ServerFigures:
    """The sessions of the database and the archiver of the server.

    Attributes:
        waiting_sessions: The number of sessions that wait for a lock.
        longest_transaction_seconds: The age of the oldest open transaction; 0 if there is none.
        archived_files, archive_failures: The archiver's counts; None if the server does not archive its WAL.
    """

    waiting_sessions: int
    longest_transaction_seconds: float
    archived_files: int | None
    archive_failures: int | None


async def read_server_figures(pool: Any) -> ServerFigures:
    """Return the figures of the server to which the pool connects.

    Raises:
        StoreError: The database can't be queried.
    """
    ((waiting, longest_seconds, archived, failures),) = await fetch(
        pool, "connections/server_activity"
    )
    return ServerFigures(waiting, longest_seconds, archived, failures)


async def read_replica_lag(pool: Any) -> float | None:
    """Return the lag of the replica in seconds; None if it has not replayed any transaction since its start.

    Raises:
        StoreError: The replica can't be queried.
    """
    ((seconds,),) = await fetch(pool, "replicas/lag")
    return None if seconds is None else float(seconds)
