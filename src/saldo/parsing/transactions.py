"""Parsers of client input. They accept several notations of a value, but never round or guess a value.

All routes use the same parser. JSON numbers are kept as the digits that the client wrote, so that no amount passes
through a binary float. A key that is given twice in an object is rejected, because JSON parsers disagree on which of
the two values counts.

Before the parser, a fast path tries to read the plain form that nearly every client sends. The fast path accepts a body
only if the parser would give the same result. All other bodies, including all invalid ones, are left to the parser.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Any, Final, Literal, TypeAlias
from uuid import UUID

import msgspec

from saldo.ledger.instants import InstantError, parse_instant
from saldo.ledger.model import SEQ_MAX, SHARDS, USER_ID_MAX, Kind, TransactionRequest
from saldo.ledger.money import parse_amount
from saldo.parsing.faults import FaultCollector, FieldError, InvalidError, InvalidField
from saldo.parsing.fields import read_label
from saldo.parsing.json_body import (
    ABSENT,
    FIELDS_MAX,
    JsonError,
    parse_json,
    type_message,
)

TRANSACTION_FIELDS: Final = ("uuid", "uid", "type", "amount", "user_id", "timestamp")
USER_FIELDS: Final = ("name",)
IDEMPOTENCY_KEY: Final = "Idempotency-Key"
"""Header that can contain a transaction's uuid instead of the field `uuid`."""

KindName: TypeAlias = Literal["DEPOSIT", "WITHDRAW"]
KIND_NAMES: Final[dict[Kind, KindName]] = {Kind.DEPOSIT: "DEPOSIT", Kind.WITHDRAWAL: "WITHDRAW"}
KINDS: Final[dict[str, Kind]] = {name: kind for kind, name in KIND_NAMES.items()}

_UUID: Final = re.compile(
    r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32}", re.ASCII | re.IGNORECASE
)
_DIGITS: Final = re.compile(r"[0-9]{1,30}", re.ASCII)
_PLUS_READ_AS_SPACE: Final = re.compile(
    r"([Tt ]\d\d[:-]\d\d(?:[:-]\d\d(?:[.,]\d+)?)?) (\d\d:?\d\d)", re.ASCII
)


@dataclass(frozen=True, slots=True)
class ParserOptions:
    """Options of the parsers, from the settings."""

    zone: tzinfo | None
    decimals: int
    amount_max_minor: int
    name_length_max: int


def parse_object(body: bytes) -> dict[str, Any]:
    """Parse the body as a JSON object.

    Raises:
        InvalidError: The body is not a JSON object.
    """
    value = _parse_json(body)
    if not isinstance(value, dict):
        raise _invalid("body", "must be a JSON object")
    return value


def parse_transactions(
    body: bytes, items_max: int, reading: ParserOptions
) -> list[TransactionRequest | InvalidError]:
    """Parse the transactions of a JSON array.

    Returns:
        For each item its transaction request, or its error. An invalid item does not affect other items.

    Raises:
        InvalidError: The body is not an array of 1 to `items_max` items.
    """
    value = _parse_json(body, separators_max=items_max * (FIELDS_MAX + 1))
    if not isinstance(value, list):
        raise _invalid("body", "must be a JSON array of transactions")
    if not 1 <= len(value) <= items_max:
        raise _invalid(
            "body", f"must have 1 to {items_max} transactions; send more as a stream (NDJSON)"
        )
    items: list[TransactionRequest | InvalidError] = []
    for fields in value:
        try:
            if not isinstance(fields, dict):
                raise _invalid("body", "must be a JSON object")
            items.append(_read_transaction(fields, None, reading))
        except InvalidError as error:
            items.append(error)
    return items


def _parse_json(body: bytes, separators_max: int | None = None) -> Any:
    try:
        return parse_json(body, separators_max)
    except JsonError as error:
        raise _invalid(error.field, str(error)) from None


class _FastTransaction(msgspec.Struct, forbid_unknown_fields=True):
    uuid: UUID
    type: KindName
    amount: str
    user_id: int | str
    timestamp: str | msgspec.UnsetType | None = msgspec.UNSET


_plain_decoder: Final = msgspec.json.Decoder(_FastTransaction)


def parse_fast_path(body: bytes, reading: ParserOptions) -> TransactionRequest | None:
    """Parse a body in the plain form. Return None for all other bodies, which the parser must read."""
    if b"\\" in body:
        return None
    try:
        request, strings = _plain_request(_plain_decoder.decode(body), reading)
    except (msgspec.MsgspecError, ValueError):
        return None
    # Without escapes each string has two quotes. If there are more, a key was given twice.
    return request if body.count(b'"') == 2 * strings else None


def _plain_request(
    plain: _FastTransaction, reading: ParserOptions
) -> tuple[TransactionRequest, int]:
    """Return the transaction request, and the number of JSON strings in its body.

    Raises:
        ValueError: A value is invalid.
    """
    strings = 7
    user_id = plain.user_id
    if isinstance(user_id, str):
        user_id = _read_user_id(user_id)
        strings += 1
    timestamp = None
    if plain.timestamp is not msgspec.UNSET:
        strings += 1
        if plain.timestamp is not None:
            timestamp = parse_instant(plain.timestamp, reading.zone)
            strings += 1
    amount = parse_amount(plain.amount, reading.decimals, reading.amount_max_minor)
    if not plain.uuid.int or not 1 <= user_id <= USER_ID_MAX:
        raise ValueError
    signed = amount if plain.type == "DEPOSIT" else -amount
    return TransactionRequest(plain.uuid, user_id, signed, timestamp), strings


def parse_transaction(
    body: bytes, idempotency_key: str | None, reading: ParserOptions
) -> TransactionRequest:
    """Parse a request to post a transaction.

    Args:
        idempotency_key: Value of the header `Idempotency-Key`, or None if it is missing.

    Raises:
        InvalidError: The request is invalid. The error contains every fault.
    """
    plain = parse_fast_path(body, reading)
    if plain is not None:
        return plain
    return _read_transaction(parse_object(body), idempotency_key, reading)


def _read_transaction(
    fields: Mapping[str, Any], idempotency_key: str | None, reading: ParserOptions
) -> TransactionRequest:
    faults = FaultCollector()
    faults.check_fields(fields, TRANSACTION_FIELDS)
    uuid = _collect_uuid(faults, fields, idempotency_key)
    kind = faults.read("type", _read_kind, fields.get("type", ABSENT))
    amount = faults.read("amount", _read_amount, fields.get("amount", ABSENT), reading)
    user_id = faults.read("user_id", _read_user_id, fields.get("user_id", ABSENT))
    timestamp = None
    if fields.get("timestamp") is not None:
        timestamp = faults.read("timestamp", _read_instant, fields["timestamp"], reading.zone)
    if faults or uuid is None or kind is None or amount is None or user_id is None:
        faults.fail(uuid)
    return TransactionRequest(uuid, user_id, amount if kind is Kind.DEPOSIT else -amount, timestamp)


def parse_name(body: bytes, reading: ParserOptions) -> str:
    """Parse a request to create a user, and return the name, normalized by `saldo.ledger.names`.

    Raises:
        InvalidError: The name is missing or invalid, or there are other fields.
    """
    fields = parse_object(body)
    faults = FaultCollector()
    faults.check_fields(fields, USER_FIELDS)
    name = faults.read("name", read_label, fields.get("name", ABSENT), reading.name_length_max)
    if faults or name is None:
        faults.fail()
    return name


def parse_user_name(value: object, reading: ParserOptions) -> str:
    """Return a user's name, normalized by `saldo.ledger.names`.

    Raises:
        InvalidError: The value is not a valid name.
    """
    faults = FaultCollector()
    name = faults.read("name", read_label, value, reading.name_length_max)
    if name is None:
        faults.fail()
    return name


def parse_uuid(text: str) -> UUID:
    """Parse the uuid in a path.

    Raises:
        InvalidError: The text is not a valid uuid.
    """
    faults = FaultCollector()
    uuid = faults.read("uuid", _read_uuid, text)
    if uuid is None:
        faults.fail()
    return uuid


def parse_user_id(text: str) -> int:
    """Parse the user id in a path or a query. The id may be greater than any that exists.

    Raises:
        InvalidError: The text is not a whole number, or it has more than 30 digits.
    """
    return parse_id("user_id", text)


def parse_id(field: str, text: str) -> int:
    """Parse an id in a path or a query.

    The id isn't limited to `USER_ID_MAX`, so that responses can repeat the id as it was given.

    Raises:
        InvalidError: The text is not a whole number, or it has more than 30 digits.
    """
    if _DIGITS.fullmatch(text):
        return int(text)
    if text.isascii() and text.isdigit():
        raise _invalid(field, f"must be at most {USER_ID_MAX}")
    raise _invalid(field, "must be a whole number greater than zero")


def parse_position(field: str, text: str) -> int:
    """Parse the position after which a list continues. `USER_ID_MAX` replaces a greater position.

    Raises:
        InvalidError: The text is not a whole number, or it has more than 30 digits.
    """
    return min(parse_id(field, text), USER_ID_MAX)


def parse_range(
    since: str | None, until: str | None, reading: ParserOptions
) -> tuple[datetime | None, datetime | None]:
    """Parse the parameters `from` and `to` as the bounds of a half-open range.

    Raises:
        InvalidError: A bound is not an instant, or the range is empty because it doesn't end after its start.
    """
    begin = parse_query_instant("from", since, reading)
    end = parse_query_instant("to", until, reading)
    if begin is not None and end is not None and begin >= end:
        raise _invalid(
            "to", "must be after from: the range includes its start and excludes its end"
        )
    return begin, end


def parse_query_instant(field: str, text: str | None, reading: ParserOptions) -> datetime | None:
    """Parse an instant in a query. A plus sign of an offset may have arrived as a space.

    Raises:
        InvalidError: The text is not an instant.
    """
    if text is None:
        return None
    try:
        return parse_instant(_PLUS_READ_AS_SPACE.sub(r"\1+\2", text), reading.zone)
    except InstantError as error:
        raise _invalid(field, str(error)) from None


def parse_kind(text: str | None) -> Kind | None:
    """Parse the parameter `type`.

    Raises:
        InvalidError: The text is not a type of transactions.
    """
    if text is None:
        return None
    faults = FaultCollector()
    kind = faults.read("type", _read_kind, text)
    if faults:
        faults.fail()
    return kind


def write_cursor(listing: str, position: int) -> str:
    """Return an opaque cursor for the position after which a list continues. `listing` is the name of the list."""
    return urlsafe_b64encode(f"{listing}:{position}".encode()).decode().rstrip("=")


def read_cursor(listing: str, cursor: str | None) -> int | None:
    """Return the position in a cursor that `write_cursor` created. Return None if there is no cursor.

    Raises:
        InvalidError: The text is not a cursor of this list.
    """
    if cursor is None:
        return None
    try:
        text = urlsafe_b64decode(cursor[:200] + "=" * (-len(cursor[:200]) % 4)).decode("ascii")
        name, _, position = text.rpartition(":")
        if name == listing and _DIGITS.fullmatch(position):
            return min(int(position), USER_ID_MAX)
    except ValueError:
        pass
    raise _invalid("cursor", "must be the next_cursor of a page of this list")


def parse_limit(limit: str | None, default: int, maximum: int) -> int:
    """Parse the parameter `limit`, the number of items on a page.

    Raises:
        InvalidError: The text is not a whole number from 1 to `maximum`.
    """
    if limit is None:
        return min(default, maximum)
    if not _DIGITS.fullmatch(limit) or not 1 <= int(limit) <= maximum:
        raise _invalid("limit", f"must be a whole number from 1 to {maximum}")
    return int(limit)


def parse_shard(text: str | None) -> int | None:
    """Parse the parameter `shard`, a shard of the log.

    Raises:
        InvalidError: The text is not the number of a shard.
    """
    if text is None:
        return None
    if not _DIGITS.fullmatch(text) or int(text) >= SHARDS:
        raise _invalid("shard", f"must be a whole number from 0 to {SHARDS - 1}")
    return int(text)


def parse_after(text: str | None) -> int | None:
    """Parse the parameter `after`, the `seq` of an entry.

    Raises:
        InvalidError: The text is not a whole number, or it is greater than every possible `seq`.
    """
    if text is None:
        return None
    if not (text.isascii() and text.isdigit()):
        raise _invalid("after", "must be a whole number")
    if not _DIGITS.fullmatch(text) or int(text) > SEQ_MAX:
        raise _invalid("after", f"must be at most {SEQ_MAX}")
    return int(text)


def _invalid(field: str, message: str) -> InvalidError:
    return InvalidError([InvalidField(field, message)])


def _collect_uuid(
    faults: FaultCollector, fields: Mapping[str, Any], idempotency_key: str | None
) -> UUID | None:
    """Return the transaction's uuid from the field `uuid` or `uid`, or else from the header."""
    uuid, uid = fields.get("uuid", ABSENT), fields.get("uid", ABSENT)
    if _is_given(uuid) and _is_given(uid):
        return faults.read("uuid", _read_same_uuid, uuid, uid)
    if idempotency_key is not None and not _is_given(uuid) and not _is_given(uid):
        return faults.read(IDEMPOTENCY_KEY, _read_uuid, _unquote(idempotency_key))
    if _is_given(uid) or (uid is None and uuid is ABSENT):
        return faults.read("uid", _read_uuid, uid)
    return faults.read("uuid", _read_uuid, uuid)


def _is_given(value: object) -> bool:
    return value is not ABSENT and value is not None


def _unquote(header: str) -> str:
    """Return a header's value without the double quotes around it, which the IETF draft of the header requires."""
    return header[1:-1] if len(header) > 1 and header[0] == header[-1] == '"' else header


def _read_same_uuid(uuid: object, uid: object) -> UUID:
    if _read_uuid(uuid) != _read_uuid(uid):
        raise FieldError("differs from uid: send one of them")
    return _read_uuid(uuid)


def _read_uuid(value: object) -> UUID:
    if type(value) is not str or not _UUID.fullmatch(value):
        raise FieldError(
            type_message(value, "must be a uuid such as ea3015b1-c25c-47e5-beb7-2679ac7c89a7")
        )
    uuid = UUID(value)
    if uuid.int == 0:
        raise FieldError("must not be the nil uuid: each transaction needs its own uuid")
    return uuid


def _read_kind(value: object) -> Kind:
    kind = KINDS.get(value) if type(value) is str else None
    if kind is None:
        raise FieldError(type_message(value, 'must be "DEPOSIT" or "WITHDRAW"'))
    return kind


def _read_amount(value: object, reading: ParserOptions) -> int:
    if not isinstance(value, str):
        raise FieldError(type_message(value, 'must be a decimal string such as "100.25"'))
    return parse_amount(value, reading.decimals, reading.amount_max_minor)


def _read_user_id(value: object) -> int:
    if not isinstance(value, str) or not _DIGITS.fullmatch(value):
        if isinstance(value, str) and value.isascii() and value.isdigit():
            raise FieldError(f"must be from 1 to {USER_ID_MAX}")
        expectation = "must be a whole number greater than zero, or a string of its digits"
        raise FieldError(type_message(value, expectation))
    user_id = int(value)
    if not 1 <= user_id <= USER_ID_MAX:
        raise FieldError(f"must be from 1 to {USER_ID_MAX}")
    return user_id


def _read_instant(value: object, zone: tzinfo | None) -> datetime:
    if type(value) is not str:
        raise FieldError("must be a string with a date and time")
    return parse_instant(value, zone)
