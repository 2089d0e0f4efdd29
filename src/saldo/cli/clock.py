"""Times as a person gives and reads them here: in SALDO_ZONE, or else in this machine's own zone."""

from __future__ import annotations

import os
from datetime import datetime, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from saldo.cli.exits import CommandError, Exit
from saldo.ledger.time import InstantError, format_instant, parse_instant


def zone() -> tzinfo | None:
    """None: the machine's own (TZ)."""
    name = os.environ.get("SALDO_ZONE")
    try:
        return ZoneInfo(name) if name else None
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise CommandError(f"SALDO_ZONE: there is no zone {name!r}", Exit.USAGE) from None


def instant(option: str, text: str) -> datetime:
    """The moment that an option gives."""
    try:
        return parse_instant(text, zone())
    except InstantError as error:
        raise CommandError(f"{option} {text!r} {error}", Exit.USAGE) from None


def optional_instant(option: str, text: str | None) -> datetime | None:
    """As `instant`; None stays None."""
    return None if text is None else instant(option, text)


def bounds(
    begin_option: str, begin: str | None, end_option: str, end: str | None
) -> tuple[datetime | None, datetime | None]:
    """The moments of two options, between which something is.

    Raises:
        CommandError: there is nothing between them.
    """
    since, until = optional_instant(begin_option, begin), optional_instant(end_option, end)
    if since is not None and until is not None and since >= until:
        raise CommandError(f"{begin_option} must be before {end_option}", Exit.USAGE)
    return since, until


def zoned(text: str) -> str:
    """A time of a file, with an offset; one that can't be read stays as it is: the service says what is wrong."""
    if text[-1:] in "Zz" or text[-6:-5] in "+-":
        return text
    try:
        return format_instant(parse_instant(text, zone()))
    except InstantError:
        return text


def shown(moment: datetime) -> str:
    """For a table: to the second, with the offset."""
    local = moment.astimezone(zone())
    return f"{local:%Y-%m-%d %H:%M:%S}{_offset(local)}"


def _offset(local: datetime) -> str:
    offset = f"{local:%z}"
    return "Z" if offset == "+0000" else f"{offset[:3]}:{offset[3:]}"
