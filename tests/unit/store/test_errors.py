"""Errors of the database: which of them prove that nothing was recorded, and what of them is logged."""

from __future__ import annotations

import logging
import traceback
from typing import Any

import asyncpg
import psycopg
import pytest
from asyncpg.exceptions import _base

from saldo.observability import logs
from saldo.observability.logs import redact_rows
from saldo.store.connections.url import get_first_line
from saldo.store.errors import (
    ConnectionLostError,
    OutcomeUncertainError,
    RejectedError,
    StatementTimeoutError,
    StoreError,
    TemporarilyUnavailableError,
    UuidRaceError,
    translate_error,
)
from tests.logging_state import restore_logging

SECRET = "Secret 73912"

OF_SQLSTATE: dict[type[StoreError], list[str]] = {
    UuidRaceError: ["23505", "40P01", "40001"],
    StatementTimeoutError: ["57014"],
    ConnectionLostError: [
        *("08000", "08001", "08003", "08004", "08006", "08007", "08P01"),
        *("57P01", "57P02", "57P03", "57P04", "57P05"),
        *("25006", "25P03", "25P04", "26000", "40003"),
    ],
    TemporarilyUnavailableError: [
        *("25000", "25001", "25P01", "25P02", "28000", "28P01", "3D000"),
        *("53000", "53100", "53200", "53300", "53400", "55000", "55006", "55P02", "55P03"),
        *("57000", "58000", "58030", "58P01", "58P02", "72000", "F0000", "F0001"),
    ],
    RejectedError: [
        *("0A000", "20000", "21000", "22000", "22001", "22003", "22007", "22008", "22012", "22P02"),
        *("23000", "23001", "23502", "23503", "23514", "23P01", "2F000", "34000", "38000", "39000"),
        *("40000", "40002", "42501", "42601", "42703", "42883", "42P01", "42P18", "44000"),
        *("54000", "54001", "54011", "54023", "HV000", "P0000", "P0001", "P0002", "P0004"),
        *("XX000", "XX001", "XX002", "99999", ""),
    ],
}


def make_error(sqlstate: str, message: str = "message", **more: str) -> asyncpg.PostgresError:
    fields = {"C": sqlstate, "M": message, **more}
    error = asyncpg.PostgresError.new(fields)
    assert isinstance(error, asyncpg.PostgresError)
    return error


@pytest.mark.parametrize(
    ("sqlstate", "kind"),
    [(sqlstate, kind) for kind, states in OF_SQLSTATE.items() for sqlstate in states],
)
def test_error_class_of_each_sqlstate(sqlstate: str, kind: type[StoreError]) -> None:
    assert type(translate_error(make_error(sqlstate))) is kind


def test_every_class_of_sqlstate_that_the_driver_knows_is_in_the_table() -> None:
    known = {
        str(error.sqlstate)[:2]  # type: ignore[attr-defined]
        for error in vars(asyncpg.exceptions).values()
        if isinstance(error, type)
        and issubclass(error, asyncpg.PostgresError)
        and getattr(error, "sqlstate", None)
    }
    listed = {state[:2] for states in OF_SQLSTATE.values() for state in states}
    # These are classes of conditions that none of our statements can cause; all of them are rejections.
    others = known - listed
    for state in others:
        assert type(translate_error(make_error(f"{state}000"))) is RejectedError, state
    assert {"22", "23", "40", "53", "55", "57", "58", "XX"} <= known & listed


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        # These are raised before anything is sent, although one is a subclass of the driver's InterfaceError.
        (asyncpg.DataError("invalid input for query argument $1"), RejectedError),
        (_base.DataError("invalid input for query argument $1"), RejectedError),
        (asyncpg.ClientConfigurationError("no such host"), ConnectionLostError),
        (asyncpg.InterfaceError("connection is closed"), ConnectionLostError),
        (asyncpg.InternalClientError("got result for unknown protocol state"), ConnectionLostError),
        (ConnectionResetError("reset"), ConnectionLostError),
        (TimeoutError(), ConnectionLostError),
        (EOFError(), ConnectionLostError),
        # These may be raised while reading the answer, so something may have been recorded.
        (OverflowError("date value out of range"), OutcomeUncertainError),
        (KeyError("outcome"), OutcomeUncertainError),
    ],
)
def test_error_class_of_each_client_side_error(error: Exception, kind: type[StoreError]) -> None:
    assert type(translate_error(error)) is kind


def test_error_trees_of_unrecorded_and_unknown_outcomes_are_disjoint() -> None:
    unsure = {ConnectionLostError, OutcomeUncertainError}
    for sure in (TemporarilyUnavailableError, StatementTimeoutError, UuidRaceError, RejectedError):
        assert not unsure & {*sure.__mro__}
    for kind in unsure:
        assert kind.__mro__[1] is StoreError


ROW = f"Failing row contains (2, {SECRET}, 12.34)."


@pytest.mark.parametrize("sqlstate", [state for states in OF_SQLSTATE.values() for state in states])
def test_no_error_of_the_database_carries_a_row(sqlstate: str) -> None:
    message = "message"
    if sqlstate[:2] in {"22", "P0"}:  # these quote values in the first line
        message = f'invalid input syntax for type integer: "{SECRET}"'
    driver = make_error(
        sqlstate, message, D=ROW, H=f"Hint {SECRET}", W=f"Where {SECRET}", q=f"SELECT {SECRET}"
    )
    try:
        try:
            raise driver
        except asyncpg.PostgresError as error:
            raise translate_error(error) from error
    except StoreError as error:
        assert SECRET not in str(error)
        assert SECRET not in "".join(traceback.format_exception(error))
        assert SECRET not in repr(error.__cause__.__dict__)


@pytest.mark.parametrize("sqlstate", ["23505", "53100", "45000", "25006"])
def test_a_message_that_a_trigger_raises_is_not_carried(sqlstate: str) -> None:
    """Raise an error like that of an operator's trigger, which can quote the row under any SQLSTATE."""
    raised = make_error(sqlstate, f"{SECRET} is not allowed", R="exec_stmt_raise")
    assert SECRET not in str(translate_error(raised))
    own = make_error(sqlstate, "saldo.post_3 needs the primary", R="exec_stmt_raise")
    assert "needs the primary" in str(translate_error(own))


@pytest.mark.parametrize("data_error", [asyncpg.DataError, _base.DataError])
def test_an_argument_that_cannot_be_encoded_is_not_quoted(data_error: type[Exception]) -> None:
    error = data_error(f"invalid input for query argument $1: {SECRET}")
    error.__cause__ = TypeError(f"'str' object {SECRET!r} is no integer")
    found = translate_error(error)
    found.__cause__ = error
    assert type(found) is RejectedError
    assert SECRET not in "".join(traceback.format_exception(found))


def test_untranslated_database_errors_are_cut_from_the_log() -> None:
    """Check the last safeguard: tracebacks of the drivers' own errors are cut, however they reach a logger."""

    def redact(event: dict[str, Any]) -> str:
        return str(redact_rows(None, "error", event))

    for text in (
        f"23514: new row violates the check constraint\nDETAIL:  {ROW}",
        f"asyncpg.exceptions.CheckViolationError: new row …\nDETAIL:  {ROW}\nHINT:  {SECRET}",
        f"psycopg.errors.CheckViolation: new row …\nDETAIL:  {ROW}\nCONTEXT:  SQL {SECRET}",
        repr(f"asyncpg: new row …\nDETAIL:  {ROW}"),
        f"(psycopg.errors.NotNullViolation) null value\n[SQL: INSERT {SECRET}]\n[parameters: ({SECRET})]",
    ):
        for name in ("event", "exception", "other"):
            assert SECRET not in redact({name: text + "\nthe end"})
            assert "the end" in redact({name: text + "\nthe end"})


def test_the_first_line_of_an_operators_error_has_no_row() -> None:
    error = psycopg.errors.CheckViolation(f"new row violates …\nDETAIL:  {ROW}")
    assert SECRET not in get_first_line(error)


LIBRARIES = [
    "urllib3.connectionpool",  # a line for each export of spans
    "rstream.client",  # frames: events, the broker's password
    "aiormq.connection",
    "aio_pika.exchange",
    "httpcore.http11",
    "asyncio",
]


def test_at_debug_level_no_library_writes_what_it_sends() -> None:
    logs.configure_logging("debug", "json")
    assert logging.getLogger("saldo.store").isEnabledFor(logging.DEBUG)
    for name in LIBRARIES:
        assert not logging.getLogger(name).isEnabledFor(logging.DEBUG)
        assert logging.getLogger(name).isEnabledFor(logging.INFO)
    logs.configure_logging("warning", "json")
    for name in [*LIBRARIES, "saldo.store"]:
        assert not logging.getLogger(name).isEnabledFor(logging.INFO)


def test_loggers_are_restored_after_a_command() -> None:
    root, ours = logging.getLogger(), logging.getLogger("saldo")
    levels = root.level, ours.level
    with restore_logging():
        logs.configure_logging("debug", "json")
        (added,) = [each for each in root.handlers if type(each) is logging.StreamHandler]
        assert ours.level == logging.DEBUG
    assert added not in root.handlers
    assert (root.level, ours.level) == levels
