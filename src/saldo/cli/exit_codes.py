"""Exit codes of commands. Scripts depend on these codes."""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class ExitCode(IntEnum):
    """The exit code of a command."""

    DONE = 0
    REFUSED = 1
    USAGE = 2
    UNAVAILABLE = 3
    ACCESS_DENIED = 4
    UNKNOWN = 5
    INTERNAL_ERROR = 70
    INTERRUPTED = 130
    TERMINATED = 143


MEANINGS: Final[dict[ExitCode, str]] = {
    ExitCode.DONE: "done",
    ExitCode.REFUSED: "refused, not found, or a fault was found (an import: also rejected or unreadable rows)",
    ExitCode.USAGE: "invalid options, arguments, settings or files, or an unsuitable database (nothing was done)",
    ExitCode.UNAVAILABLE: "service or database unavailable, or no outcome in time (nothing was done; an import may "
    "have posted earlier rows: repeat it)",
    ExitCode.ACCESS_DENIED: "the key is missing or invalid, or lacks the necessary scope",
    ExitCode.UNKNOWN: "outcome unknown (repeat a deposit or withdrawal with --uuid and the printed uuid, or repeat "
    "the same import; for other changes, the message says how to find out)",
    ExitCode.INTERNAL_ERROR: "internal error, which is a bug (the traceback is printed)",
    ExitCode.INTERRUPTED: "interrupted by Ctrl-C (completed work remains)",
    ExitCode.TERMINATED: "terminated by SIGTERM (completed work remains)",
}


class CommandError(Exception):
    """An error that ends the command with one line of text and an exit code."""

    def __init__(self, message: str, code: ExitCode = ExitCode.REFUSED) -> None:
        super().__init__(message)
        self.code = code
