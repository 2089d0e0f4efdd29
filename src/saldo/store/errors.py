"""Errors of the database, as far as callers must distinguish them.

StoreError
├── ConfigurationError           the operator must change something; the message is one line
│   ├── DatabaseUnavailableError the database can't be used now, but may be later
│   └── DamagedDataError         a check has found damaged data
├── ConnectionLostError          it is unknown whether the statement took effect; it may still be running
│   └── NotConnectedError        no connection could be opened, so the statement was not sent
├── OutcomeUncertainError        the statement has ended; it is unknown whether it took effect
├── LogIdentityMismatchError     a failover or a restore happened; positions read before are invalid
├── TemporarilyUnavailableError  nothing was recorded; the server is temporarily unavailable
│   └── StatementTimeoutError    nothing was recorded; the server cancelled the statement at its timeout
├── UuidRaceError                nothing was recorded; the same batch will succeed in a retry
└── RejectedError                nothing was recorded; the same batch will fail in a retry

No message of these errors contains values of a row: PostgreSQL's DETAIL, HINT and CONTEXT are omitted, and so is the
primary message of an error that quotes a value. Messages are logged, and names and amounts must not be.
"""

from __future__ import annotations

from typing import Final

import asyncpg


class StoreError(Exception):
    """The base class of the store's errors."""


class ConfigurationError(StoreError):
    """Raised when the database can't be used as it is. The message is one line for the operator."""


class DatabaseUnavailableError(ConfigurationError):
    """Raised when the database is not running, or is locked by a migration. The same command may succeed later."""


class DamagedDataError(ConfigurationError):
    """Raised when a check has found that the ledger or a backup is damaged."""


class ConnectionLostError(StoreError):
    """Raised when connecting failed or the connection broke. A statement that was sent may have been recorded."""


class NotConnectedError(ConnectionLostError):
    """Raised when no connection for a single statement could be opened. The statement was not sent."""


class LogIdentityMismatchError(StoreError):
    """Raised after a failover or a restore: the log is not the one from which positions were read."""


class OutcomeUncertainError(StoreError):
    """Raised when the call has ended and its statement no longer runs, but all or part of it may be recorded."""


class TemporarilyUnavailableError(StoreError):
    """Raised when the server is temporarily unavailable: starting, stopping, or out of space or memory."""


class StatementTimeoutError(TemporarilyUnavailableError):
    """Raised when the server cancelled the statement, at its timeout or on request. A smaller batch may succeed."""


class UuidRaceError(StoreError):
    """Raised when another batch recorded the same uuid at the same time, or after a deadlock. A retry sees the entries
    of the other batch."""


class RejectedError(StoreError):
    """Raised when the database rejects the statement, and a retry would be rejected, too."""


# Errors by SQLSTATE. An error that is not listed is attributed to a request (RejectedError), and the lane bisects the
# batch. This includes class XX (internal errors, corrupt pages): such an error affects only some rows, so that the
# requests of other users succeed.
_RETRYABLE_CONFLICTS: Final = {"23505", "40P01", "40001"}
_TIMED_OUT: Final = "57014"
# 26000: a pooler has lost the prepared statements; a new connection detects again whether the pooler supports them.
# 40003: the server does not know whether the statement took effect. 25P03, 25P04, 57P01 to 57P05: the server ends the
# session.
_SESSION_LOST: Final = {
    *("57P01", "57P02", "57P03", "57P04", "57P05"),
    *("25006", "25P03", "25P04", "26000", "40003"),
}
# Classes of temporary errors: 25 transaction state, 28 and 3D logins (a pool could not connect), 53 resources, 55 and
# 57 temporary conditions, 58 the system, 72 and F0 the server's files and settings.
_BUSY_CLASSES: Final = {"25", "28", "3D", "53", "55", "57", "58", "72", "F0"}
# Classes whose primary message quotes a value: data exceptions, and RAISE without an SQLSTATE of its own.
_QUOTING_CLASSES: Final = {"22", "P0"}
# The server's function that runs RAISE of PL/pgSQL. An operator's trigger may quote a row under any SQLSTATE.
_RAISE_FUNCTION: Final = "exec_stmt_raise"
_OWN_MESSAGE_PREFIX: Final = "saldo."
"""The prefix of the messages that Saldo's own functions raise. These messages quote no values."""

# InternalClientError: the driver can't send in its current state, for example after the last message of a server that
# shuts down.
_BROKEN: Final = (
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    EOFError,
    TimeoutError,
)


def translate_error(error: BaseException) -> StoreError:
    """Return the store's error for an error of the driver or of the operating system.

    The function also removes everything that may quote a row from the driver's error, because that error remains the
    cause and is printed in tracebacks.
    """
    if isinstance(error, StoreError):
        return error
    _strip_quoted_values(error)
    message = str(error) or type(error).__name__
    if isinstance(error, asyncpg.PostgresError):
        return _build_error_for_sqlstate(error.sqlstate or "", message)
    if _is_unencodable(error):
        return RejectedError(message)
    if isinstance(error, _BROKEN):
        return ConnectionLostError(message)
    # The error was raised in this process. The statement may have been recorded, although its response could not be
    # read.
    return OutcomeUncertainError(message)


def _build_error_for_sqlstate(state: str, message: str) -> StoreError:
    if state in _RETRYABLE_CONFLICTS:
        return UuidRaceError(message)
    if state in _SESSION_LOST or state.startswith("08"):
        return ConnectionLostError(message)
    if state == _TIMED_OUT:
        return StatementTimeoutError(message)
    if state[:2] in _BUSY_CLASSES:
        return TemporarilyUnavailableError(message)
    return RejectedError(f"{state}: {message}")


def _strip_quoted_values(error: BaseException) -> None:
    """Remove everything that may quote a row from an error of the driver and from its causes, in place."""
    current: BaseException | None = error
    while current is not None:
        if isinstance(current, asyncpg.PostgresError):
            current.detail = current.hint = current.context = current.internal_query = None
            if _may_quote_value(current):
                current.message = type(current).__name__
                _replace_message(current, current.message)
        elif _is_unencodable(current):
            _replace_message(current, "an argument can't be encoded")
        current = current.__cause__ or current.__context__


def _may_quote_value(error: asyncpg.PostgresError) -> bool:
    if (error.sqlstate or "")[:2] in _QUOTING_CLASSES:
        return True
    was_raised = error.server_source_function == _RAISE_FUNCTION
    return was_raised and not str(error.message).startswith(_OWN_MESSAGE_PREFIX)


def _replace_message(error: BaseException, message: str) -> None:
    error.args = (message,)
    # The driver raises the same class for an argument that it can't encode, with a cause that quotes it.
    error.__cause__ = error.__context__ = None


def _is_unencodable(error: BaseException) -> bool:
    """Return whether the driver raised the error before sending, because it could not encode an argument.

    The driver has two classes named DataError. Only the one that is a subclass of InterfaceError means this; the other
    one comes from the server and has an SQLSTATE.
    """
    return (
        isinstance(error, asyncpg.InterfaceError)
        and isinstance(error, ValueError)
        and not isinstance(error, asyncpg.ClientConfigurationError)
    )


def is_unreachable(error: StoreError) -> bool:
    """Return whether the database could not be reached, so that the same command may succeed later."""
    import psycopg  # noqa: PLC0415 - half of the commands never need it

    cause = error.__cause__
    original = getattr(cause, "orig", cause)  # an error of SQLAlchemy
    if isinstance(original, psycopg.OperationalError):
        # Without an SQLSTATE, no server has answered. Class 08 are connection errors; 57P means that the server is
        # starting or stopping.
        return original.sqlstate is None or original.sqlstate.startswith(("08", "57P"))
    unreachable_errors = (
        ConnectionLostError,
        DatabaseUnavailableError,
        TemporarilyUnavailableError,
    )
    return isinstance(error, unreachable_errors) or isinstance(
        original, (*unreachable_errors, OSError)
    )
