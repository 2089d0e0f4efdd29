"""The routes of transactions, users, events and operation.

Handlers parse the request, call the reader or the engine, and format the result; they contain no rules.
"""

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
from saldo.events.event import EVENT_TYPES
from saldo.http import problems
from saldo.http.api.context import AppContext
from saldo.http.api.database_metrics import read_database_metrics
from saldo.http.api.post_transaction import is_json
from saldo.http.api.readiness import ProbeDisconnectedError, disconnect_check
from saldo.http.authorization import admission_of, require_all_users, require_user
from saldo.http.json_response import JsonResponse
from saldo.http.openapi.bodies import (
    DocumentedOperation,
    GetEvents,
    PostTransaction,
    PostTransactions,
    PostUser,
)
from saldo.http.openapi.document import openapi_document
from saldo.http.openapi.errors import BODY_CODES, DATABASE_CODES, problem_specs
from saldo.http.openapi.parameters import (
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
from saldo.http.pagination import cut_page
from saldo.http.problems import ProblemError
from saldo.http.request_body import CLIENT_DISCONNECTED
from saldo.http.responses import RawResponse, transaction_schema
from saldo.http.schemas import ledger
from saldo.ledger.instants import MICROSECOND, format_instant
from saldo.ledger.money import format_money
from saldo.observability.exposition import render_metrics
from saldo.parsing.transactions import (
    InvalidError,
    InvalidField,
    parse_after,
    parse_kind,
    parse_limit,
    parse_name,
    parse_query_instant,
    parse_range,
    parse_shard,
    parse_user_id,
    parse_user_name,
    read_cursor,
    write_cursor,
)
from saldo.store.reader import KnownAtInFutureError, Transaction, User

NO_KEY_NEEDED: list[dict[str, list[str]]] = [{}]
"""Security requirement, in the OpenAPI document, of routes that need no key."""

KNOWN_TOO_NEW = InvalidField("known_at", "must be in the past: its answer could still change")

HttpRequest = Request[Any, Any, State]
InjectedContext = NamedDependency[AppContext]


def response(answer: RawResponse) -> Response[bytes]:
    """Return the framework's response for an answer."""
    return Response(
        answer.body,
        status_code=answer.status,
        media_type=answer.media_type,
        headers=dict(answer.headers),
    )


def request_id(request: Request[Any, Any, Any]) -> str:
    """Return the id that `saldo.http.asgi` assigned to this request."""
    return str(request.scope.get("state", {}).get("request_id", ""))


async def read_json_body(request: HttpRequest) -> bytes:
    """Return the body, which must be JSON.

    Raises:
        ProblemError: The `Content-Type` is not JSON (415).
    """
    content_type = request.headers.get("content-type", "")
    if not is_json(content_type):
        raise ProblemError(problems.unsupported_media_type(content_type))
    return await request.body()


@post(
    "/v1/transaction",
    status_code=200,
    summary="Deposit or withdraw",
    tags=["transactions"],
    operation_class=PostTransaction,
    responses={
        200: ResponseSpec(
            ledger.Transaction,
            description="The transaction was posted, now or earlier.",
            generate_examples=False,
        ),
        **problem_specs(
            *("insufficient_funds", "balance_above_maximum", "uuid_conflict", "user_not_found"),
            *("timestamp_in_future", "timestamp_too_late", "late_check_too_long"),
            *("outcome_unknown", "deadline_exceeded", "overloaded"),
            *BODY_CODES,
            invalid=InvalidField("amount", "must be greater than zero"),
        ),
    },
)
async def post_transaction(request: HttpRequest, service: InjectedContext) -> Response[bytes]:
    """Posts one deposit or withdrawal, exactly once for its uuid.

    The response is sent after the transaction is durable. Every retry with the same uuid and content gets the recorded
    outcome, marked with the header `Idempotent-Replayed`, so it is always safe to send the request again."""
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
    summary="Post many transactions",
    tags=["transactions"],
    operation_class=PostTransactions,
    responses={
        200: ResponseSpec(
            list[ledger.BulkOutcome],
            description="One outcome for each transaction, in the order of the input. The response to an array is an "
            "array, and the response to lines is lines. With `Accept: application/x-ndjson` the response to "
            "an array is lines, too.",
            generate_examples=False,
        ),
        **problem_specs(
            *("insufficient_funds", "balance_above_maximum", "uuid_conflict", "user_not_found"),
            *("timestamp_in_future", "timestamp_too_late", "late_check_too_long"),
            *("outcome_unknown", "deadline_exceeded", "overloaded"),
            *BODY_CODES,
            invalid=InvalidField("[1].amount", "must be greater than zero"),
        ),
    },
)
async def post_transactions(service: InjectedContext, atomic: Atomic = None) -> ASGIApp:
    """Posts many deposits and withdrawals: an array, or newline-delimited JSON of any length.

    Each transaction gets the outcome that a POST of it alone would get. With `atomic=true` either all transactions of
    an array are posted, or nothing is recorded."""
    return service.bulk


@get(
    "/v1/transactions",
    summary="List all transactions of a shard",
    tags=["transactions"],
    operation_class=DocumentedOperation,
    responses=problem_specs(
        *DATABASE_CODES, invalid=InvalidField("shard", "must be a whole number from 0 to 63")
    ),
)
async def get_log(
    request: HttpRequest,
    service: InjectedContext,
    shard: LogShard = None,
    after: LogAfter = None,
    limit: Limit = None,
) -> ledger.TransactionLog:
    """Returns transactions of one of the 64 shards of the log, oldest first, refused ones included.

    Use it to copy the whole log, and later to copy new entries. A page may be short or empty: continue from `reached`
    while `more` is true. All transactions of a user are in one shard, in the order of `number`."""
    require_all_users(request.scope)
    number = parse_shard(shard)
    if number is None:
        raise InvalidError(
            [InvalidField("shard", "is missing: it must be a whole number from 0 to 63")]
        )
    settings = service.settings
    page = await service.reader.log(
        number,
        after=parse_after(after) or 0,
        limit=parse_limit(limit, settings.page_items_default, settings.page_items_max),
    )
    items = [_transaction(item, service.reading.decimals) for item in page.transactions]
    return ledger.TransactionLog(items, page.reached, page.more)


@get(
    "/v1/events",
    summary="Follow events live",
    tags=["events"],
    operation_class=GetEvents,
    responses={
        200: ResponseSpec(
            str,
            description="The response continues until one side closes it.",
            generate_examples=False,
        ),
        **problem_specs(
            "position_gone",
            *DATABASE_CODES,
            invalid=InvalidField("type", f"must be of {', '.join(EVENT_TYPES)}"),
        ),
    },
)
async def get_events(
    service: InjectedContext,
    user_id: EventUsers = None,
    kind: EventTypes = None,
    since: EventsFrom = None,
    last_event_id: LastEventId = None,
) -> ASGIApp:
    """Streams the events of the log as server-sent events, live or from any earlier position.

    To resume without loss, send the last `id` that you received. Events of one user arrive in the order of `number`."""
    return service.events


@get(
    "/v1/transaction/{uuid:str}",
    summary="Get a transaction",
    tags=["transactions"],
    operation_class=DocumentedOperation,
    responses={
        200: ResponseSpec(ledger.Transaction, description="Found.", generate_examples=False),
        **problem_specs(
            "transaction_not_found",
            *DATABASE_CODES,
            invalid=InvalidField(
                "uuid", "must be a uuid such as ea3015b1-c25c-47e5-beb7-2679ac7c89a7"
            ),
        ),
    },
)
async def get_transaction(
    uuid: Uuid, request: HttpRequest, service: InjectedContext, of_user: OfUser = None
) -> Response[bytes]:
    """Returns the transaction with this uuid and its outcome, also if it was refused."""
    grant = admission_of(request.scope).grant
    return response(await service.questions.transaction(uuid, request_id(request), grant, of_user))


@post(
    "/v1/user",
    summary="Create a user",
    tags=["users"],
    operation_class=PostUser,
    responses={
        201: ResponseSpec(ledger.User, description="Created.", generate_examples=False),
        **problem_specs(
            "name_taken",
            *DATABASE_CODES,
            *BODY_CODES,
            invalid=InvalidField("name", "must have 1 to 200 characters"),
        ),
    },
)
async def post_user(request: HttpRequest, service: InjectedContext) -> Response[Any]:
    """Creates a user with a balance of zero. A name belongs to one user only."""
    require_all_users(request.scope)
    name = parse_name(await read_json_body(request), service.reading)
    creation = await service.reader.create_user(name)
    if not creation.created:
        raise ProblemError(problems.name_taken(creation.id))
    user = User(creation.id, name, creation.created_at, 0)
    return JsonResponse(_user(user, service.reading.decimals), status_code=201)


@get(
    "/v1/user/{user_id:str}",
    summary="Get a user",
    tags=["users"],
    operation_class=DocumentedOperation,
    responses=problem_specs(
        "user_not_found",
        *DATABASE_CODES,
        invalid=InvalidField("user_id", "must be a whole number greater than zero"),
    ),
)
async def get_user(user_id: UserId, request: HttpRequest, service: InjectedContext) -> ledger.User:
    """Returns a user with the current balance."""
    number = parse_user_id(user_id)
    require_user(request.scope, number)
    user = await service.reader.get_user(number)
    if user is None:
        raise ProblemError(problems.user_not_found(number))
    return _user(user, service.reading.decimals)


@get(
    "/v1/user",
    summary="Users",
    tags=["users"],
    operation_class=DocumentedOperation,
    responses=problem_specs(
        *DATABASE_CODES, invalid=InvalidField("limit", "must be a whole number from 1 to 1000")
    ),
)
async def get_users(
    request: HttpRequest,
    service: InjectedContext,
    name: Name = None,
    limit: Limit = None,
    cursor: Cursor = None,
) -> ledger.UserList:
    """Lists users by id. Pages stay consistent while users are created.

    With `name` the list has at most the one user of that name. Names are compared in Unicode's composed form (NFC)."""
    require_all_users(request.scope)
    settings = service.settings
    count = parse_limit(limit, settings.page_items_default, settings.page_items_max)
    wanted = None if name is None else parse_user_name(name, service.reading)
    after = read_cursor("users", cursor) or 0
    users = await service.reader.list_users(after_id=after, name=wanted, limit=count + 1)
    page, next_cursor = cut_page("users", users, count)
    return ledger.UserList([_user(user, service.reading.decimals) for user in page], next_cursor)


@get(
    "/v1/user/{user_id:str}/balance",
    summary="Get a balance, now or at any date",
    tags=["users"],
    operation_class=DocumentedOperation,
    responses=problem_specs(
        "user_not_found",
        *DATABASE_CODES,
        invalid=InvalidField("before", "can't be combined with date"),
    ),
)
async def get_balance(
    user_id: UserId,
    request: HttpRequest,
    service: InjectedContext,
    date: Date = None,
    before: Before = None,
    known_at: KnownAt = None,
) -> ledger.Balance:
    """Returns the current balance, or the balance at `date` (inclusive) or before `before` (exclusive), including late
    entries.

    With `known_at` the response leaves out everything that was recorded after that time.
    """
    number = parse_user_id(user_id)
    require_user(request.scope, number)
    inclusive = parse_query_instant("date", date, service.reading)
    exclusive = parse_query_instant("before", before, service.reading)
    known = parse_query_instant("known_at", known_at, service.reading)
    if inclusive is not None and exclusive is not None:
        raise InvalidError([InvalidField("before", "can't be combined with date")])
    moment = inclusive if exclusive is None else exclusive - MICROSECOND
    try:
        balance = await service.reader.balance(number, moment, known)
    except KnownAtInFutureError:
        raise InvalidError([KNOWN_TOO_NEW]) from None
    if balance is None:
        raise ProblemError(problems.user_not_found(number))
    return ledger.Balance(
        user_id=number,
        balance=format_money(balance, service.reading.decimals),
        date=format_optional_instant(inclusive),
        before=format_optional_instant(exclusive),
        known_at=format_optional_instant(known),
    )


@get(
    "/v1/user/{user_id:str}/transactions",
    summary="List a user's transactions",
    tags=["transactions"],
    operation_class=DocumentedOperation,
    responses=problem_specs(
        "user_not_found",
        *DATABASE_CODES,
        invalid=InvalidField("type", 'must be "DEPOSIT" or "WITHDRAW"'),
    ),
)
async def get_transactions(
    user_id: UserId,
    request: HttpRequest,
    service: InjectedContext,
    since: Since = None,
    until: Until = None,
    kind: KindName = None,
    known_at: KnownAt = None,
    limit: Limit = None,
    cursor: Cursor = None,
) -> ledger.TransactionList:
    """Lists a user's transactions, newest first by `number`, refused ones included.

    A page may be short or empty although older transactions match: continue while there is a `next_cursor`. With
    `known_at` the list leaves out later recorded transactions, so that all of its pages are consistent."""
    number = parse_user_id(user_id)
    require_user(request.scope, number)
    begin, end = parse_range(since, until, service.reading)
    settings = service.settings
    try:
        page = await service.reader.transactions(
            number,
            before=read_cursor(f"transactions {number}", cursor),
            since=begin,
            until=end,
            kind=parse_kind(kind),
            known_at=parse_query_instant("known_at", known_at, service.reading),
            limit=parse_limit(limit, settings.page_items_default, settings.page_items_max),
        )
    except KnownAtInFutureError:
        raise InvalidError([KNOWN_TOO_NEW]) from None
    if page is None:
        raise ProblemError(problems.user_not_found(number))
    listing, on = f"transactions {number}", page.next_before
    return ledger.TransactionList(
        items=[_transaction(item, service.reading.decimals) for item in page.transactions],
        next_cursor=None if on is None else write_cursor(listing, on),
    )


@get(
    "/healthz/live",
    summary="Alive",
    tags=["operation"],
    operation_class=DocumentedOperation,
    security=NO_KEY_NEEDED,
    responses=problem_specs(guarded=False),
)
async def live() -> ledger.Health:
    """Reports that the process responds. It never depends on the database."""
    return ledger.Health("ok")


def _not_ready(*statuses: str) -> dict[int, ResponseSpec]:
    """Return the responses other than `ok`, with an example of each status."""
    return {
        **problem_specs(guarded=False),
        503: ResponseSpec(
            ledger.Health,
            description="The service is not ready.",
            generate_examples=False,
            examples=[Example(id=status, value={"status": status}) for status in statuses],
        ),
    }


@get(
    "/healthz/ready",
    summary="Ready",
    tags=["operation"],
    operation_class=DocumentedOperation,
    security=NO_KEY_NEEDED,
    responses=_not_ready("draining", "unavailable"),
)
async def ready(request: HttpRequest, service: InjectedContext) -> Response[ledger.Health]:
    """Reports whether the service can post: the database accepts writes, the queue is not full, and the service is
    not stopping."""
    if service.readiness.draining:
        return JsonResponse(ledger.Health("draining"), status_code=503)
    return _health(not service.engine.admission.is_full and await _database_ready(request, service))


@get(
    "/healthz/startup",
    summary="Started",
    tags=["operation"],
    operation_class=DocumentedOperation,
    security=NO_KEY_NEEDED,
    responses=_not_ready("unavailable"),
)
async def startup(request: HttpRequest, service: InjectedContext) -> Response[ledger.Health]:
    """Reports whether the service has been ready once. Later failures of the database don't matter."""
    return _health(service.reader.was_ready or await _database_ready(request, service))


async def _database_ready(request: HttpRequest, service: AppContext) -> bool:
    try:
        return await service.readiness.check(
            service.reader.is_ready, disconnect_check(request.scope)
        )
    except ProbeDisconnectedError:
        # The probe is neither answered nor counted, because its own timeout is no failure of the service.
        request.scope["state"][CLIENT_DISCONNECTED] = True
        return False


def _health(well: bool) -> Response[ledger.Health]:
    return JsonResponse(
        ledger.Health("ok" if well else "unavailable"), status_code=200 if well else 503
    )


@get(
    "/metrics",
    summary="Metrics",
    tags=["operation"],
    operation_class=DocumentedOperation,
    media_type="text/plain",
    responses=problem_specs(),
)
async def metrics(service: InjectedContext, request: HttpRequest) -> Response[bytes]:
    """Returns the metrics of all workers in Prometheus' text format, or as OpenMetrics if the client accepts that."""
    body, content_type = render_metrics(
        request.headers.get("accept", ""),
        __version__,
        await read_database_metrics(service),
        several_processes=service.settings.workers > 1,
    )
    return Response(body, headers={"content-type": content_type})


@get("/openapi.json", include_in_schema=False)
async def openapi(request: HttpRequest) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document."""
    return openapi_document(request.app)


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


def format_optional_instant(instant: datetime | None) -> str | None:
    """Format an instant as all routes do. None stays None."""
    return None if instant is None else format_instant(instant)


def _user(user: User, decimals: int) -> ledger.User:
    return ledger.User(
        id=user.id,
        name=user.name,
        balance=format_money(user.balance, decimals),
        created_at=format_instant(user.created_at),
    )


def _transaction(item: Transaction, decimals: int) -> ledger.Transaction:
    return transaction_schema(
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
