"""The mapping of errors to exit codes.

The module is separate from `exit_codes`, because it imports the drivers of the database. Only a failed command needs
it.
"""

from __future__ import annotations

from saldo.cli.exit_codes import CommandError, ExitCode
from saldo.client.errors import (
    ForbiddenError,
    InvalidError,
    OutcomeUnknownError,
    SaldoError,
    UnauthenticatedError,
    UnavailableError,
)
from saldo.settings.environment import SettingsError
from saldo.store.errors import (
    DamagedDataError,
    OutcomeUncertainError,
    StoreError,
    is_unreachable,
)


def find_command_error(error: Exception) -> CommandError | None:
    """Return the command's error for an error that the user or the operator can correct; None for a bug."""
    match error:
        case CommandError():
            return error
        case SaldoError():
            return convert_service_error(error)
        case StoreError():
            return convert_store_error(error)
        case SettingsError():
            return CommandError(str(error), ExitCode.USAGE)
        case _:
            return None


def convert_store_error(error: StoreError) -> CommandError:
    """Return the command's error for an error of the database, which the command uses directly."""
    if isinstance(error, OutcomeUncertainError):
        # The cause may be a lost connection, after which the database is not simply unavailable.
        code = ExitCode.UNKNOWN
    elif is_unreachable(error):
        code = ExitCode.UNAVAILABLE
    elif isinstance(error, DamagedDataError):
        code = ExitCode.REFUSED
    else:
        code = ExitCode.USAGE
    return CommandError(str(error), code)


def convert_service_error(error: SaldoError) -> CommandError:
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
