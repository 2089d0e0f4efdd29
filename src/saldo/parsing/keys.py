"""Parsers of requests for API keys, which report all faults of a request together."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from ipaddress import ip_network
from typing import Any, Final

from saldo.auth.grants import SCOPES, Scope
from saldo.ledger.instants import parse_instant
from saldo.parsing.faults import FaultCollector, FieldError
from saldo.parsing.fields import parse_label, parse_user_ids
from saldo.parsing.json_body import ABSENT, describe_type_fault
from saldo.parsing.transactions import parse_id, parse_object
from saldo.settings.model import Settings
from saldo.store.keys import NewKey

CREATE_FIELDS: Final = ("name", "scopes", "user_ids", "networks", "expires_at")
ROTATE_FIELDS: Final = ("overlap_seconds",)

NAME_LENGTH_MAX: Final = 100
USERS_MAX: Final = 1000
NETWORKS_MAX: Final = 100
OVERLAP_SECONDS_MAX: Final = 31_536_000

_SECONDS: Final = re.compile(r"[0-9]{1,9}", re.ASCII)


@dataclass(frozen=True, slots=True)
class KeyParserOptions:
    """Options of the parsers.

    Attributes:
        zone: Time zone of times without an offset; None is the zone of the machine.
        overlap_seconds: Default time for which a rotated key remains valid.
        now: The current time. The expiry of a new key must be later.
    """

    zone: tzinfo | None
    overlap_seconds: float
    now: datetime


def create_key_parser_options(settings: Settings) -> KeyParserOptions:
    """Return the options of the parsers, from the settings and the current time."""
    return KeyParserOptions(settings.tzinfo, settings.key_overlap_seconds, datetime.now(UTC))


def parse_new_key(body: bytes, options: KeyParserOptions) -> NewKey:
    """Parse a request to create a key.

    Raises:
        InvalidRequestError: The request is invalid. The error contains every fault.
    """
    return parse_new_key_fields(parse_object(body), options)


def parse_new_key_fields(fields: Mapping[str, Any], options: KeyParserOptions) -> NewKey:
    """Parse the fields of a request to create a key. JSON numbers must be passed as strings of digits.

    Raises:
        InvalidRequestError: The request is invalid. The error contains every fault.
    """
    faults = FaultCollector()
    faults.check_fields(fields, CREATE_FIELDS)
    name = faults.parse("name", parse_label, fields.get("name", ABSENT), NAME_LENGTH_MAX)
    scopes = faults.parse("scopes", _parse_scopes_field, fields.get("scopes", ABSENT))
    users = faults.parse("user_ids", parse_user_ids, fields.get("user_ids"), USERS_MAX)
    networks = faults.parse("networks", _parse_networks_field, fields.get("networks"))
    expires = faults.parse("expires_at", _parse_expiry_field, fields.get("expires_at"), options)
    if users is not None and scopes is not None and not {"read", "write"}.issuperset(scopes):
        faults.add("user_ids", "are allowed only with the scopes read and write")
    if faults or name is None or scopes is None:
        faults.raise_error()
    return NewKey(name, scopes, users, networks, expires)


def parse_rotation(body: bytes, options: KeyParserOptions) -> timedelta:
    """Parse a request to rotate a key, and return the time for which the old key remains valid.

    Raises:
        InvalidRequestError: The request is invalid. The error contains every fault.
    """
    fields = parse_object(body) if body.strip() else {}
    faults = FaultCollector()
    faults.check_fields(fields, ROTATE_FIELDS)
    value = fields.get("overlap_seconds")
    seconds: float | None = options.overlap_seconds
    if value is not None:
        seconds = faults.parse("overlap_seconds", _parse_overlap_field, value)
    if faults or seconds is None:
        faults.raise_error()
    return timedelta(seconds=seconds)


def parse_key_id(text: str) -> int:
    """Parse the id of a key in a path. The id may be greater than any that exists.

    Raises:
        InvalidRequestError: The text is not a whole number, or it has more than 30 digits.
    """
    return parse_id("key_id", text)


def _parse_scopes_field(value: object) -> list[str]:
    expectation = f"must be a list of {', '.join(SCOPES)}"
    if not isinstance(value, list) or not 1 <= len(value) <= len(SCOPES):
        raise FieldError(describe_type_fault(value, expectation))
    if any(type(scope) is not str or scope not in set(Scope) for scope in value):
        raise FieldError(expectation)
    return sorted(set(value))


def _parse_networks_field(value: object) -> list[str] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not 1 <= len(value) <= NETWORKS_MAX:
        raise FieldError(
            f"must be a list of 1 to {NETWORKS_MAX} networks, or null for all networks"
        )
    expectation = "must contain networks such as 192.0.2.0/24, 192.0.2.7 or 2001:db8::/32"
    # `ip_network` also accepts numbers and bytes as addresses.
    if any(type(network) is not str for network in value):
        raise FieldError(expectation)
    try:
        return [str(ip_network(network)) for network in value]
    except ValueError:
        raise FieldError(expectation) from None


def _parse_expiry_field(value: object, options: KeyParserOptions) -> datetime | None:
    if value is None:
        return None
    if type(value) is not str:
        raise FieldError("must be a string with a date and time")
    expires = parse_instant(value, options.zone)
    if expires <= options.now:
        raise FieldError("must be in the future")
    return expires


def _parse_overlap_field(value: object) -> float:
    # The value must be a number. The JSON parser returns the digits of a number as a subclass of `str`.
    if type(value) is str or not isinstance(value, str) or not _SECONDS.fullmatch(value):
        raise FieldError("must be a whole number of seconds")
    if int(value) > OVERLAP_SECONDS_MAX:
        raise FieldError(f"must be at most {OVERLAP_SECONDS_MAX}")
    return float(value)
