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
from saldo.parsing.faults import FaultCollector, FieldError, InvalidField, InvalidRequestError
from saldo.parsing.fields import parse_label
from saldo.parsing.json_body import (
    ABSENT,
    FIELDS_MAX,
    JsonError,
    describe_type_fault,
    parse_json,
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
        InvalidRequestError: The body is not a JSON object.
    """
    value = _parse_json(body)
    if not isinstance(value, dict):
        raise _build_error("body", "must be a JSON object")
    return value


def parse_transactions(
    body: bytes, items_max: int, options: ParserOptions
) -> list[TransactionRequest | InvalidRequestError]:
    """Parse the transactions of a JSON array.

    Returns:
        For each item its transaction request, or its error. An invalid item does not affect other items.

    Raises:
        InvalidRequestError: The body is not an array of 1 to `items_max` items.
    """
    value = _parse_json(body, separators_max=items_max * (FIELDS_MAX + 1))
    if not isinstance(value, list):
        raise _build_error("body", "must be a JSON array of transactions")
    if not 1 <= len(value) <= items_max:
        raise _build_error(
            "body", f"must have 1 to {items_max} transactions; send more as a stream (NDJSON)"
        )
    items: list[TransactionRequest | InvalidRequestError] = []
    for fields in value:
        try:
            if not isinstance(fields, dict):
                raise _build_error("body", "must be a JSON object")
            items.append(_parse_transaction_fields(fields, None, options))
        except InvalidRequestError as error:
            items.append(error)
    return items


def _parse_json(body: bytes, separators_max: int | None = None) -> Any:
    try:
        return parse_json(body, separators_max)
    except JsonError as error:
        raise _build_error(error.field, str(error)) from None


class _FastTransaction(msgspec.Struct, forbid_unknown_fields=True):
    uuid: UUID
    type: KindName
    amount: str
    user_id: int | str
    timestamp: str | msgspec.UnsetType | None = msgspec.UNSET


_plain_decoder: Final = msgspec.json.Decoder(_FastTransaction)


def parse_fast_path(body: bytes, options: ParserOptions) -> TransactionRequest | None:
    """Parse a body in the plain form. Return None for all other bodies, which the parser must read."""
    if b"\\" in body:
        return None
    try:
        request, strings = _convert_fast_transaction(_plain_decoder.decode(body), options)
    except (msgspec.MsgspecError, ValueError):
        return None
    # Without escapes each string has two quotes. If there are more, a key was given twice.
    return request if body.count(b'"') == 2 * strings else None


def _convert_fast_transaction(
    transaction: _FastTransaction, options: ParserOptions
) -> tuple[TransactionRequest, int]:
    """Return the transaction request, and the number of JSON strings in its body.

    Raises:
        ValueError: A value is invalid.
    """
    strings = 7
    user_id = transaction.user_id
    if isinstance(user_id, str):
        user_id = _parse_user_id_field(user_id)
        strings += 1
    timestamp = None
    if transaction.timestamp is not msgspec.UNSET:
        strings += 1
        if transaction.timestamp is not None:
            timestamp = parse_instant(transaction.timestamp, options.zone)
            strings += 1
    amount = parse_amount(transaction.amount, options.decimals, options.amount_max_minor)
    if not transaction.uuid.int or not 1 <= user_id <= USER_ID_MAX:
        raise ValueError
    signed = amount if transaction.type == "DEPOSIT" else -amount
    return TransactionRequest(transaction.uuid, user_id, signed, timestamp), strings


def parse_transaction(
    body: bytes, idempotency_key: str | None, options: ParserOptions
) -> TransactionRequest:
    """Parse a request to post a transaction.

    Args:
        idempotency_key: Value of the header `Idempotency-Key`, or None if it is missing.

    Raises:
        InvalidRequestError: The request is invalid. The error contains every fault.
    """
    plain = parse_fast_path(body, options)
    if plain is not None:
        return plain
    return _parse_transaction_fields(parse_object(body), idempotency_key, options)


def _parse_transaction_fields(
    fields: Mapping[str, Any], idempotency_key: str | None, options: ParserOptions
) -> TransactionRequest:
    faults = FaultCollector()
    faults.check_fields(fields, TRANSACTION_FIELDS)
    uuid = _collect_uuid(faults, fields, idempotency_key)
    kind = faults.parse("type", _parse_kind_field, fields.get("type", ABSENT))
    amount = faults.parse("amount", _parse_amount_field, fields.get("amount", ABSENT), options)
    user_id = faults.parse("user_id", _parse_user_id_field, fields.get("user_id", ABSENT))
    timestamp = None
    if fields.get("timestamp") is not None:
        timestamp = faults.parse(
            "timestamp", _parse_instant_field, fields["timestamp"], options.zone
        )
    if faults or uuid is None or kind is None or amount is None or user_id is None:
        faults.raise_error(uuid)
    return TransactionRequest(uuid, user_id, amount if kind is Kind.DEPOSIT else -amount, timestamp)


def parse_name(body: bytes, options: ParserOptions) -> str:
    """Parse a request to create a user, and return the name, normalized by `saldo.ledger.names`.

    Raises:
        InvalidRequestError: The name is missing or invalid, or there are other fields.
    """
    fields = parse_object(body)
    faults = FaultCollector()
    faults.check_fields(fields, USER_FIELDS)
    name = faults.parse("name", parse_label, fields.get("name", ABSENT), options.name_length_max)
    if faults or name is None:
        faults.raise_error()
    return name


def parse_user_name(value: object, options: ParserOptions) -> str:
    """Return a user's name, normalized by `saldo.ledger.names`.

    Raises:
        InvalidRequestError: The value is not a valid name.
    """
    faults = FaultCollector()
    name = faults.parse("name", parse_label, value, options.name_length_max)
    if name is None:
        faults.raise_error()
    return name


def parse_uuid(text: str) -> UUID:
    """Parse the uuid in a path.

    Raises:
        InvalidRequestError: The text is not a valid uuid.
    """
    faults = FaultCollector()
    uuid = faults.parse("uuid", _parse_uuid_field, text)
    if uuid is None:
        faults.raise_error()
    return uuid


def parse_user_id(text: str) -> int:
    """Parse the user id in a path or a query. The id may be greater than any that exists.

    Raises:
        InvalidRequestError: The text is not a whole number, or it has more than 30 digits.
    """
    return parse_id("user_id", text)


def parse_id(field: str, text: str) -> int:
    """Parse an id in a path or a query.

    The id isn't limited to `USER_ID_MAX`, so that responses can repeat the id as it was given.

    Raises:
        InvalidRequestError: The text is not a whole number, or it has more than 30 digits.
    """
    if _DIGITS.fullmatch(text):
        return int(text)
    if text.isascii() and text.isdigit():
        raise _build_error(field, f"must be at most {USER_ID_MAX}")
    raise _build_error(field, "must be a whole number greater than zero")


def parse_page_position(field: str, text: str) -> int:
    """Parse the position after which a list continues. `USER_ID_MAX` replaces a greater position.

    Raises:
        InvalidRequestError: The text is not a whole number, or it has more than 30 digits.
    """
    return min(parse_id(field, text), USER_ID_MAX)


def parse_range(
    since: str | None, until: str | None, options: ParserOptions
) -> tuple[datetime | None, datetime | None]:
    """Parse the parameters `from` and `to` as the bounds of a half-open range.

    Raises:
        InvalidRequestError: A bound is not an instant, or the range is empty because it doesn't end after its start.
    """
    begin = parse_query_instant("from", since, options)
    end = parse_query_instant("to", until, options)
    if begin is not None and end is not None and begin >= end:
        raise _build_error(
            "to", "must be after from: the range includes its start and excludes its end"
        )
    return begin, end


def parse_query_instant(field: str, text: str | None, options: ParserOptions) -> datetime | None:
    """Parse an instant in a query. A plus sign of an offset may have arrived as a space.

    Raises:
        InvalidRequestError: The text is not an instant.
    """
    if text is None:
        return None
    try:
        return parse_instant(_PLUS_READ_AS_SPACE.sub(r"\1+\2", text), options.zone)
    except InstantError as error:
        raise _build_error(field, str(error)) from None


def parse_kind(text: str | None) -> Kind | None:
    """Parse the parameter `type`.

    Raises:
        InvalidRequestError: The text is not a type of transactions.
    """
    if text is None:
        return None
    faults = FaultCollector()
    kind = faults.parse("type", _parse_kind_field, text)
    if faults:
        faults.raise_error()
    return kind


def format_cursor(listing: str, position: int) -> str:
    """Return an opaque cursor for the position after which a list continues. `listing` is the name of the list."""
    return urlsafe_b64encode(f"{listing}:{position}".encode()).decode().rstrip("=")


def parse_cursor(listing: str, cursor: str | None) -> int | None:
    """Return the position in a cursor that `format_cursor` created. Return None if there is no cursor.

    Raises:
        InvalidRequestError: The text is not a cursor of this list.
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
    raise _build_error("cursor", "must be the next_cursor of a page of this list")


def parse_limit(limit: str | None, default: int, maximum: int) -> int:
    """Parse the parameter `limit`, the number of items on a page.

    Raises:
        InvalidRequestError: The text is not a whole number from 1 to `maximum`.
    """
    if limit is None:
        return min(default, maximum)
    if not _DIGITS.fullmatch(limit) or not 1 <= int(limit) <= maximum:
        raise _build_error("limit", f"must be a whole number from 1 to {maximum}")
    return int(limit)


def parse_shard(text: str | None) -> int | None:
    """Parse the parameter `shard`, a shard of the log.

    Raises:
        InvalidRequestError: The text is not the number of a shard.
    """
    if text is None:
        return None
    if not _DIGITS.fullmatch(text) or int(text) >= SHARDS:
        raise _build_error("shard", f"must be a whole number from 0 to {SHARDS - 1}")
    return int(text)


def parse_after(text: str | None) -> int | None:
    """Parse the parameter `after`, the `seq` of an entry.

    Raises:
        InvalidRequestError: The text is not a whole number, or it is greater than every possible `seq`.
    """
    if text is None:
        return None
    if not (text.isascii() and text.isdigit()):
        raise _build_error("after", "must be a whole number")
    if not _DIGITS.fullmatch(text) or int(text) > SEQ_MAX:
        raise _build_error("after", f"must be at most {SEQ_MAX}")
    return int(text)


def _build_error(field: str, message: str) -> InvalidRequestError:
    return InvalidRequestError([InvalidField(field, message)])


def _collect_uuid(
    faults: FaultCollector, fields: Mapping[str, Any], idempotency_key: str | None
) -> UUID | None:
    """Return the transaction's uuid from the field `uuid` or `uid`, or else from the header."""
    uuid, uid = fields.get("uuid", ABSENT), fields.get("uid", ABSENT)
    if _is_present(uuid) and _is_present(uid):
        return faults.parse("uuid", _parse_same_uuid, uuid, uid)
    if idempotency_key is not None and not _is_present(uuid) and not _is_present(uid):
        return faults.parse(IDEMPOTENCY_KEY, _parse_uuid_field, _unquote(idempotency_key))
    if _is_present(uid) or (uid is None and uuid is ABSENT):
        return faults.parse("uid", _parse_uuid_field, uid)
    return faults.parse("uuid", _parse_uuid_field, uuid)


def _is_present(value: object) -> bool:
    return value is not ABSENT and value is not None


def _unquote(header: str) -> str:
    """Return a header's value without the double quotes around it, which the IETF draft of the header requires."""
    return header[1:-1] if len(header) > 1 and header[0] == header[-1] == '"' else header


def _parse_same_uuid(uuid: object, uid: object) -> UUID:
    if _parse_uuid_field(uuid) != _parse_uuid_field(uid):
        raise FieldError("differs from uid: send only one of them")
    return _parse_uuid_field(uuid)


def _parse_uuid_field(value: object) -> UUID:
    if type(value) is not str or not _UUID.fullmatch(value):
        raise FieldError(
            describe_type_fault(
                value, "must be a uuid such as ea3015b1-c25c-47e5-beb7-2679ac7c89a7"
            )
        )
    uuid = UUID(value)
    if uuid.int == 0:
        raise FieldError("must not be the nil uuid: each transaction needs its own uuid")
    return uuid


def _parse_kind_field(value: object) -> Kind:
    kind = KINDS.get(value) if type(value) is str else None
    if kind is None:
        raise FieldError(describe_type_fault(value, 'must be "DEPOSIT" or "WITHDRAW"'))
    return kind


def _parse_amount_field(value: object, options: ParserOptions) -> int:
    if not isinstance(value, str):
        raise FieldError(describe_type_fault(value, 'must be a decimal string such as "100.25"'))
    return parse_amount(value, options.decimals, options.amount_max_minor)


def _parse_user_id_field(value: object) -> int:
    if not isinstance(value, str) or not _DIGITS.fullmatch(value):
        if isinstance(value, str) and value.isascii() and value.isdigit():
            raise FieldError(f"must be from 1 to {USER_ID_MAX}")
        expectation = "must be a whole number greater than zero, or a string of its digits"
        raise FieldError(describe_type_fault(value, expectation))
    user_id = int(value)
    if not 1 <= user_id <= USER_ID_MAX:
        raise FieldError(f"must be from 1 to {USER_ID_MAX}")
    return user_id


def _parse_instant_field(value: object, zone: tzinfo | None) -> datetime:
    if type(value) is not str:
        raise FieldError("must be a string with a date and time")
    return parse_instant(value, zone)
