"""The operations of the API, each described once and without I/O: the request, and how to read the response."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from operator import index
from typing import Any, Final, Generic, NamedTuple, TypeAlias, TypeVar
from uuid import UUID

import msgspec

from saldo.client.errors import SaldoError, UnavailableError, UnexpectedResponseError
from saldo.client.models import (
    Balance,
    Delivery,
    EventType,
    Instant,
    Key,
    Line,
    Page,
    Posted,
    Proof,
    RelayedEventType,
    Scope,
    Seals,
    Transaction,
    TransactionLog,
    TransactionType,
    User,
    Webhook,
)
from saldo.client.payloads import TransactionRequest, encode_array, format_time
from saldo.client.responses import Response, decode_body, parse_outcome

T = TypeVar("T")

JSON: Final = "application/json"
NDJSON: Final = "application/x-ndjson"
BULK_PATH: Final = "/v1/transactions"

Query: TypeAlias = tuple[tuple[str, str], ...]
NO_QUERY: Final[Query] = ()


class RetryRule(Enum):
    """The condition under which a call may be repeated."""

    ALWAYS = "always"
    """The call is repeated after any failed attempt. It only reads, or the service executes it only once."""
    IF_NOT_PROCESSED = "if not processed"
    """The call is repeated only if the service certainly has not processed the last attempt."""


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """A call of one operation.

    Attributes:
        read: Returns the result from a response with a status below 300. It may raise `UnavailableError`, and the call
            is then repeated.
        accepted_statuses: Statuses of 300 and above that are results and not errors.
        uuid: The uuid of the transaction that is posted.
    """

    method: str
    path: str
    read: Callable[[Response], T]
    query: Query = ()
    body: bytes | None = None
    content_type: str = JSON
    retry_rule: RetryRule = RetryRule.ALWAYS
    accepted_statuses: tuple[int, ...] = ()
    uuid: UUID | None = None

    @property
    def is_read(self) -> bool:
        """True if the call only reads."""
        return self.method == "GET"


class Listing(NamedTuple, Generic[T]):
    """A paginated list."""

    path: str
    item: type[T]
    query: Query

    def build_page_call(self, cursor: str | None) -> Call[Page[T]]:
        """Return the call for the page at a cursor; None means the first page."""
        return Call(
            "GET",
            self.path,
            _create_body_decoder(Page[self.item]),  # type: ignore[name-defined]
            _build_query(*self.query, cursor=cursor),
        )


class Unset(Enum):
    """The type of `UNSET`, which means that a field is not changed. None can't mean this, because it is a valid value
    of some fields."""

    UNSET = "unset"


UNSET: Final = Unset.UNSET


def create_user(name: str) -> Call[User]:
    """Return the call that creates a user. A 409 after a lost response sets `NameTakenError.perhaps_ours`."""
    return Call("POST", "/v1/user", _create_body_decoder(User), body=_encode_json({"name": name}))


def user(user_id: int) -> Call[User]:
    return Call("GET", f"/v1/user/{index(user_id)}", _create_body_decoder(User))


def users(name: str | None, limit: int | None) -> Listing[User]:
    return Listing("/v1/user", User, _build_query(name=name, limit=limit))


def balance(
    user_id: int, date: Instant | None, before: Instant | None, known_at: Instant | None
) -> Call[Balance]:
    query = _build_query(
        date=_format_optional_time(date),
        before=_format_optional_time(before),
        known_at=_format_optional_time(known_at),
    )
    requested_id = index(user_id)

    def read(response: Response) -> Balance:
        found = decode_body(response, Balance)
        if found.user_id != requested_id:
            raise _build_wrong_response_error(
                f"the balance of user {found.user_id}, not of {requested_id}"
            )
        return found

    return Call("GET", f"/v1/user/{requested_id}/balance", read, query)


def transactions(
    user_id: int,
    since: Instant | None,
    until: Instant | None,
    type_: TransactionType | None,
    limit: int | None,
    known_at: Instant | None = None,
) -> Listing[Transaction]:
    query = _build_query(
        ("from", _format_optional_time(since)),
        to=_format_optional_time(until),
        type=type_,
        known_at=_format_optional_time(known_at),
        limit=limit,
    )
    return Listing(f"/v1/user/{index(user_id)}/transactions", Transaction, query)


def transaction(uuid: UUID | str, user_id: int | None) -> Call[Transaction]:
    path = f"/v1/transaction/{_parse_uuid(uuid)}"
    return Call("GET", path, _create_body_decoder(Transaction), _build_query(user_id=user_id))


def transaction_log(shard: int, after: int | None, limit: int | None) -> Call[TransactionLog]:
    query = _build_query(shard=shard, after=after, limit=limit)
    return Call("GET", BULK_PATH, _create_body_decoder(TransactionLog), query)


def post(request: TransactionRequest) -> Call[Transaction]:
    uuid = request.uuid

    def read(response: Response) -> Transaction:
        found = decode_body(response, Transaction)
        if found.uuid != uuid:
            raise _build_wrong_response_error(f"transaction {found.uuid}, not {uuid}")
        replayed = response.headers.get("idempotent-replayed") == "true"
        return msgspec.structs.replace(found, replayed=True) if replayed else found

    return Call("POST", "/v1/transaction", read, body=request.encode_body(), uuid=uuid)


def post_many(requests: Iterable[TransactionRequest]) -> Call[list[Posted | SaldoError]]:
    request_list = list(requests)
    uuids = [each.uuid for each in request_list]
    body = encode_array(request_list)
    return Call("POST", BULK_PATH, lambda response: _read_many(response, uuids), body=body)


def post_atomic(requests: Iterable[TransactionRequest]) -> Call[list[Posted]]:
    request_list = list(requests)
    uuids = [each.uuid for each in request_list]
    query, body = (("atomic", "true"),), encode_array(request_list)
    return Call("POST", BULK_PATH, lambda response: _read_atomic(response, uuids), query, body)


def proof(uuid: UUID | str) -> Call[Proof]:
    return Call("GET", f"/v1/proof/{_parse_uuid(uuid)}", _create_document_decoder(Proof))


def seals(shard: int | None, after: int | None, limit: int | None) -> Call[Seals]:
    query = _build_query(shard=shard, after=after, limit=limit)
    return Call("GET", "/v1/seals", _create_document_decoder(Seals), query)


def create_webhook(
    url: str,
    event_types: Iterable[RelayedEventType] | None,
    user_ids: Iterable[int] | None,
    secret: str | None,
) -> Call[Webhook]:
    body = _encode_json(
        {"url": url, "event_types": _list_or_none(event_types), "user_ids": _list_or_none(user_ids)}
        | ({} if secret is None else {"secret": secret})
    )
    return Call(
        "POST",
        "/v1/webhook",
        _create_body_decoder(Webhook),
        body=body,
        retry_rule=RetryRule.IF_NOT_PROCESSED,
    )


def webhook(webhook_id: int) -> Call[Webhook]:
    return Call("GET", _build_webhook_path(webhook_id), _create_body_decoder(Webhook))


def webhooks(limit: int | None) -> Listing[Webhook]:
    return Listing("/v1/webhook", Webhook, _build_query(limit=limit))


def change_webhook(webhook_id: int, changes: Mapping[str, Any]) -> Call[Webhook]:
    """Return the call that changes a webhook.

    The call is not repeated if an attempt may have had an effect. After a change of the secret, deliveries are signed
    with both secrets for a while.
    """
    fields = {name: value for name, value in changes.items() if value is not UNSET}
    body = _encode_json({name: _to_json_value(value) for name, value in fields.items()})
    path = _build_webhook_path(webhook_id)
    return Call(
        "PATCH",
        path,
        _create_body_decoder(Webhook),
        body=body,
        retry_rule=RetryRule.IF_NOT_PROCESSED,
    )


def delete_webhook(webhook_id: int) -> Call[Webhook]:
    """Return the call that deletes a webhook. The call is not repeated, because the repetition would get 404 if the
    first attempt had succeeded."""
    return Call(
        "DELETE",
        _build_webhook_path(webhook_id),
        _create_body_decoder(Webhook),
        retry_rule=RetryRule.IF_NOT_PROCESSED,
    )


def deliveries(webhook_id: int, state: str | None, limit: int | None) -> Listing[Delivery]:
    path = f"{_build_webhook_path(webhook_id)}/deliveries"
    return Listing(path, Delivery, _build_query(state=state, limit=limit))


def replay_deliveries(webhook_id: int, event_id: str | None) -> Call[int]:
    path = f"{_build_webhook_path(webhook_id)}/deliveries/replay"
    body = _encode_json({"event_id": event_id})
    return Call("POST", path, _read_replayed, body=body, retry_rule=RetryRule.IF_NOT_PROCESSED)


def create_key(
    name: str,
    scopes: Iterable[Scope],
    user_ids: Iterable[int] | None,
    networks: Iterable[str] | None,
    expires_at: Instant | None,
) -> Call[Key]:
    body = _encode_json(
        {
            "name": name,
            "scopes": list(scopes),
            "user_ids": _list_or_none(user_ids),
            "networks": _list_or_none(networks),
            "expires_at": _format_optional_time(expires_at),
        }
    )
    return Call(
        "POST",
        "/v1/key",
        _create_body_decoder(Key),
        body=body,
        retry_rule=RetryRule.IF_NOT_PROCESSED,
    )


def key(key_id: int) -> Call[Key]:
    return Call("GET", f"/v1/key/{index(key_id)}", _create_body_decoder(Key))


def keys(limit: int | None) -> Listing[Key]:
    return Listing("/v1/key", Key, _build_query(limit=limit))


def revoke_key(key_id: int) -> Call[Key]:
    return Call("DELETE", f"/v1/key/{index(key_id)}", _create_body_decoder(Key))


def rotate_key(key_id: int, overlap_seconds: int | None) -> Call[Key]:
    path = f"/v1/key/{index(key_id)}/rotate"
    body = _encode_json({"overlap_seconds": overlap_seconds})
    return Call(
        "POST", path, _create_body_decoder(Key), body=body, retry_rule=RetryRule.IF_NOT_PROCESSED
    )


def health(check: str) -> Call[str]:
    """Return the call that reads the state of the service: `ok`, `draining` or `unavailable`, also from a 503."""
    return Call("GET", f"/healthz/{check}", _read_health, accepted_statuses=(503,))


def metrics() -> Call[str]:
    return Call("GET", "/metrics", _read_text)


def openapi() -> Call[dict[str, Any]]:
    return Call("GET", "/openapi.json", _create_body_decoder(dict[str, Any]))


def build_events_query(user_ids: Iterable[int] | None, types: Iterable[EventType] | None) -> Query:
    """Return the query that filters the live stream."""
    users = None if user_ids is None else ",".join(str(index(each)) for each in user_ids)
    return _build_query(user_id=users, type=None if types is None else ",".join(types))


def _create_body_decoder(type_: type[T]) -> Callable[[Response], T]:
    return lambda response: decode_body(response, type_)


def _create_document_decoder(type_: type[T]) -> Callable[[Response], T]:
    """Return a function that decodes a response, and that also stores the response as it was received for
    verification."""

    def read(response: Response) -> T:
        document = decode_body(response, dict[str, Any])
        body = msgspec.json.encode(document | {"document": document})
        return decode_body(response._replace(body=body), type_)

    return read


def _build_wrong_response_error(content: str) -> UnexpectedResponseError:
    return UnexpectedResponseError(
        f"the response belongs to another request: it contains {content}"
    )


def _read_many(response: Response, uuids: Sequence[UUID]) -> list[Posted | SaldoError]:
    """Return an outcome for each uuid, in the order of the uuids.

    Raises:
        UnavailableError: Some items have no outcome yet. All items are sent again, under the same uuids.
        UnexpectedResponseError: The response belongs to other transactions.
    """
    outcomes: list[Posted | SaldoError] = []
    for raw in decode_body(response, list[msgspec.Raw]):
        body = bytes(raw)
        line = decode_body(response, Line, body)
        outcome = parse_outcome(line, body)
        if outcome.retry_reason is not None:
            raise outcome.retry_reason
        position = len(outcomes)
        # The service may be unable to read the uuid of an invalid item.
        if (
            position >= len(uuids)
            or line.line != position + 1
            or line.uuid not in (uuids[position], None)
        ):
            raise UnexpectedResponseError(
                f"line {line.line} of the response belongs to no transaction of the request"
            )
        outcomes.append(outcome.value)
    if len(outcomes) < len(uuids):
        raise UnavailableError("the response ended before its last line")
    return outcomes


def _read_atomic(response: Response, uuids: Sequence[UUID]) -> list[Posted]:
    outcomes = _read_many(response, uuids)
    posted = [each for each in outcomes if isinstance(each, Posted)]
    if len(posted) < len(outcomes):
        raise UnexpectedResponseError(
            "the response to an atomic request says that only some transactions were posted"
        )
    return posted


class _Replayed(msgspec.Struct):
    replayed: int


def _read_replayed(response: Response) -> int:
    return decode_body(response, _Replayed).replayed


def _read_health(response: Response) -> str:
    return str(decode_body(response, dict[str, Any]).get("status", "unavailable"))


def _read_text(response: Response) -> str:
    try:
        return response.body.decode()
    except UnicodeDecodeError as error:
        raise UnexpectedResponseError(f"the response is not text: {error}") from None


def _build_query(*pairs: tuple[str, str | None], **named: object) -> Query:
    """Return the query with the parameters that are not None."""
    every = (*pairs, *named.items())
    return tuple((name, str(value)) for name, value in every if value is not None)


def _encode_json(value: object) -> bytes:
    return msgspec.json.encode(value)


def _format_optional_time(value: Instant | None) -> str | None:
    return None if value is None else format_time(value)


def _parse_uuid(value: UUID | str) -> UUID:
    return value if isinstance(value, UUID) else UUID(value)


def _build_webhook_path(webhook_id: int) -> str:
    return f"/v1/webhook/{index(webhook_id)}"


def _list_or_none(values: Iterable[Any] | None) -> list[Any] | None:
    return None if values is None else list(values)


def _to_json_value(value: Any) -> Any:
    return value if value is None or isinstance(value, str | bool) else list(value)
