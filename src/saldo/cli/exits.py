"""Exit codes, and which of them an error of the service is: scripts decide by these."""

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


class Exit(IntEnum):
    """How a command ended."""

    DONE = 0
    REFUSED = 1
    USAGE = 2
    NOT_REACHED = 3
    NOT_LET_IN = 4
    INTERRUPTED = 130


MEANINGS: Final[dict[Exit, str]] = {
    Exit.DONE: "done",
    Exit.REFUSED: "refused, not found, or a fault was found; of an import, also: rows were put aside, or it "
    "ended at lines that can't be read",
    Exit.USAGE: "wrong options or arguments; nothing was done (`verify`: it could not be found out)",
    Exit.NOT_REACHED: "the service can't be reached, or could not decide in time: do it again, it has one effect",
    Exit.NOT_LET_IN: "the key is missing, not valid, or does not open this",
    Exit.INTERRUPTED: "interrupted by Ctrl-C or SIGTERM; what was done stays",
}


class CommandError(Exception):
    """What ends a command with one line and a code."""

    def __init__(self, message: str, code: Exit = Exit.REFUSED) -> None:
        super().__init__(message)
        self.code = code


def of_error(error: SaldoError) -> CommandError:
    """What the service's no means for a command."""
    match error:
        case UnauthenticatedError() | ForbiddenError():
            hint = "" if error.code == "forbidden" else " (--key-file, --key or SALDO_KEY)"
            return CommandError(f"{error}{hint}", Exit.NOT_LET_IN)
        case OutcomeUnknownError() if error.uuid is not None:
            again = f"; the same command with --uuid {error.uuid} decides it, and has one effect"
            return CommandError(f"{error}{again}", Exit.NOT_REACHED)
        case InvalidError():
            return CommandError(str(error), Exit.USAGE)
        case UnavailableError():
            return CommandError(str(error), Exit.NOT_REACHED)
        case _:
            return CommandError(str(error))
