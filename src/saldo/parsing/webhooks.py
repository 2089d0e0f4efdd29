"""Parsers of requests for webhooks, which report all faults of a request together."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from secrets import token_bytes
from typing import Any, Final, TypeVar
from uuid import UUID

from yarl import URL

from saldo.events.event import RELAYED_EVENT_TYPES
from saldo.parsing.faults import FaultCollector, FieldError, InvalidError, InvalidField
from saldo.parsing.fields import UNPRINTABLE, read_user_ids
from saldo.parsing.json_body import ABSENT, type_message
from saldo.parsing.transactions import parse_id, parse_object, parse_uuid
from saldo.relay.webhooks.address_policy import is_within
from saldo.relay.webhooks.destinations import DestinationPolicy
from saldo.settings.model import Settings
from saldo.store.webhooks import DeliveryState, WebhookChange

T = TypeVar("T")

CREATE_FIELDS: Final = ("url", "event_types", "user_ids", "secret")
CHANGE_FIELDS: Final = (*CREATE_FIELDS, "enabled")
REPLAY_FIELDS: Final = ("event_id",)

KEY_PREFIX: Final = "whsec_"
KEY_BYTES: Final = 32
KEY_BYTES_MIN, KEY_BYTES_MAX = 24, 64
"""Limits on a secret's size in bytes, from the specification of Standard Webhooks."""

_ADDRESS: Final = re.compile(r".*:.*|(.*\.)?([0-9]+|0x[0-9a-f]*)\.?", re.ASCII | re.IGNORECASE)
"""Pattern of a host that is an address in any notation. No name ends in a number, but `0x7f.1` means 127.0.0.1."""


_HOST: Final = re.compile(r"[0-9a-z._-]+|[0-9a-f:.]+(%.*)?", re.ASCII | re.IGNORECASE)
"""Pattern of a DNS name or an address. The system's resolver accepts more, such as `*` for this machine."""


@dataclass(frozen=True, slots=True)
class WebhookParserOptions:
    """Options of the parsers, from the settings."""

    url_length_max: int
    users_max: int
    destinations: DestinationPolicy


@dataclass(frozen=True, slots=True)
class NewWebhook:
    """A request to create a webhook.

    Attributes:
        event_types: Types of the events; None means all.
        user_ids: Users whose events are sent; None means all.
    """

    url: str
    event_types: list[str] | None
    user_ids: list[int] | None
    secret: str


def webhook_parser_options(settings: Settings) -> WebhookParserOptions:
    """Return the options of the parsers."""
    return WebhookParserOptions(
        url_length_max=settings.webhook_url_length_max,
        users_max=settings.webhook_users_max,
        destinations=DestinationPolicy.of(settings),
    )


def new_secret() -> str:
    """Generate a random secret."""
    return KEY_PREFIX + base64.b64encode(token_bytes(KEY_BYTES)).decode()


def parse_new_webhook(body: bytes, reading: WebhookParserOptions) -> NewWebhook:
    """Parse a request to create a webhook.

    Raises:
        InvalidError: The request is invalid. The error contains every fault.
    """
    return read_new_webhook(parse_object(body), reading)


def read_new_webhook(fields: Mapping[str, Any], reading: WebhookParserOptions) -> NewWebhook:
    """Parse the fields of a request to create a webhook. JSON numbers must be passed as strings of digits.

    Raises:
        InvalidError: The request is invalid. The error contains every fault.
    """
    faults = FaultCollector()
    faults.check_fields(fields, CREATE_FIELDS)
    url = faults.read("url", _read_url, fields.get("url", ABSENT), reading)
    types = faults.read("event_types", _read_event_types, fields.get("event_types"))
    users = faults.read("user_ids", read_user_ids, fields.get("user_ids"), reading.users_max)
    secret = new_secret()
    if fields.get("secret") is not None:
        secret = faults.read("secret", _read_secret, fields["secret"]) or secret
    if faults or url is None:
        faults.fail()
    return NewWebhook(url, types, users, secret)


def parse_change(body: bytes, reading: WebhookParserOptions) -> WebhookChange:
    """Parse a request to change a webhook. Missing fields are not changed.

    Raises:
        InvalidError: The request is invalid. The error contains every fault.
    """
    fields = parse_object(body)
    faults = FaultCollector()
    faults.check_fields(fields, CHANGE_FIELDS)
    if not fields:
        faults.add("body", f"must have at least one of the fields {', '.join(CHANGE_FIELDS)}")

    def read_if_given(name: str, read: Callable[..., T], *arguments: Any) -> tuple[T | None] | None:
        if name not in fields:
            return None
        return (faults.read(name, read, fields[name], *arguments),)

    url = read_if_given("url", _read_url, reading)
    secret = read_if_given("secret", _read_secret)
    event_types = read_if_given("event_types", _read_event_types)
    user_ids = read_if_given("user_ids", read_user_ids, reading.users_max)
    enabled = read_if_given("enabled", _read_enabled)
    faults.raise_if_any()
    return WebhookChange(
        url=url and url[0],
        secret=secret and secret[0],
        event_types=event_types,
        user_ids=user_ids,
        enabled=enabled and enabled[0],
    )


def parse_replay(body: bytes) -> UUID | None:
    """Parse a request to replay deliveries, and return the event's id, or None for all dead deliveries.

    Raises:
        InvalidError: The request is invalid. The error contains every fault.
    """
    fields = parse_object(body) if body.strip() else {}
    faults = FaultCollector()
    faults.check_fields(fields, REPLAY_FIELDS)
    event_id = None
    if fields.get("event_id") is not None:
        event_id = faults.read("event_id", _read_event_id, fields["event_id"])
    faults.raise_if_any()
    return event_id


def parse_webhook_id(text: str) -> int:
    """Parse the id in a path, which may be greater than any id that exists.

    Raises:
        InvalidError: The text is not a whole number, or it has more than 30 digits.
    """
    return parse_id("webhook_id", text)


def parse_state(text: str | None) -> DeliveryState | None:
    """Parse the parameter `state`.

    Raises:
        InvalidError: The text is not a state.
    """
    match text:
        case None | "pending" | "dead":
            return text
        case _:
            raise InvalidError([InvalidField("state", 'must be "pending" or "dead"')])


def _read_url(value: object, reading: WebhookParserOptions) -> str:
    expectation = "must be a URL such as https://example.com/saldo"
    if type(value) is not str or not value:
        raise FieldError(type_message(value, expectation))
    if len(value) > reading.url_length_max:
        raise FieldError(f"must have at most {reading.url_length_max} characters")
    if UNPRINTABLE.search(value):
        raise FieldError("must not contain spaces or control characters")
    try:
        url = URL(value)
        host, port = url.raw_host, url.port
    except (ValueError, IndexError):  # yarl raises an IndexError for "[::0]:@"
        raise FieldError(expectation) from None
    if url.scheme not in {"http", "https"} or not host or not port or not _HOST.fullmatch(host):
        raise FieldError(expectation)
    if url.user is not None or url.password is not None or "#" in value:
        raise FieldError("must not have a user, a password or a fragment")
    fault = reading.destinations.find_url_fault(url)
    if fault is not None:
        raise FieldError(fault)
    # Only an address can be checked now. A name is resolved when the relay connects.
    if _ADDRESS.fullmatch(host):
        _check_address(host, reading.destinations)
    return value


def _check_address(host: str, destinations: DestinationPolicy) -> None:
    if destinations.find_address_fault(host) is None:
        return
    if is_within(host, destinations.denied):
        raise FieldError("must not lead to a network that SALDO_WEBHOOK_DENY names")
    raise FieldError("must lead to the public internet (SALDO_WEBHOOK_ALLOW_PRIVATE)")


def _read_event_types(value: object) -> list[str] | None:
    if value is None:
        return None
    expectation = f"must be a list of {', '.join(RELAYED_EVENT_TYPES)}, or null for all of them"
    if not isinstance(value, list) or not 1 <= len(value) <= len(RELAYED_EVENT_TYPES):
        raise FieldError(expectation)
    if any(type(each) is not str or each not in RELAYED_EVENT_TYPES for each in value):
        raise FieldError(expectation)
    return sorted(set(value))


def _read_secret(value: object) -> str:
    expectation = (
        f"must be {KEY_PREFIX} followed by {KEY_BYTES_MIN} to {KEY_BYTES_MAX} bytes in base64"
    )
    if type(value) is not str or not value.startswith(KEY_PREFIX) or len(value) > 200:
        raise FieldError(expectation)
    try:
        key = base64.b64decode(value.removeprefix(KEY_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise FieldError(expectation) from None
    if not KEY_BYTES_MIN <= len(key) <= KEY_BYTES_MAX:
        raise FieldError(expectation)
    return value


def _read_enabled(value: object) -> bool:
    if not isinstance(value, bool):
        raise FieldError("must be true or false")
    return value


def _read_event_id(value: object) -> UUID:
    if type(value) is not str:
        raise FieldError("must be the id of an event")
    try:
        return parse_uuid(value)
    except InvalidError as error:
        raise FieldError(error.faults[0].message) from None
