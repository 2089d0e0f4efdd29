"""The routes of users and their balances.

Handlers parse the request, call the reader or the engine, and format the result; they contain no rules.
"""

from __future__ import annotations

from typing import Any

from litestar import Response, get, post
from litestar.openapi.datastructures import ResponseSpec

from saldo.http import problems
from saldo.http.api.context import InjectedContext
from saldo.http.authorization import require_all_users, require_user
from saldo.http.framework_responses import JsonResponse
from saldo.http.openapi.bodies import (
    DocumentedOperation,
    PostUserOperation,
)
from saldo.http.openapi.errors import BODY_CODES, DATABASE_CODES, describe_problems
from saldo.http.openapi.parameters import (
    Before,
    Cursor,
    Date,
    KnownAt,
    Limit,
    Name,
    UserId,
)
from saldo.http.pagination import cut_page
from saldo.http.problems import ProblemError
from saldo.http.requests import HttpRequest, read_json_body
from saldo.http.responses import format_optional_instant
from saldo.http.schemas import ledger
from saldo.ledger.instants import MICROSECOND, format_instant
from saldo.ledger.money import format_money
from saldo.parsing.faults import InvalidField, InvalidRequestError
from saldo.parsing.transactions import (
    parse_cursor,
    parse_limit,
    parse_name,
    parse_query_instant,
    parse_user_id,
    parse_user_name,
)
from saldo.store.reader import KnownAtInFutureError, User


@post(
    "/v1/user",
    summary="Create a user",
    tags=["users"],
    operation_class=PostUserOperation,
    responses={
        201: ResponseSpec(
            ledger.User, description="The user was created.", generate_examples=False
        ),
        **describe_problems(
            "name_taken",
            *DATABASE_CODES,
            *BODY_CODES,
            invalid=InvalidField("name", "must have 1 to 200 characters"),
        ),
    },
)
async def post_user(request: HttpRequest, service: InjectedContext) -> Response[Any]:
    """Creates a user with a balance of zero. The name must be unique."""
    require_all_users(request.scope)
    name = parse_name(await read_json_body(request), service.parser_options)
    creation = await service.reader.create_user(name)
    if not creation.created:
        raise ProblemError(problems.build_name_taken(creation.id))
    user = User(creation.id, name, creation.created_at, 0)
    return JsonResponse(_convert_user(user, service.parser_options.decimals), status_code=201)


@get(
    "/v1/user/{user_id:str}",
    summary="Get a user",
    tags=["users"],
    operation_class=DocumentedOperation,
    responses=describe_problems(
        "user_not_found",
        *DATABASE_CODES,
        invalid=InvalidField("user_id", "must be a whole number greater than zero"),
    ),
)
async def get_user(user_id: UserId, request: HttpRequest, service: InjectedContext) -> ledger.User:
    """Returns a user and the user's current balance."""
    number = parse_user_id(user_id)
    require_user(request.scope, number)
    user = await service.reader.get_user(number)
    if user is None:
        raise ProblemError(problems.build_user_not_found(number))
    return _convert_user(user, service.parser_options.decimals)


@get(
    "/v1/user",
    summary="List users",
    tags=["users"],
    operation_class=DocumentedOperation,
    responses=describe_problems(
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
    """Lists users, ordered by id. Users that are created meanwhile do not disturb the pagination.

    With `name`, the list contains the user with that name, or nobody. Names are compared in Unicode's composed form
    (NFC)."""
    require_all_users(request.scope)
    settings = service.settings
    count = parse_limit(limit, settings.page_items_default, settings.page_items_max)
    parsed_name = None if name is None else parse_user_name(name, service.parser_options)
    after = parse_cursor("users", cursor) or 0
    users = await service.reader.list_users(after_id=after, name=parsed_name, limit=count + 1)
    page, next_cursor = cut_page("users", users, count)
    return ledger.UserList(
        [_convert_user(user, service.parser_options.decimals) for user in page], next_cursor
    )


@get(
    "/v1/user/{user_id:str}/balance",
    summary="Get a balance, current or at a date",
    tags=["users"],
    operation_class=DocumentedOperation,
    responses=describe_problems(
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
    """Returns the current balance, or the balance at `date` (inclusive) or just before `before` (exclusive). Late
    entries are included.

    With `known_at`, everything that was recorded after that time is left out.
    """
    number = parse_user_id(user_id)
    require_user(request.scope, number)
    inclusive = parse_query_instant("date", date, service.parser_options)
    exclusive = parse_query_instant("before", before, service.parser_options)
    known_instant = parse_query_instant("known_at", known_at, service.parser_options)
    if inclusive is not None and exclusive is not None:
        raise InvalidRequestError([InvalidField("before", "can't be combined with date")])
    instant = inclusive if exclusive is None else exclusive - MICROSECOND
    try:
        balance = await service.reader.read_balance(number, instant, known_instant)
    except KnownAtInFutureError:
        raise InvalidRequestError([problems.KNOWN_AT_IN_FUTURE]) from None
    if balance is None:
        raise ProblemError(problems.build_user_not_found(number))
    return ledger.Balance(
        user_id=number,
        balance=format_money(balance, service.parser_options.decimals),
        date=format_optional_instant(inclusive),
        before=format_optional_instant(exclusive),
        known_at=format_optional_instant(known_instant),
    )


def _convert_user(user: User, decimals: int) -> ledger.User:
    return ledger.User(
        id=user.id,
        name=user.name,
        balance=format_money(user.balance, decimals),
        created_at=format_instant(user.created_at),
    )
