"""The routes of transactions.

Handlers parse the request, call the reader or the engine, and format the result; they contain no rules.
"""

from __future__ import annotations

from litestar import Response, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.types import ASGIApp

from saldo.http import problems
from saldo.http.api.context import InjectedContext
from saldo.http.authorization import get_admission, require_all_users, require_user
from saldo.http.framework_responses import convert_response
from saldo.http.openapi.bodies import (
    DocumentedOperation,
    PostTransactionOperation,
    PostTransactionsOperation,
)
from saldo.http.openapi.errors import BODY_CODES, DATABASE_CODES, describe_problems
from saldo.http.openapi.parameters import (
    Atomic,
    Cursor,
    KindName,
    KnownAt,
    Limit,
    LogAfter,
    LogShard,
    OfUser,
    Since,
    Until,
    UserId,
    Uuid,
)
from saldo.http.problems import ProblemError
from saldo.http.requests import HttpRequest, get_request_id
from saldo.http.responses import build_transaction
from saldo.http.schemas import ledger
from saldo.parsing.faults import InvalidField, InvalidRequestError
from saldo.parsing.transactions import (
    format_cursor,
    parse_after,
    parse_cursor,
    parse_kind,
    parse_limit,
    parse_query_instant,
    parse_range,
    parse_shard,
    parse_user_id,
)
from saldo.store.reader import KnownAtInFutureError, Transaction


@post(
    "/v1/transaction",
    status_code=200,
    summary="Post a deposit or a withdrawal",
    tags=["transactions"],
    operation_class=PostTransactionOperation,
    responses={
        200: ResponseSpec(
            ledger.Transaction,
            description="The transaction was posted, by this request or by an earlier one.",
            generate_examples=False,
        ),
        **describe_problems(
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

    The response is sent after the transaction is durable. Every retry with the same uuid and content returns the
    recorded outcome and the header `Idempotent-Replayed`, so it is always safe to send the request again."""
    answer = await service.post_transaction_handler.post(
        await request.body(),
        request.headers.get("content-type", ""),
        request.headers.get("idempotency-key"),
        get_request_id(request),
        get_admission(request.scope).grant,
    )
    return convert_response(answer)


@post(
    "/v1/transactions",
    status_code=200,
    summary="Post transactions in bulk",
    tags=["transactions"],
    operation_class=PostTransactionsOperation,
    responses={
        200: ResponseSpec(
            list[ledger.BulkOutcome],
            description="One outcome for each transaction, in the order of the request. The response has the format of "
            "the "
            "request. With `Accept: application/x-ndjson`, the response to an array is newline-delimited JSON, "
            "too.",
            generate_examples=False,
        ),
        **describe_problems(
            *("insufficient_funds", "balance_above_maximum", "uuid_conflict", "user_not_found"),
            *("timestamp_in_future", "timestamp_too_late", "late_check_too_long"),
            *("outcome_unknown", "deadline_exceeded", "overloaded"),
            *BODY_CODES,
            invalid=InvalidField("[1].amount", "must be greater than zero"),
        ),
    },
)
async def post_transactions(service: InjectedContext, atomic: Atomic = None) -> ASGIApp:
    """Posts many deposits and withdrawals, sent as a JSON array or as newline-delimited JSON of any length.

    Each transaction gets the outcome that it would get in a request of its own. With `atomic=true`, either all
    transactions of an array are posted, or nothing is recorded."""
    return service.bulk_handler


@get(
    "/v1/transactions",
    summary="List transactions of a shard",
    tags=["transactions"],
    operation_class=DocumentedOperation,
    responses=describe_problems(
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
    """Returns the transactions of one of the 64 shards of the log, oldest first, including refused ones.

    Use this endpoint to copy the whole log, and later to copy new entries. A page may be short or even empty. Request
    the next page with `after` set to `reached` as long as `more` is true. All transactions of a user are in one
    shard, in the order of `number`."""
    require_all_users(request.scope)
    number = parse_shard(shard)
    if number is None:
        raise InvalidRequestError(
            [InvalidField("shard", "is missing: it must be a whole number from 0 to 63")]
        )
    settings = service.settings
    page = await service.reader.read_shard_page(
        number,
        after=parse_after(after) or 0,
        limit=parse_limit(limit, settings.page_items_default, settings.page_items_max),
    )
    items = [
        _convert_transaction(item, service.parser_options.decimals) for item in page.transactions
    ]
    return ledger.TransactionLog(items, page.reached, page.has_more)


@get(
    "/v1/transaction/{uuid:str}",
    summary="Get a transaction",
    tags=["transactions"],
    operation_class=DocumentedOperation,
    responses={
        200: ResponseSpec(
            ledger.Transaction,
            description="The recorded transaction.",
            generate_examples=False,
        ),
        **describe_problems(
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
    """Returns the transaction with this uuid, whether it was posted or refused."""
    grant = get_admission(request.scope).grant
    return convert_response(
        await service.fast_read_handler.get_transaction(
            uuid, get_request_id(request), grant, of_user
        )
    )


@get(
    "/v1/user/{user_id:str}/transactions",
    summary="List a user's transactions",
    tags=["transactions"],
    operation_class=DocumentedOperation,
    responses=describe_problems(
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
    """Lists a user's transactions in descending order of `number`, including refused ones.

    A page may be short or even empty although older transactions match. Request the next page as long as there is a
    `next_cursor`. With `known_at`, transactions that were recorded later are left out, so all pages are consistent."""
    number = parse_user_id(user_id)
    require_user(request.scope, number)
    begin, end = parse_range(since, until, service.parser_options)
    settings = service.settings
    try:
        page = await service.reader.list_transactions(
            number,
            before=parse_cursor(f"transactions {number}", cursor),
            since=begin,
            until=end,
            kind=parse_kind(kind),
            known_at=parse_query_instant("known_at", known_at, service.parser_options),
            limit=parse_limit(limit, settings.page_items_default, settings.page_items_max),
        )
    except KnownAtInFutureError:
        raise InvalidRequestError([problems.KNOWN_AT_IN_FUTURE]) from None
    if page is None:
        raise ProblemError(problems.build_user_not_found(number))
    listing, on = f"transactions {number}", page.next_before
    return ledger.TransactionList(
        items=[
            _convert_transaction(item, service.parser_options.decimals)
            for item in page.transactions
        ],
        next_cursor=None if on is None else format_cursor(listing, on),
    )


def _convert_transaction(item: Transaction, decimals: int) -> ledger.Transaction:
    return build_transaction(
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
