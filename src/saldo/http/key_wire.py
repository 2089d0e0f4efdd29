"""Reading what admins send about keys; faults as in `saldo.http.wire`, all of them at once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from ipaddress import ip_network
from typing import Any, Final

from saldo.access.grant import SCOPES, Scope
from saldo.http.fields import FieldError, collect, read_label, read_user_ids, unknown
from saldo.http.wire import Fault, InvalidError, parse_object
from saldo.ledger.model import USER_ID_MAX
from saldo.ledger.time import InstantError, parse_instant
from saldo.settings import Settings
from saldo.store.keys import NewKey

CREATE_FIELDS: Final = ("name", "scopes", "user_ids", "networks", "expires_at")
ROTATE_FIELDS: Final = ("overlap_seconds",)

NAME_LENGTH_MAX: Final = 100
USERS_MAX: Final = 1000
NETWORKS_MAX: Final = 100
OVERLAP_SECONDS_MAX: Final = 31_536_000

_SECONDS: Final = re.compile(r"[0-9]{1,9}", re.ASCII)


@dataclass(frozen=True, slots=True)
class KeyReading:
    """How keys are read here. zone: of times without one; None: the machine's own."""

    zone: tzinfo | None
    overlap_seconds: float
    now: datetime


def key_reading(settings: Settings) -> KeyReading:
    """How keys are read."""
    return KeyReading(settings.tzinfo, settings.key_overlap_seconds, datetime.now(UTC))


def parse_new_key(body: bytes, reading: KeyReading) -> NewKey:
    """A key to create.

    Raises:
        InvalidError: with every fault of it at once.
    """
    return read_new_key(parse_object(body), reading)


def read_new_key(fields: Mapping[str, Any], reading: KeyReading) -> NewKey:
    """The same, of fields. Numbers are strings of digits."""
    faults = unknown(fields, CREATE_FIELDS)
    name = collect(faults, "name", read_label, fields.get("name"), NAME_LENGTH_MAX)
    scopes = collect(faults, "scopes", _read_scopes, fields.get("scopes"))
    users = collect(faults, "user_ids", read_user_ids, fields.get("user_ids"), USERS_MAX)
    networks = collect(faults, "networks", _read_networks, fields.get("networks"))
    expires = collect(faults, "expires_at", _read_expiry, fields.get("expires_at"), reading)
    if users is not None and scopes is not None and not {"read", "write"}.issuperset(scopes):
        faults.append(Fault("user_ids", "are possible with the scopes read and write only"))
    if faults or name is None or scopes is None:
        raise InvalidError(faults)
    return NewKey(name, scopes, users, networks, expires)


def parse_rotation(body: bytes, reading: KeyReading) -> timedelta:
    """How long the old key stays valid beside the new one.

    Raises:
        InvalidError: with every fault of it at once.
    """
    fields = parse_object(body) if body.strip() else {}
    faults = unknown(fields, ROTATE_FIELDS)
    given = fields.get("overlap_seconds")
    seconds: float | None = reading.overlap_seconds
    if given is not None:
        seconds = collect(faults, "overlap_seconds", _read_overlap, given)
    if faults or seconds is None:
        raise InvalidError(faults)
    return timedelta(seconds=seconds)


def parse_key_id(text: str) -> int:
    """The id of a path. One past every id there can be is nobody's."""
    if not re.fullmatch(r"[0-9]{1,30}", text, re.ASCII):
        raise InvalidError([Fault("key_id", "must be a whole number greater than zero")])
    return min(int(text), USER_ID_MAX)


def _read_scopes(value: object) -> list[str]:
    expected = f"must be a list of {', '.join(SCOPES)}"
    if value is None:
        raise FieldError(f"is missing: it {expected}")
    if not isinstance(value, list) or not 1 <= len(value) <= len(SCOPES):
        raise FieldError(expected)
    if any(type(each) is not str or each not in set(Scope) for each in value):
        raise FieldError(expected)
    return sorted(set(value))


def _read_networks(value: object) -> list[str] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not 1 <= len(value) <= NETWORKS_MAX:
        raise FieldError(f"must be a list of 1 to {NETWORKS_MAX} networks; or null: from anywhere")
    expected = "must be networks such as 192.0.2.0/24, 192.0.2.7 or 2001:db8::/32"
    # To the library numbers are addresses, and bytes too.
    if any(type(each) is not str for each in value):
        raise FieldError(expected)
    try:
        return [str(ip_network(each)) for each in value]
    except ValueError:
        raise FieldError(expected) from None


def _read_expiry(value: object, reading: KeyReading) -> datetime | None:
    if value is None:
        return None
    if type(value) is not str:
        raise FieldError("must be a string with a date and time")
    try:
        expires = parse_instant(value, reading.zone)
    except InstantError as error:
        raise FieldError(str(error)) from None
    if expires <= reading.now:
        raise FieldError("must be in the future")
    return expires


def _read_overlap(value: object) -> float:
    # A number, not a string: to the parser the digits of a number are a string of its own kind.
    if type(value) is str or not isinstance(value, str) or not _SECONDS.fullmatch(value):
        raise FieldError("must be a whole number of seconds")
    if int(value) > OVERLAP_SECONDS_MAX:
        raise FieldError(f"must be at most {OVERLAP_SECONDS_MAX}")
    return float(value)
