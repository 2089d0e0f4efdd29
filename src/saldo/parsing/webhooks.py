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
from saldo.parsing.faults import FaultCollector, FieldError, InvalidField, InvalidRequestError
from saldo.parsing.fields import UNPRINTABLE, parse_user_ids
from saldo.parsing.json_body import ABSENT, describe_type_fault
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
"""Pattern of a host that is an address in any notation. No DNS name ends in a number, and addresses have unusual
notations: `0x7f.1` means 127.0.0.1."""


_HOST: Final = re.compile(r"[0-9a-z._-]+|[0-9a-f:.]+(%.*)?", re.ASCII | re.IGNORECASE)
"""Pattern of a DNS name or an address. The system's resolver would also accept other texts, such as `*` for this
machine."""


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


def create_webhook_parser_options(settings: Settings) -> WebhookParserOptions:
    """Return the options of the parsers."""
    return WebhookParserOptions(
        url_length_max=settings.webhook_url_length_max,
        users_max=settings.webhook_users_max,
        destinations=DestinationPolicy.from_settings(settings),
    )


def generate_signing_secret() -> str:
    """Generate a random secret."""
    return KEY_PREFIX + base64.b64encode(token_bytes(KEY_BYTES)).decode()


def parse_new_webhook(body: bytes, options: WebhookParserOptions) -> NewWebhook:
    """Parse a request to create a webhook.

    Raises:
        InvalidRequestError: The request is invalid. The error contains every fault.
    """
    return parse_new_webhook_fields(parse_object(body), options)


def parse_new_webhook_fields(
    fields: Mapping[str, Any], options: WebhookParserOptions
) -> NewWebhook:
    """Parse the fields of a request to create a webhook. JSON numbers must be passed as strings of digits.

    Raises:
        InvalidRequestError: The request is invalid. The error contains every fault.
    """
    faults = FaultCollector()
    faults.check_fields(fields, CREATE_FIELDS)
    url = faults.parse("url", _parse_url_field, fields.get("url", ABSENT), options)
    types = faults.parse("event_types", _parse_event_types_field, fields.get("event_types"))
    users = faults.parse("user_ids", parse_user_ids, fields.get("user_ids"), options.users_max)
    secret = generate_signing_secret()
    if fields.get("secret") is not None:
        secret = faults.parse("secret", _parse_secret_field, fields["secret"]) or secret
    if faults or url is None:
        faults.raise_error()
    return NewWebhook(url, types, users, secret)


def parse_change(body: bytes, options: WebhookParserOptions) -> WebhookChange:
    """Parse a request to change a webhook. Missing fields are not changed.

    Raises:
        InvalidRequestError: The request is invalid. The error contains every fault.
    """
    fields = parse_object(body)
    faults = FaultCollector()
    faults.check_fields(fields, CHANGE_FIELDS)
    if not fields:
        faults.add("body", f"must have at least one of the fields {', '.join(CHANGE_FIELDS)}")

    def parse_if_present(
        name: str, read: Callable[..., T], *arguments: Any
    ) -> tuple[T | None] | None:
        if name not in fields:
            return None
        return (faults.parse(name, read, fields[name], *arguments),)

    url = parse_if_present("url", _parse_url_field, options)
    secret = parse_if_present("secret", _parse_secret_field)
    event_types = parse_if_present("event_types", _parse_event_types_field)
    user_ids = parse_if_present("user_ids", parse_user_ids, options.users_max)
    enabled = parse_if_present("enabled", _parse_enabled_field)
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
        InvalidRequestError: The request is invalid. The error contains every fault.
    """
    fields = parse_object(body) if body.strip() else {}
    faults = FaultCollector()
    faults.check_fields(fields, REPLAY_FIELDS)
    event_id = None
    if fields.get("event_id") is not None:
        event_id = faults.parse("event_id", _parse_event_id_field, fields["event_id"])
    faults.raise_if_any()
    return event_id


def parse_webhook_id(text: str) -> int:
    """Parse the id of a webhook in a path. The id may be greater than any that exists.

    Raises:
        InvalidRequestError: The text is not a whole number, or it has more than 30 digits.
    """
    return parse_id("webhook_id", text)


def parse_state(text: str | None) -> DeliveryState | None:
    """Parse the parameter `state`.

    Raises:
        InvalidRequestError: The text is not a state.
    """
    match text:
        case None | "pending" | "dead":
            return text
        case _:
            raise InvalidRequestError([InvalidField("state", 'must be "pending" or "dead"')])


def _parse_url_field(value: object, options: WebhookParserOptions) -> str:
    expectation = "must be a URL such as https://example.com/saldo"
    if type(value) is not str or not value:
        raise FieldError(describe_type_fault(value, expectation))
    if len(value) > options.url_length_max:
        raise FieldError(f"must have at most {options.url_length_max} characters")
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
    fault = options.destinations.find_url_fault(url)
    if fault is not None:
        raise FieldError(fault)
    # Only an address can be checked now. The relay resolves and checks a name when it connects.
    if _ADDRESS.fullmatch(host):
        _check_address(host, options.destinations)
    return value


def _check_address(host: str, destinations: DestinationPolicy) -> None:
    if destinations.find_address_fault(host) is None:
        return
    if is_within(host, destinations.denied):
        raise FieldError("must not lead to a network that SALDO_WEBHOOK_DENY names")
    raise FieldError("must lead to the public internet (SALDO_WEBHOOK_ALLOW_PRIVATE)")


def _parse_event_types_field(value: object) -> list[str] | None:
    if value is None:
        return None
    expectation = f"must be a list of {', '.join(RELAYED_EVENT_TYPES)}, or null for all of them"
    if not isinstance(value, list) or not 1 <= len(value) <= len(RELAYED_EVENT_TYPES):
        raise FieldError(expectation)
    if any(
        type(event_type) is not str or event_type not in RELAYED_EVENT_TYPES for event_type in value
    ):
        raise FieldError(expectation)
    return sorted(set(value))


def _parse_secret_field(value: object) -> str:
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


def _parse_enabled_field(value: object) -> bool:
    if not isinstance(value, bool):
        raise FieldError("must be true or false")
    return value


def _parse_event_id_field(value: object) -> UUID:
    if type(value) is not str:
        raise FieldError("must be the id of an event")
    try:
        return parse_uuid(value)
    except InvalidRequestError as error:
        raise FieldError(error.faults[0].message) from None
