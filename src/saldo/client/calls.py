"""Every call of the API, described once and without any I/O: what to send, and how to read the answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from operator import index
from typing import Any, Final, Generic, NamedTuple, TypeAlias, TypeVar
from uuid import UUID

import msgspec

from saldo.client.answers import Answer, decoded, outcome_of
from saldo.client.errors import SaldoError, UnavailableError, UnexpectedAnswerError
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
from saldo.client.requests import Request, written_array, written_instant

T = TypeVar("T")

JSON: Final = "application/json"
NDJSON: Final = "application/x-ndjson"
BULK_PATH: Final = "/v1/transactions"

Query: TypeAlias = tuple[tuple[str, str], ...]
NO_QUERY: Final[Query] = ()


class Repeat(Enum):
    """When a call may be sent again."""

    ALWAYS = "whatever became of the last attempt: it is a question, or has an effect once only"
    UNDONE = "if it is sure that the last attempt has done nothing"


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One call.

    Attributes:
        read: the result, of an answer with a status below 300. May raise `UnavailableError`: then it is asked again.
        also: statuses from 300 on that are results, too.
        uuid: of the transaction that is posted.
    """

    method: str
    path: str
    read: Callable[[Answer], T]
    query: Query = ()
    body: bytes | None = None
    content_type: str = JSON
    repeat: Repeat = Repeat.ALWAYS
    also: tuple[int, ...] = ()
    uuid: UUID | None = None

    @property
    def asks(self) -> bool:
        """Whether it leaves nothing behind."""
        return self.method == "GET"


class Listing(NamedTuple, Generic[T]):
    """A list in pages."""

    path: str
    item: type[T]
    query: Query

    def page(self, cursor: str | None) -> Call[Page[T]]:
        """The page at a cursor; None: the first."""
        return Call("GET", self.path, _reads(Page[self.item]), _query(*self.query, cursor=cursor))  # type: ignore[name-defined]


class Unset(Enum):
    """Stands for what is not to be changed, where None has a meaning of its own."""

    UNSET = "unset"


UNSET: Final = Unset.UNSET


def create_user(name: str) -> Call[User]:
    """409 after an attempt whose answer was lost: `NameTakenError.perhaps_ours`."""
    return Call("POST", "/v1/user", _reads(User), body=_json({"name": name}))


def user(user_id: int) -> Call[User]:
    return Call("GET", f"/v1/user/{index(user_id)}", _reads(User))


def users(name: str | None, limit: int | None) -> Listing[User]:
    return Listing("/v1/user", User, _query(name=name, limit=limit))


def balance(
    user_id: int, date: Instant | None, before: Instant | None, known_at: Instant | None
) -> Call[Balance]:
    query = _query(date=_instant(date), before=_instant(before), known_at=_instant(known_at))
    wanted = index(user_id)

    def read(answer: Answer) -> Balance:
        found = decoded(answer, Balance)
        if found.user_id != wanted:
            raise _of_another_call(f"the balance of user {found.user_id}, not of {wanted}")
        return found

    return Call("GET", f"/v1/user/{wanted}/balance", read, query)


def transactions(
    user_id: int,
    since: Instant | None,
    until: Instant | None,
    type_: TransactionType | None,
    limit: int | None,
    known_at: Instant | None = None,
) -> Listing[Transaction]:
    query = _query(
        ("from", _instant(since)),
        to=_instant(until),
        type=type_,
        known_at=_instant(known_at),
        limit=limit,
    )
    return Listing(f"/v1/user/{index(user_id)}/transactions", Transaction, query)


def transaction(uuid: UUID | str, user_id: int | None) -> Call[Transaction]:
    path = f"/v1/transaction/{_uuid(uuid)}"
    return Call("GET", path, _reads(Transaction), _query(user_id=user_id))


def transaction_log(shard: int, after: int | None, limit: int | None) -> Call[TransactionLog]:
    query = _query(shard=shard, after=after, limit=limit)
    return Call("GET", BULK_PATH, _reads(TransactionLog), query)


def post(request: Request) -> Call[Transaction]:
    uuid = request.uuid

    def read(answer: Answer) -> Transaction:
        found = decoded(answer, Transaction)
        if found.uuid != uuid:
            raise _of_another_call(f"transaction {found.uuid}, not {uuid}")
        replayed = answer.headers.get("idempotent-replayed") == "true"
        return msgspec.structs.replace(found, replayed=True) if replayed else found

    return Call("POST", "/v1/transaction", read, body=request.body(), uuid=uuid)


def post_many(requests: Iterable[Request]) -> Call[list[Posted | SaldoError]]:
    given = list(requests)
    uuids = [each.uuid for each in given]
    body = written_array(given)
    return Call("POST", BULK_PATH, lambda answer: _read_many(answer, uuids), body=body)


def post_atomic(requests: Iterable[Request]) -> Call[list[Posted]]:
    given = list(requests)
    uuids = [each.uuid for each in given]
    query, body = (("atomic", "true"),), written_array(given)
    return Call("POST", BULK_PATH, lambda answer: _read_atomic(answer, uuids), query, body)


def proof(uuid: UUID | str) -> Call[Proof]:
    return Call("GET", f"/v1/proof/{_uuid(uuid)}", _reads_document(Proof))


def seals(shard: int | None, after: int | None, limit: int | None) -> Call[Seals]:
    query = _query(shard=shard, after=after, limit=limit)
    return Call("GET", "/v1/seals", _reads_document(Seals), query)


def create_webhook(
    url: str,
    event_types: Iterable[RelayedEventType] | None,
    user_ids: Iterable[int] | None,
    secret: str | None,
) -> Call[Webhook]:
    body = _json(
        {"url": url, "event_types": _list(event_types), "user_ids": _list(user_ids)}
        | ({} if secret is None else {"secret": secret})
    )
    return Call("POST", "/v1/webhook", _reads(Webhook), body=body, repeat=Repeat.UNDONE)


def webhook(webhook_id: int) -> Call[Webhook]:
    return Call("GET", _webhook(webhook_id), _reads(Webhook))


def webhooks(limit: int | None) -> Listing[Webhook]:
    return Listing("/v1/webhook", Webhook, _query(limit=limit))


def change_webhook(webhook_id: int, changes: Mapping[str, Any]) -> Call[Webhook]:
    """The secret before goes on to sign for a while: repeated, that would be the new one. So it is not repeated."""
    given = {name: value for name, value in changes.items() if value is not UNSET}
    body = _json({name: _plain(value) for name, value in given.items()})
    path = _webhook(webhook_id)
    return Call("PATCH", path, _reads(Webhook), body=body, repeat=Repeat.UNDONE)


def delete_webhook(webhook_id: int) -> Call[Webhook]:
    """Repeated, it would not be found."""
    return Call("DELETE", _webhook(webhook_id), _reads(Webhook), repeat=Repeat.UNDONE)


def deliveries(webhook_id: int, state: str | None, limit: int | None) -> Listing[Delivery]:
    path = f"{_webhook(webhook_id)}/deliveries"
    return Listing(path, Delivery, _query(state=state, limit=limit))


def replay_deliveries(webhook_id: int, event_id: str | None) -> Call[int]:
    path = f"{_webhook(webhook_id)}/deliveries/replay"
    body = _json({"event_id": event_id})
    return Call("POST", path, _read_replayed, body=body, repeat=Repeat.UNDONE)


def create_key(
    name: str,
    scopes: Iterable[Scope],
    user_ids: Iterable[int] | None,
    networks: Iterable[str] | None,
    expires_at: Instant | None,
) -> Call[Key]:
    body = _json(
        {
            "name": name,
            "scopes": list(scopes),
            "user_ids": _list(user_ids),
            "networks": _list(networks),
            "expires_at": _instant(expires_at),
        }
    )
    return Call("POST", "/v1/key", _reads(Key), body=body, repeat=Repeat.UNDONE)


def key(key_id: int) -> Call[Key]:
    return Call("GET", f"/v1/key/{index(key_id)}", _reads(Key))


def keys(limit: int | None) -> Listing[Key]:
    return Listing("/v1/key", Key, _query(limit=limit))


def revoke_key(key_id: int) -> Call[Key]:
    return Call("DELETE", f"/v1/key/{index(key_id)}", _reads(Key))


def rotate_key(key_id: int, overlap_seconds: int | None) -> Call[Key]:
    path = f"/v1/key/{index(key_id)}/rotate"
    body = _json({"overlap_seconds": overlap_seconds})
    return Call("POST", path, _reads(Key), body=body, repeat=Repeat.UNDONE)


def health(what: str) -> Call[str]:
    """`ok`, `draining` or `unavailable`: an answer of 503 is one, too."""
    return Call("GET", f"/healthz/{what}", _read_health, also=(503,))


def metrics() -> Call[str]:
    return Call("GET", "/metrics", _read_text)


def openapi() -> Call[dict[str, Any]]:
    return Call("GET", "/openapi.json", _reads(dict[str, Any]))


def events_query(user_ids: Iterable[int] | None, types: Iterable[EventType] | None) -> Query:
    """What the live stream is filtered by."""
    users = None if user_ids is None else ",".join(str(index(each)) for each in user_ids)
    return _query(user_id=users, type=None if types is None else ",".join(types))


def _reads(type_: type[T]) -> Callable[[Answer], T]:
    return lambda answer: decoded(answer, type_)


def _reads_document(type_: type[T]) -> Callable[[Answer], T]:
    """With the answer as it came, which is what is verified."""

    def read(answer: Answer) -> T:
        document = decoded(answer, dict[str, Any])
        body = msgspec.json.encode(document | {"document": document})
        return decoded(answer._replace(body=body), type_)

    return read


def _of_another_call(what: str) -> UnexpectedAnswerError:
    return UnexpectedAnswerError(f"the answer is to another call: it is about {what}")


def _read_many(answer: Answer, uuids: Sequence[UUID]) -> list[Posted | SaldoError]:
    """An outcome for each uuid, in their order.

    Raises:
        UnavailableError: some are to be sent again: all are, under their uuids.
        UnexpectedAnswerError: it is about others.
    """
    outcomes: list[Posted | SaldoError] = []
    for body in answer.body.splitlines():
        line = decoded(answer, Line, body)
        outcome = outcome_of(line, body)
        if outcome.again is not None:
            raise outcome.again
        place = len(outcomes)
        # Of a wrong one the service may not be able to read the uuid.
        if place >= len(uuids) or line.line != place + 1 or line.uuid not in (uuids[place], None):
            raise UnexpectedAnswerError(
                f"line {line.line} of the answer is of no transaction that was sent"
            )
        outcomes.append(outcome.value)
    if len(outcomes) < len(uuids):
        raise UnavailableError("the answer ended before its last line")
    return outcomes


def _read_atomic(answer: Answer, uuids: Sequence[UUID]) -> list[Posted]:
    outcomes = _read_many(answer, uuids)
    posted = [each for each in outcomes if isinstance(each, Posted)]
    if len(posted) < len(outcomes):
        raise UnexpectedAnswerError("of all or nothing the answer says that some were posted")
    return posted


class _Replayed(msgspec.Struct):
    replayed: int


def _read_replayed(answer: Answer) -> int:
    return decoded(answer, _Replayed).replayed


def _read_health(answer: Answer) -> str:
    return str(decoded(answer, dict[str, Any]).get("status", "unavailable"))


def _read_text(answer: Answer) -> str:
    try:
        return answer.body.decode()
    except UnicodeDecodeError as error:
        raise UnexpectedAnswerError(f"the answer is no text: {error}") from None


def _query(*pairs: tuple[str, str | None], **named: object) -> Query:
    """Those that are given."""
    every = (*pairs, *named.items())
    return tuple((name, str(value)) for name, value in every if value is not None)


def _json(value: object) -> bytes:
    return msgspec.json.encode(value)


def _instant(value: Instant | None) -> str | None:
    return None if value is None else written_instant(value)


def _uuid(value: UUID | str) -> UUID:
    return value if isinstance(value, UUID) else UUID(value)


def _webhook(webhook_id: int) -> str:
    return f"/v1/webhook/{index(webhook_id)}"


def _list(values: Iterable[Any] | None) -> list[Any] | None:
    return None if values is None else list(values)


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, str | bool) else list(value)
