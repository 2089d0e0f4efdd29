"""The routes. Each handler reads, asks the reader or the engine, and writes; no rule lives here."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from litestar import Request, Response, get, post
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Example
from litestar.types import ASGIApp

from saldo import __version__
from saldo.http import problems, schemas
from saldo.http.access import admission_of, covering, covering_all
from saldo.http.answers import Answer, transaction_answer
from saldo.http.examples import BODY, READING, problem_specs
from saldo.http.figures import figures_of
from saldo.http.operations import (
    Documented,
    GetEvents,
    PostTransaction,
    PostTransactions,
    PostUser,
)
from saldo.http.paging import page_of
from saldo.http.parameters import (
    Atomic,
    Before,
    Cursor,
    Date,
    EventsFrom,
    EventTypes,
    EventUsers,
    KindName,
    KnownAt,
    LastEventId,
    Limit,
    LogAfter,
    LogShard,
    Name,
    OfUser,
    Since,
    Until,
    UserId,
    Uuid,
)
from saldo.http.service import Service
from saldo.http.transactions import is_json, unsupported_media_type
from saldo.http.wire import (
    Fault,
    InvalidError,
    parse_after,
    parse_kind,
    parse_limit,
    parse_name,
    parse_query_instant,
    parse_shard,
    parse_user_id,
    parse_user_name,
    read_cursor,
    write_cursor,
)
from saldo.ledger.money import format_money
from saldo.ledger.time import MICROSECOND, format_instant
from saldo.observability.exposition import exposition
from saldo.relay.events import EVENT_TYPES
from saldo.store.errors import StoreError
from saldo.store.reader import KnownTooNewError, Transaction, User

OPEN_TO_ALL: list[dict[str, list[str]]] = [{}]
"""In the OpenAPI document, of what needs no key."""

KNOWN_TOO_NEW = Fault("known_at", "must be in the past: its answer could still change")

Asked = Request[Any, Any, State]
Given = NamedDependency[Service]


def response(answer: Answer) -> Response[bytes]:
    """A whole answer as the framework sends it."""
    return Response(
        answer.body,
        status_code=answer.status,
        media_type=answer.media_type,
        headers=dict(answer.headers),
    )


def request_id(request: Request[Any, Any, Any]) -> str:
    """The id that the front gave this request."""
    return str(request.scope.get("state", {}).get("request_id", ""))


async def json_of(request: Asked) -> bytes:
    """The body, which must be JSON.

    Raises:
        AnswerError: the client says that it is something else.
    """
    content_type = request.headers.get("content-type", "")
    if not is_json(content_type):
        raise AnswerError(unsupported_media_type(content_type, request_id(request)))
    return await request.body()


@post(
    "/v1/transaction",
    status_code=200,
    summary="Deposit or withdraw",
    tags=["transactions"],
    operation_class=PostTransaction,
    responses={
        200: ResponseSpec(
            schemas.Transaction, description="Posted, or posted before.", generate_examples=False
        ),
        **problem_specs(
            *("insufficient_funds", "balance_above_maximum", "uuid_conflict", "user_not_found"),
            *("timestamp_in_future", "timestamp_too_late", "late_check_too_long"),
            *("outcome_unknown", "deadline_exceeded", "overloaded"),
            *BODY,
            invalid=Fault("amount", "must be greater than zero"),
        ),
    },
)
async def post_transaction(request: Asked, service: Given) -> Response[bytes]:
    """Processed exactly once for its uuid; answered when it is durable. Every retry is safe."""
    answer = await service.transactions.post(
        await request.body(),
        request.headers.get("content-type", ""),
        request.headers.get("idempotency-key"),
        request_id(request),
        admission_of(request.scope).grant,
    )
    return response(answer)


@post(
    "/v1/transactions",
    status_code=200,
    summary="Many deposits and withdrawals",
    tags=["transactions"],
    operation_class=PostTransactions,
    responses={
        200: ResponseSpec(
            list[schemas.BulkOutcome | schemas.BulkProblem],
            description="One outcome a line, in the order of the input, as `application/x-ndjson`; "
            "with `Accept: application/json`, an array in answer to an array.",
            generate_examples=False,
        ),
        **problem_specs(
            *("insufficient_funds", "balance_above_maximum", "uuid_conflict", "user_not_found"),
            *("timestamp_in_future", "timestamp_too_late", "late_check_too_long"),
            *("outcome_unknown", "deadline_exceeded", "overloaded"),
            *BODY,
            invalid=Fault("[1].amount", "must be greater than zero"),
        ),
    },
)
async def post_transactions(service: Given, atomic: Atomic = None) -> ASGIApp:
    """As newline-delimited JSON, of any length, or as an array. A POST of each alone would be answered
    the same. With `atomic=true` all of an array is posted or nothing is recorded."""
    return service.bulk


@get(
    "/v1/transactions",
    summary="All transactions",
    tags=["transactions"],
    operation_class=Documented,
    responses=problem_specs(
        *READING, invalid=Fault("shard", "must be a whole number from 0 to 63")
    ),
)
async def get_log(
    request: Asked,
    service: Given,
    shard: LogShard = None,
    after: LogAfter = None,
    limit: Limit = None,
) -> schemas.TransactionLog:
    """The log of one of the 64 shards, the oldest first, refused ones too: to copy everything there is, and later what
    came since. A user's transactions are in one shard, in the order of `number`."""
    covering_all(request.scope)
    number = parse_shard(shard)
    if number is None:
        raise InvalidError([Fault("shard", "is missing: it must be a whole number from 0 to 63")])
    settings = service.settings
    page = await service.reader.log(
        number,
        after=parse_after(after) or 0,
        limit=parse_limit(limit, settings.page_items_default, settings.page_items_max),
    )
    items = [_transaction(item, service.reading.decimals) for item in page.transactions]
    return schemas.TransactionLog(items, page.reached, page.more)


@get(
    "/v1/events",
    summary="The live stream of events",
    tags=["events"],
    operation_class=GetEvents,
    responses={
        200: ResponseSpec(
            str, description="Goes on until one side ends it.", generate_examples=False
        ),
        **problem_specs(
            "position_gone",
            *READING,
            invalid=Fault("type", f"must be of {', '.join(EVENT_TYPES)}"),
        ),
    },
)
async def get_events(
    service: Given,
    user_id: EventUsers = None,
    kind: EventTypes = None,
    since: EventsFrom = None,
    last_event_id: LastEventId = None,
) -> ASGIApp:
    """Every event of the log, from any position of the past on, as server-sent events. To resume without
    loss, give the last `id` that came. Those of one user come in the order of `number`."""
    return service.events


@get(
    "/v1/transaction/{uuid:str}",
    summary="One transaction",
    tags=["transactions"],
    operation_class=Documented,
    responses={
        200: ResponseSpec(schemas.Transaction, description="Found.", generate_examples=False),
        **problem_specs(
            "transaction_not_found",
            *READING,
            invalid=Fault("uuid", "must be a uuid such as ea3015b1-c25c-47e5-beb7-2679ac7c89a7"),
        ),
    },
)
async def get_transaction(
    uuid: Uuid, request: Asked, service: Given, of_user: OfUser = None
) -> Response[bytes]:
    """The transaction under a uuid, a refused one too, with its outcome."""
    grant = admission_of(request.scope).grant
    return response(await service.questions.transaction(uuid, request_id(request), grant, of_user))


@post(
    "/v1/user",
    summary="Create a user",
    tags=["users"],
    operation_class=PostUser,
    responses={
        201: ResponseSpec(schemas.User, description="Created.", generate_examples=False),
        **problem_specs(
            "name_taken", *READING, *BODY, invalid=Fault("name", "must have 1 to 200 characters")
        ),
    },
)
async def post_user(request: Asked, service: Given) -> Response[Any]:
    """Creates a user with a balance of zero."""
    covering_all(request.scope)
    name = parse_name(await json_of(request), service.reading)
    creation = await service.reader.create_user(name)
    if not creation.created:
        raise AnswerError(problems.name_taken(creation.id).answer(request_id(request)))
    user = User(creation.id, name, creation.created_at, 0)
    return Response(_user(user, service.reading.decimals), status_code=201)


@get(
    "/v1/user/{user_id:str}",
    summary="One user",
    tags=["users"],
    operation_class=Documented,
    responses=problem_specs(
        "user_not_found",
        *READING,
        invalid=Fault("user_id", "must be a whole number greater than zero"),
    ),
)
async def get_user(user_id: UserId, request: Asked, service: Given) -> schemas.User:
    """The user and the balance of now."""
    number = parse_user_id(user_id)
    covering(request.scope, number)
    user = await service.reader.user(number)
    if user is None:
        raise AnswerError(problems.user_not_found(number).answer(request_id(request)))
    return _user(user, service.reading.decimals)


@get(
    "/v1/user",
    summary="Users",
    tags=["users"],
    operation_class=Documented,
    responses=problem_specs(
        *READING, invalid=Fault("limit", "must be a whole number from 1 to 1000")
    ),
)
async def get_users(
    request: Asked,
    service: Given,
    name: Name = None,
    limit: Limit = None,
    cursor: Cursor = None,
) -> schemas.UserList:
    """Users by id. Pages stay right while users are created."""
    covering_all(request.scope)
    settings = service.settings
    count = parse_limit(limit, settings.page_items_default, settings.page_items_max)
    wanted = None if name is None else parse_user_name(name, service.reading)
    after = read_cursor("users", cursor) or 0
    users = await service.reader.users(after_id=after, name=wanted, limit=count + 1)
    page, next_cursor = page_of("users", users, count)
    return schemas.UserList([_user(user, service.reading.decimals) for user in page], next_cursor)


@get(
    "/v1/user/{user_id:str}/balance",
    summary="A balance, now or at any date",
    tags=["users"],
    operation_class=Documented,
    responses=problem_specs(
        "user_not_found", *READING, invalid=Fault("before", "can't be given together with date")
    ),
)
async def get_balance(
    user_id: UserId,
    request: Asked,
    service: Given,
    date: Date = None,
    before: Before = None,
    known_at: KnownAt = None,
) -> schemas.Balance:
    """The balance with everything that took effect by the moment; late entries included."""
    number = parse_user_id(user_id)
    covering(request.scope, number)
    inclusive = parse_query_instant("date", date, service.reading)
    exclusive = parse_query_instant("before", before, service.reading)
    known = parse_query_instant("known_at", known_at, service.reading)
    if inclusive is not None and exclusive is not None:
        raise InvalidError([Fault("before", "can't be given together with date")])
    moment = inclusive if exclusive is None else exclusive - MICROSECOND
    try:
        balance = await service.reader.balance(number, moment, known)
    except KnownTooNewError:
        raise InvalidError([KNOWN_TOO_NEW]) from None
    if balance is None:
        raise AnswerError(problems.user_not_found(number).answer(request_id(request)))
    return schemas.Balance(
        user_id=number,
        balance=format_money(balance, service.reading.decimals),
        date=written(inclusive),
        before=written(exclusive),
        known_at=written(known),
    )


@get(
    "/v1/user/{user_id:str}/transactions",
    summary="A user's transactions",
    tags=["transactions"],
    operation_class=Documented,
    responses=problem_specs(
        "user_not_found", *READING, invalid=Fault("type", 'must be "DEPOSIT" or "WITHDRAW"')
    ),
)
async def get_transactions(
    user_id: UserId,
    request: Asked,
    service: Given,
    since: Since = None,
    until: Until = None,
    kind: KindName = None,
    known_at: KnownAt = None,
    limit: Limit = None,
    cursor: Cursor = None,
) -> schemas.TransactionList:
    """Newest first by number, refused ones too. A page may come short: go on while there is a cursor. With `known_at`
    what was recorded later is left out: all pages of a list are then of one moment."""
    number = parse_user_id(user_id)
    covering(request.scope, number)
    settings = service.settings
    try:
        page = await service.reader.transactions(
            number,
            before=read_cursor(f"transactions {number}", cursor),
            since=parse_query_instant("from", since, service.reading),
            until=parse_query_instant("to", until, service.reading),
            kind=parse_kind(kind),
            known_at=parse_query_instant("known_at", known_at, service.reading),
            limit=parse_limit(limit, settings.page_items_default, settings.page_items_max),
        )
    except KnownTooNewError:
        raise InvalidError([KNOWN_TOO_NEW]) from None
    if page is None:
        raise AnswerError(problems.user_not_found(number).answer(request_id(request)))
    listing, on = f"transactions {number}", page.next_before
    return schemas.TransactionList(
        items=[_transaction(item, service.reading.decimals) for item in page.transactions],
        next_cursor=None if on is None else write_cursor(listing, on),
    )


@get(
    "/healthz/live",
    summary="Alive",
    tags=["operation"],
    operation_class=Documented,
    security=OPEN_TO_ALL,
    responses=problem_specs(guarded=False),
)
async def live() -> schemas.Health:
    """The process answers. Never depends on the database."""
    return schemas.Health("ok")


def _not_ready(*statuses: str) -> dict[int, ResponseSpec]:
    """The answers beside `ok`, with an example of each status."""
    return {
        **problem_specs(guarded=False),
        503: ResponseSpec(
            schemas.Health,
            description="Not ready.",
            generate_examples=False,
            examples=[Example(id=status, value={"status": status}) for status in statuses],
        ),
    }


@get(
    "/healthz/ready",
    summary="Ready",
    tags=["operation"],
    operation_class=Documented,
    security=OPEN_TO_ALL,
    responses=_not_ready("draining", "unavailable"),
)
async def ready(service: Given) -> Response[schemas.Health]:
    """The database can be posted to, the queue has room, and the service is not about to stop."""
    if service.readiness.draining:
        return Response(schemas.Health("draining"), status_code=503)
    try:
        well = not service.engine.saturated and await service.reader.ready()
    except StoreError:
        well = False
    return _health(well)


@get(
    "/healthz/startup",
    summary="Started",
    tags=["operation"],
    operation_class=Documented,
    security=OPEN_TO_ALL,
    responses=_not_ready("unavailable"),
)
async def startup(service: Given) -> Response[schemas.Health]:
    """It has been ready once; what the database does later doesn't matter."""
    try:
        well = service.reader.was_ready or await service.reader.ready()
    except StoreError:
        well = False
    return _health(well)


def _health(well: bool) -> Response[schemas.Health]:
    return Response(
        schemas.Health("ok" if well else "unavailable"), status_code=200 if well else 503
    )


@get(
    "/metrics",
    summary="Metrics",
    tags=["operation"],
    operation_class=Documented,
    media_type="text/plain",
    responses=problem_specs(),
)
async def metrics(service: Given, request: Asked) -> Response[bytes]:
    """Prometheus' text format, or OpenMetrics for who accepts it; all workers together."""
    body, content_type = exposition(
        request.headers.get("accept", ""),
        __version__,
        await figures_of(service),
        several_processes=service.settings.workers > 1,
    )
    return Response(body, headers={"content-type": content_type})


@get("/openapi.json", include_in_schema=False)
async def openapi(request: Asked) -> dict[str, Any]:
    """The OpenAPI 3.1 document."""
    return request.app.openapi_schema.to_schema()


HANDLERS = [
    openapi,
    post_transaction,
    post_transactions,
    get_log,
    get_events,
    get_transaction,
    post_user,
    get_user,
    get_users,
    get_balance,
    get_transactions,
    live,
    ready,
    startup,
    metrics,
]


class AnswerError(Exception):
    """Ends a handler with a whole answer."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


def written(instant: datetime | None) -> str | None:
    """A moment as every route writes it."""
    return None if instant is None else format_instant(instant)


def _user(user: User, decimals: int) -> schemas.User:
    return schemas.User(
        id=user.id,
        name=user.name,
        balance=format_money(user.balance, decimals),
        created_at=format_instant(user.created_at),
    )


def _transaction(item: Transaction, decimals: int) -> schemas.Transaction:
    return transaction_answer(
        item.uuid,
        item.user_id,
        item.number,
        item.amount,
        item.balance,
        item.timestamp,
        item.recorded_at,
        item.outcome,
        decimals,
    )
