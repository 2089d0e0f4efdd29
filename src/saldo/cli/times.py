"""Times in the zone of the person at this machine: SALDO_TIMEZONE, or else the machine's own zone.

All commands parse times with these functions. Times are sent to the service with an offset, because the service may be
in another zone.
"""

from __future__ import annotations

from datetime import datetime, tzinfo
from functools import cache

from saldo.cli.exit_codes import CommandError, ExitCode
from saldo.ledger.instants import InstantError, format_instant, parse_instant
from saldo.settings import model as settings_module
from saldo.settings.environment import SettingsError


@cache
def load_time_zone() -> tzinfo | None:
    """Return the zone of SALDO_TIMEZONE, from the environment or `.env`; None means the machine's own zone (TZ).

    Raises:
        CommandError: There is no such zone.
    """
    try:
        return settings_module.load_time_zone()
    except SettingsError as error:
        raise CommandError(str(error), ExitCode.USAGE) from None


def parse_time_option(option: str, text: str) -> datetime:
    """Return the time that an option gives.

    Raises:
        CommandError: The text is not a time.
    """
    try:
        return parse_instant(text, load_time_zone())
    except InstantError as error:
        raise CommandError(f"{option} {text!r} {error}", ExitCode.USAGE) from None


def parse_optional_time(option: str, text: str | None) -> datetime | None:
    """Return the time that an option gives, or None if the option is not given. Errors are those of
    `parse_time_option`."""
    return None if text is None else parse_time_option(option, text)


def parse_time_range(
    begin_option: str, begin: str | None, end_option: str, end: str | None
) -> tuple[datetime | None, datetime | None]:
    """Return the times of two options that limit a range.

    Raises:
        CommandError: A text is not a time, or the range is empty.
    """
    since, until = parse_optional_time(begin_option, begin), parse_optional_time(end_option, end)
    if since is not None and until is not None and since >= until:
        raise CommandError(f"{begin_option} must be before {end_option}", ExitCode.USAGE)
    return since, until


def add_offset(text: str) -> str:
    """Return a time from a file with its offset, as it is sent to the service.

    Raises:
        InstantError: The text is not a time. The message says what is expected.
    """
    return format_instant(parse_instant(text, load_time_zone()))


def format_time(moment: datetime) -> str:
    """Format a time for a table: to the second, with the offset."""
    local = moment.astimezone(load_time_zone())
    return f"{local:%Y-%m-%d %H:%M:%S}{_format_offset(local)}"


def _format_offset(local: datetime) -> str:
    offset = f"{local:%z}"
    return "Z" if offset == "+0000" else f"{offset[:3]}:{offset[3:]}"
