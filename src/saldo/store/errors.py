"""What can go wrong between us and PostgreSQL, as far as a caller must tell it apart.

StoreError
├── SetUpError            the operator must change something; one line
├── ConnectionLostError   whether the statement took effect is unknown
├── BusyError             nothing was recorded; the server can't now, later it can
├── ClashError            nothing was recorded; the same batch again will pass
└── RejectedError         nothing was recorded; the same batch again will fail again
"""

from __future__ import annotations

import asyncpg


class StoreError(Exception):
    """The base of all of them."""


class SetUpError(StoreError):
    """The database can't be used as it is. The message is one line for the operator."""


class ConnectionLostError(StoreError):
    """The connection could not be made, or broke: what was sent may or may not be recorded."""


class BusyError(StoreError):
    """The server refused for now (starting, stopping, out of space or memory, a time-out)."""


class ClashError(StoreError):
    """Another batch recorded the same uuid, or waited for us: send again and see it."""


class RejectedError(StoreError):
    """The statement itself is at fault."""


_CLASHES = {"23505", "40P01", "40001"}
# Classes of SQLSTATE: 08 connection, 25 read-only after a failover, 53 resources, 55 and 57 not
# now, 58 the system, XX internal: not the request's fault.
_BUSY_CLASSES = {"25", "53", "55", "57", "58"}
# 26000: a pooler has lost our prepared statements; on a new connection we see what it can do.
_GONE = {"57P01", "57P02", "57P03", "57P05", "25006", "26000"}

# InternalClientError: the driver itself is in no state to send, as after a server's farewell until the connection
# ends.
_BROKEN = (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, EOFError, TimeoutError)


def translated(error: BaseException) -> StoreError:
    """The store's error for one of the driver's or the operating system's."""
    if isinstance(error, StoreError):
        return error
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        if state in _CLASHES:
            return ClashError(str(error))
        if state in _GONE or state.startswith("08"):
            return ConnectionLostError(str(error))
        if state[:2] in _BUSY_CLASSES:
            return BusyError(str(error))
        return RejectedError(f"{state}: {error}")
    if isinstance(error, _BROKEN):
        return ConnectionLostError(str(error) or type(error).__name__)
    return RejectedError(str(error) or type(error).__name__)
