"""Reading what clients send about webhooks; faults as in `saldo.http.wire`, all of them at once."""

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

from saldo.http.fields import UNPRINTABLE, FieldError, collect, read_user_ids, unknown
from saldo.http.wire import Fault, InvalidError, parse_object, parse_uuid
from saldo.ledger.model import USER_ID_MAX
from saldo.relay.events import RELAYED_EVENT_TYPES
from saldo.relay.webhooks.addresses import is_public
from saldo.settings import Settings
from saldo.store.webhooks import Change, DeliveryState

T = TypeVar("T")

CREATE_FIELDS: Final = ("url", "event_types", "user_ids", "secret")
CHANGE_FIELDS: Final = (*CREATE_FIELDS, "enabled")
REPLAY_FIELDS: Final = ("event_id",)

KEY_PREFIX: Final = "whsec_"
KEY_BYTES: Final = 32
KEY_BYTES_MIN, KEY_BYTES_MAX = 24, 64
"""Of the Standard Webhooks specification."""

_ADDRESS: Final = re.compile(r".*:.*|(.*\.)?([0-9]+|0x[0-9a-f]*)\.?", re.ASCII | re.IGNORECASE)
"""A host that is an address, however it is spelt: no name ends in a number, but `0x7f.1` is read as 127.0.0.1."""


_HOST: Final = re.compile(r"[0-9a-z._-]+|[0-9a-f:.]+(%.*)?", re.ASCII | re.IGNORECASE)
"""A name as the name system has them, or an address. The system's look-up takes more: `*` for this machine."""


@dataclass(frozen=True, slots=True)
class WebhookReading:
    """How webhooks are read here: the settings that a parser needs."""

    url_length_max: int
    users_max: int
    allow_private: bool


@dataclass(frozen=True, slots=True)
class NewWebhook:
    """What is asked for. event_types, user_ids: None: all."""

    url: str
    event_types: list[str] | None
    user_ids: list[int] | None
    secret: str


def webhook_reading(settings: Settings) -> WebhookReading:
    """How webhooks are read."""
    return WebhookReading(
        url_length_max=settings.webhook_url_length_max,
        users_max=settings.webhook_users_max,
        allow_private=settings.webhook_allow_private,
    )


def new_secret() -> str:
    """A secret that nobody can guess."""
    return KEY_PREFIX + base64.b64encode(token_bytes(KEY_BYTES)).decode()


def parse_new_webhook(body: bytes, reading: WebhookReading) -> NewWebhook:
    """A webhook to create.

    Raises:
        InvalidError: with every fault of it at once.
    """
    return read_new_webhook(parse_object(body), reading)


def read_new_webhook(fields: Mapping[str, Any], reading: WebhookReading) -> NewWebhook:
    """The same, of fields. Numbers are strings of digits."""
    faults = unknown(fields, CREATE_FIELDS)
    url = collect(faults, "url", _read_url, fields.get("url"), reading)
    types = collect(faults, "event_types", _read_event_types, fields.get("event_types"))
    users = collect(faults, "user_ids", read_user_ids, fields.get("user_ids"), reading.users_max)
    secret = new_secret()
    if fields.get("secret") is not None:
        secret = collect(faults, "secret", _read_secret, fields["secret"]) or secret
    if faults or url is None:
        raise InvalidError(faults)
    return NewWebhook(url, types, users, secret)


def parse_change(body: bytes, reading: WebhookReading) -> Change:
    """What to change of a webhook; fields that aren't given stay as they are.

    Raises:
        InvalidError: with every fault of it at once.
    """
    fields = parse_object(body)
    faults = unknown(fields, CHANGE_FIELDS)
    if not fields:
        faults.append(Fault("body", f"must have one of {', '.join(CHANGE_FIELDS)}"))

    def given(name: str, read: Callable[..., T], *arguments: Any) -> tuple[T | None] | None:
        if name not in fields:
            return None
        return (collect(faults, name, read, fields[name], *arguments),)

    url = given("url", _read_url, reading)
    secret = given("secret", _read_secret)
    event_types = given("event_types", _read_event_types)
    user_ids = given("user_ids", read_user_ids, reading.users_max)
    enabled = given("enabled", _read_enabled)
    if faults:
        raise InvalidError(faults)
    return Change(
        url=url and url[0],
        secret=secret and secret[0],
        event_types=event_types,
        user_ids=user_ids,
        enabled=enabled and enabled[0],
    )


def parse_replay(body: bytes) -> UUID | None:
    """Which event to replay; None: all that are dead.

    Raises:
        InvalidError: with every fault of it at once.
    """
    fields = parse_object(body) if body.strip() else {}
    faults = unknown(fields, REPLAY_FIELDS)
    event_id = None
    if fields.get("event_id") is not None:
        event_id = collect(faults, "event_id", _read_event_id, fields["event_id"])
    if faults:
        raise InvalidError(faults)
    return event_id


def parse_webhook_id(text: str) -> int:
    """The id of a path. One past every id there can be is nobody's."""
    if not re.fullmatch(r"[0-9]{1,30}", text, re.ASCII):
        raise InvalidError([Fault("webhook_id", "must be a whole number greater than zero")])
    return min(int(text), USER_ID_MAX)


def parse_state(text: str | None) -> DeliveryState | None:
    """The `state` of a query."""
    match text:
        case None | "waiting" | "dead":
            return text
        case _:
            raise InvalidError([Fault("state", 'must be "waiting" or "dead"')])


def _read_url(value: object, reading: WebhookReading) -> str:
    expected = "must be an URL such as https://example.com/saldo"
    if type(value) is not str or not value:
        raise FieldError(f"is missing: it {expected}" if value is None else expected)
    if len(value) > reading.url_length_max:
        raise FieldError(f"must have at most {reading.url_length_max} characters")
    if UNPRINTABLE.search(value):
        raise FieldError("must not contain spaces or control characters")
    try:
        url = URL(value)
        host, port = url.raw_host, url.port
    except (ValueError, IndexError):  # the second is the library's own, of "[::0]:@"
        raise FieldError(expected) from None
    if url.scheme not in {"http", "https"} or not host or not port or not _HOST.fullmatch(host):
        raise FieldError(expected)
    if url.user is not None or url.password is not None or "#" in value:
        raise FieldError("must not have a user, a password or a fragment")
    # Only what can be told at once: a name is looked up when it is connected to.
    if not reading.allow_private and _ADDRESS.fullmatch(host) and not is_public(host):
        raise FieldError("must lead to the public internet (SALDO_WEBHOOK_ALLOW_PRIVATE)")
    return value


def _read_event_types(value: object) -> list[str] | None:
    if value is None:
        return None
    expected = f"must be a list of {', '.join(RELAYED_EVENT_TYPES)}; or null: all of them"
    if not isinstance(value, list) or not 1 <= len(value) <= len(RELAYED_EVENT_TYPES):
        raise FieldError(expected)
    if any(type(each) is not str or each not in RELAYED_EVENT_TYPES for each in value):
        raise FieldError(expected)
    return sorted(set(value))


def _read_secret(value: object) -> str:
    expected = f"must be {KEY_PREFIX} and {KEY_BYTES_MIN} to {KEY_BYTES_MAX} bytes in base64"
    if type(value) is not str or not value.startswith(KEY_PREFIX) or len(value) > 200:
        raise FieldError(expected)
    try:
        key = base64.b64decode(value.removeprefix(KEY_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise FieldError(expected) from None
    if not KEY_BYTES_MIN <= len(key) <= KEY_BYTES_MAX:
        raise FieldError(expected)
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
