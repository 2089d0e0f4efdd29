"""Reading what clients send: leniently in form, exactly in value.

One parser for every route. JSON numbers are kept as the digits the client wrote, so that no amount
passes through a binary float; a key given twice is refused, since readers disagree on which counts.
Before it stands a quick reader of the plain form that nearly every client sends: it takes a body only
when it is sure to read it as the parser would, and leaves all else, every fault too, to the parser.
"""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Any, Final, Literal, NoReturn, TypeAlias, TypeVar
from uuid import UUID

import msgspec

from saldo.ledger.model import SEQ_MAX, SHARDS, USER_ID_MAX, Kind, TransactionRequest
from saldo.ledger.money import MoneyError, parse_amount
from saldo.ledger.time import InstantError, parse_instant

T = TypeVar("T")

TRANSACTION_FIELDS: Final = ("uuid", "uid", "type", "amount", "user_id", "timestamp")
USER_FIELDS: Final = ("name",)

KindName: TypeAlias = Literal["DEPOSIT", "WITHDRAW"]
KIND_NAMES: Final[dict[Kind, KindName]] = {Kind.DEPOSIT: "DEPOSIT", Kind.WITHDRAWAL: "WITHDRAW"}
KINDS: Final[dict[str, Kind]] = {name: kind for kind, name in KIND_NAMES.items()}

_UUID: Final = re.compile(
    r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32}", re.ASCII | re.IGNORECASE
)
_DIGITS: Final = re.compile(r"[0-9]{1,30}", re.ASCII)
_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_PLUS_READ_AS_SPACE: Final = re.compile(
    r"([Tt ]\d\d[:-]\d\d(?:[:-]\d\d(?:[.,]\d+)?)?) (\d\d:?\d\d)", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with a request. `field` is the name the client knows it by."""

    field: str
    message: str


class InvalidError(Exception):
    """The request can't be read; every fault that was found."""

    def __init__(self, faults: list[Fault], uuid: UUID | None = None) -> None:
        super().__init__("; ".join(f"{fault.field} {fault.message}" for fault in faults))
        self.faults = faults
        self.uuid = uuid
        """The transaction's, if that could be read."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How values are read here: the settings that a parser needs."""

    zone: tzinfo | None
    decimals: int
    amount_max_minor: int
    name_length_max: int


class _Number(str):
    """The digits of a JSON number, as written."""

    __slots__ = ()


class _DuplicateError(ValueError):
    pass


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        names = [name for name, _ in pairs]
        raise _DuplicateError(next(name for name in names if names.count(name) > 1))
    return fields


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


_decoder: Final = json.JSONDecoder(
    object_pairs_hook=_object,
    parse_float=_Number,
    parse_int=_Number,
    parse_constant=_refuse_constant,
)


def parse_object(body: bytes) -> dict[str, Any]:
    """The body as a JSON object.

    Raises:
        InvalidError: it is not one.
    """
    value = _parse_json(body)
    if not isinstance(value, dict):
        raise _invalid("body", "must be a JSON object")
    return value


def parse_transactions(
    body: bytes, items_max: int, reading: Reading
) -> list[TransactionRequest | InvalidError]:
    """The transactions of a JSON array, each by itself: one that can't be read leaves the others.

    Raises:
        InvalidError: the body is no such array.
    """
    value = _parse_json(body)
    if not isinstance(value, list):
        raise _invalid("body", "must be a JSON array of transactions")
    if not 1 <= len(value) <= items_max:
        raise _invalid("body", f"must have 1 to {items_max} transactions; stream more as NDJSON")
    items: list[TransactionRequest | InvalidError] = []
    for fields in value:
        try:
            if not isinstance(fields, dict):
                raise _invalid("body", "must be a JSON object")
            items.append(_read_transaction(fields, None, reading))
        except InvalidError as error:
            items.append(error)
    return items


def _parse_json(body: bytes) -> Any:
    try:
        return _decoder.decode(body.decode("utf-8"))
    except UnicodeDecodeError:
        raise _invalid("body", "must be UTF-8") from None
    except _DuplicateError as error:
        raise _invalid(str(error)[:100], "is given twice") from None
    except RecursionError:
        raise _invalid("body", "is nested too deeply") from None
    except ValueError as error:
        raise _invalid("body", f"must be JSON: {error}"[:300]) from None


class _Plain(msgspec.Struct, forbid_unknown_fields=True):
    uuid: UUID
    type: KindName
    amount: str
    user_id: int | str
    timestamp: str | msgspec.UnsetType | None = msgspec.UNSET


_plain_decoder: Final = msgspec.json.Decoder(_Plain)


def read_plain(body: bytes, reading: Reading) -> TransactionRequest | None:
    """The transaction of a body in plain form; None: let the parser look at it."""
    if b"\\" in body:
        return None
    try:
        request, strings = _plain_request(_plain_decoder.decode(body), reading)
    except (msgspec.MsgspecError, ValueError):
        return None
    # Without escapes each string has two quotes: if there are more, a key was given twice.
    return request if body.count(b'"') == 2 * strings else None


def _plain_request(plain: _Plain, reading: Reading) -> tuple[TransactionRequest, int]:
    """The transaction, and how many JSON strings it was written with.

    Raises:
        ValueError: something is wrong with it.
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
    body: bytes, idempotency_key: str | None, reading: Reading
) -> TransactionRequest:
    """The transaction that a body asks for.

    Raises:
        InvalidError: with every fault of it at once.
    """
    plain = read_plain(body, reading)
    if plain is not None:
        return plain
    return _read_transaction(parse_object(body), idempotency_key, reading)


def _read_transaction(
    fields: Mapping[str, Any], idempotency_key: str | None, reading: Reading
) -> TransactionRequest:
    faults = _unknown(fields, TRANSACTION_FIELDS)
    uuid = _collect(faults, "uuid", _read_uuid_of, fields, idempotency_key)
    kind = _collect(faults, "type", _read_kind, fields.get("type"))
    amount = _collect(faults, "amount", _read_amount, fields.get("amount"), reading)
    user_id = _collect(faults, "user_id", _read_user_id, fields.get("user_id"))
    timestamp = None
    if fields.get("timestamp") is not None:
        timestamp = _collect(faults, "timestamp", _read_instant, fields["timestamp"], reading.zone)
    if faults or uuid is None or kind is None or amount is None or user_id is None:
        raise InvalidError(faults, uuid)
    return TransactionRequest(uuid, user_id, amount if kind is Kind.DEPOSIT else -amount, timestamp)


def parse_name(body: bytes, reading: Reading) -> str:
    """The name of a user to create, trimmed.

    Raises:
        InvalidError: there is none, or it can't be one.
    """
    fields = parse_object(body)
    faults = _unknown(fields, USER_FIELDS)
    name = _collect(faults, "name", _read_name, fields.get("name"), reading)
    if faults or name is None:
        raise InvalidError(faults)
    return name


def parse_user_name(value: object, reading: Reading) -> str:
    """A user's name, trimmed."""
    faults: list[Fault] = []
    name = _collect(faults, "name", _read_name, value, reading)
    if name is None:
        raise InvalidError(faults)
    return name


def parse_uuid(text: str) -> UUID:
    """The uuid of a path."""
    faults: list[Fault] = []
    uuid = _collect(faults, "uuid", _read_uuid, text)
    if uuid is None:
        raise InvalidError(faults)
    return uuid


def parse_user_id(text: str) -> int:
    """The user id of a path. One past every id there can be stays one that nobody has."""
    if not _DIGITS.fullmatch(text):
        raise _invalid("user_id", "must be a whole number greater than zero")
    return min(int(text), USER_ID_MAX)


def parse_query_instant(field: str, text: str | None, reading: Reading) -> datetime | None:
    """An instant of the query. A plus sign that arrives as a space is read as meant."""
    if text is None:
        return None
    try:
        return parse_instant(_PLUS_READ_AS_SPACE.sub(r"\1+\2", text), reading.zone)
    except InstantError as error:
        raise _invalid(field, str(error)) from None


def parse_kind(text: str | None) -> Kind | None:
    """The `type` of a query."""
    if text is None:
        return None
    faults: list[Fault] = []
    kind = _collect(faults, "type", _read_kind, text)
    if faults:
        raise InvalidError(faults)
    return kind


def write_cursor(listing: str, position: int) -> str:
    """The place to go on at, opaque to clients. `listing` keeps one list's cursor from another's."""
    return urlsafe_b64encode(f"{listing}:{position}".encode()).decode().rstrip("=")


def read_cursor(listing: str, cursor: str | None) -> int | None:
    """What `write_cursor` wrote.

    Raises:
        InvalidError: it is not a cursor of this listing.
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
    raise _invalid("cursor", "must be a next_cursor of this list")


def parse_limit(limit: str | None, default: int, maximum: int) -> int:
    """How many items of a list."""
    if limit is None:
        return min(default, maximum)
    if not _DIGITS.fullmatch(limit) or not 1 <= int(limit) <= maximum:
        raise _invalid("limit", f"must be a whole number from 1 to {maximum}")
    return int(limit)


def parse_shard(text: str | None) -> int | None:
    """A shard of the log."""
    if text is None:
        return None
    if not _DIGITS.fullmatch(text) or int(text) >= SHARDS:
        raise _invalid("shard", f"must be a whole number from 0 to {SHARDS - 1}")
    return int(text)


def parse_after(text: str | None) -> int | None:
    """A position of a shard's log. One past every position there can be stays one that has nothing after it."""
    if text is None:
        return None
    if not _DIGITS.fullmatch(text):
        raise _invalid("after", "must be a whole number")
    return min(int(text), SEQ_MAX)


def _invalid(field: str, message: str) -> InvalidError:
    return InvalidError([Fault(field, message)])


class _FaultError(ValueError):
    pass


def _collect(faults: list[Fault], field: str, read: Callable[..., T], *arguments: Any) -> T | None:
    try:
        return read(*arguments)
    except (_FaultError, MoneyError, InstantError) as error:
        faults.append(Fault(field, str(error)))
        return None


def _missing_or(value: object, expected: str) -> str:
    return f"is missing: it {expected}" if value is None else expected


def _unknown(fields: Mapping[str, Any], known: tuple[str, ...]) -> list[Fault]:
    """A misspelt field must not be skipped in silence: it may have been the timestamp."""
    message = f"is not a field of this request; there are {', '.join(known)}"
    return [Fault(name[:100], message) for name in fields if name not in known]


def _read_name(value: object, reading: Reading) -> str:
    if type(value) is not str:
        raise _FaultError(_missing_or(value, "must be a string"))
    # Before it is trimmed: some of them count as space.
    if _UNPRINTABLE.search(value):
        raise _FaultError("must not contain control characters")
    name = value.strip()
    if not 1 <= len(name) <= reading.name_length_max:
        raise _FaultError(f"must have 1 to {reading.name_length_max} characters")
    return name


def _read_uuid_of(fields: Mapping[str, Any], idempotency_key: str | None) -> UUID:
    uuid, uid = fields.get("uuid"), fields.get("uid")
    if uuid is None and uid is None:
        return _read_uuid(idempotency_key)
    if uuid is None or uid is None:
        return _read_uuid(uid if uuid is None else uuid)
    if _read_uuid(uuid) != _read_uuid(uid):
        raise _FaultError("differs from uid: give one of them")
    return _read_uuid(uuid)


def _read_uuid(value: object) -> UUID:
    if type(value) is not str or not _UUID.fullmatch(value):
        raise _FaultError(
            _missing_or(value, "must be a uuid such as ea3015b1-c25c-47e5-beb7-2679ac7c89a7")
        )
    uuid = UUID(value)
    if uuid.int == 0:
        raise _FaultError("must not be the nil uuid: each transaction needs one of its own")
    return uuid


def _read_kind(value: object) -> Kind:
    kind = KINDS.get(value) if type(value) is str else None
    if kind is None:
        raise _FaultError(_missing_or(value, 'must be "DEPOSIT" or "WITHDRAW"'))
    return kind


def _read_amount(value: object, reading: Reading) -> int:
    if not isinstance(value, str):
        raise _FaultError(_missing_or(value, 'must be a decimal string such as "100.25"'))
    return parse_amount(value, reading.decimals, reading.amount_max_minor)


def _read_user_id(value: object) -> int:
    expected = "must be a whole number greater than zero, or a string of its digits"
    if not isinstance(value, str) or not _DIGITS.fullmatch(value):
        raise _FaultError(_missing_or(value, expected))
    user_id = int(value)
    if not 1 <= user_id <= USER_ID_MAX:
        raise _FaultError(f"must be from 1 to {USER_ID_MAX}")
    return user_id


def _read_instant(value: object, zone: tzinfo | None) -> datetime:
    if type(value) is not str:
        raise _FaultError("must be a string with a date and time")
    return parse_instant(value, zone)
