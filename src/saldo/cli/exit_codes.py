"""Exit codes, and the mapping of errors to them. Scripts depend on these codes."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from saldo.client.errors import (
    ForbiddenError,
    InvalidError,
    OutcomeUnknownError,
    SaldoError,
    UnauthenticatedError,
    UnavailableError,
)
from saldo.store.errors import StoreError, is_unreachable


class ExitCode(IntEnum):
    """The exit code of a command."""

    DONE = 0
    REFUSED = 1
    USAGE = 2
    UNAVAILABLE = 3
    ACCESS_DENIED = 4
    UNKNOWN = 5
    INTERRUPTED = 130


MEANINGS: Final[dict[ExitCode, str]] = {
    ExitCode.DONE: "done",
    ExitCode.REFUSED: "refused, not found, or a fault was found (an import: also rejected or unreadable rows)",
    ExitCode.USAGE: "invalid options, arguments or files (nothing was done)",
    ExitCode.UNAVAILABLE: "service or database unavailable, or no outcome in time (nothing was done)",
    ExitCode.ACCESS_DENIED: "the key is missing or invalid, or lacks the necessary scope",
    ExitCode.UNKNOWN: "outcome unknown (repeat a deposit or withdrawal with --uuid and the printed uuid, or repeat "
    "the same import)",
    ExitCode.INTERRUPTED: "interrupted by Ctrl-C or SIGTERM (completed work remains)",
}


class CommandError(Exception):
    """An error that ends the command with one line of text and an exit code."""

    def __init__(self, message: str, code: ExitCode = ExitCode.REFUSED) -> None:
        super().__init__(message)
        self.code = code


def command_error_for_store(error: StoreError) -> CommandError:
    """Return the command's error for an error of the database, which the command uses directly."""
    return CommandError(
        str(error), ExitCode.UNAVAILABLE if is_unreachable(error) else ExitCode.REFUSED
    )


def command_error_for_service(error: SaldoError) -> CommandError:
    """Return the command's error for an error of the service."""
    match error:
        case UnauthenticatedError() | ForbiddenError():
            hint = "" if error.code == "forbidden" else " (--key-file, --key or SALDO_KEY)"
            return CommandError(f"{error}{hint}", ExitCode.ACCESS_DENIED)
        case OutcomeUnknownError() if error.uuid is not None:
            repeat_hint = (
                f"; repeat the same command with --uuid {error.uuid}, which posts it once only"
            )
            return CommandError(f"{error}{repeat_hint}", ExitCode.UNKNOWN)
        case OutcomeUnknownError():
            return CommandError(str(error), ExitCode.UNKNOWN)
        case InvalidError():
            return CommandError(str(error), ExitCode.USAGE)
        case UnavailableError():
            return CommandError(str(error), ExitCode.UNAVAILABLE)
        case _:
            return CommandError(str(error))
