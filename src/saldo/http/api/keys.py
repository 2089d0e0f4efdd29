"""The routes of API keys.

Handlers parse the request, call the store and format the result; they contain no rules.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias, cast

from litestar import Response, delete, get, post
from litestar.openapi.datastructures import ResponseSpec

from saldo.auth.grants import Scope
from saldo.http import problems
from saldo.http.api.context import AppContext, InjectedContext
from saldo.http.api.key_admin import CreatedKey, issue_key, replace_key, revoke_key
from saldo.http.authorization import get_admission
from saldo.http.framework_responses import JsonResponse
from saldo.http.openapi.bodies import DocumentedOperation
from saldo.http.openapi.errors import BODY_CODES, DATABASE_CODES, describe_problems
from saldo.http.openapi.key_bodies import PostKeyOperation, PostRotationOperation
from saldo.http.openapi.parameters import Cursor, Limit, describe_path_id
from saldo.http.pagination import cut_page
from saldo.http.problems import ProblemError
from saldo.http.requests import HttpRequest, read_json_body
from saldo.http.responses import format_optional_instant
from saldo.http.schemas import keys as schemas
from saldo.ledger.instants import format_instant
from saldo.parsing.faults import InvalidField
from saldo.parsing.keys import (
    create_key_parser_options,
    parse_key_id,
    parse_new_key,
    parse_rotation,
)
from saldo.parsing.transactions import parse_cursor, parse_limit
from saldo.store.keys import Key, TooManyKeysError

KeyId: TypeAlias = Annotated[str, describe_path_id("Id of the key.")]

_TAGS = ["keys"]
_WRONG_ID = InvalidField("key_id", "must be a whole number greater than zero")
_WRONG_SCOPES = InvalidField("scopes", "must be a list of read, write, metrics, admin")


@post(
    "/v1/key",
    summary="Create an API key",
    tags=_TAGS,
    operation_class=PostKeyOperation,
    responses={
        201: ResponseSpec(schemas.Key, description="The key was created.", generate_examples=False),
        **describe_problems("too_many_keys", *DATABASE_CODES, *BODY_CODES, invalid=_WRONG_SCOPES),
    },
)
async def post_key(request: HttpRequest, service: InjectedContext) -> Response[Any]:
    """Creates an API key. The key itself is only in this response, because the service stores only its hash."""
    new_key = parse_new_key(
        await read_json_body(request), create_key_parser_options(service.settings)
    )
    try:
        created_key = await issue_key(service, new_key, _get_caller_name(request))
    except TooManyKeysError:
        keys_max = service.settings.keys_max
        raise ProblemError(problems.build_too_many_keys(keys_max)) from None
    return JsonResponse(_convert_created_key(created_key), status_code=201)


@get(
    "/v1/key",
    summary="List API keys",
    tags=_TAGS,
    operation_class=DocumentedOperation,
    responses=describe_problems(
        *DATABASE_CODES, invalid=InvalidField("limit", "must be a whole number from 1 to 1000")
    ),
)
async def get_keys(
    service: InjectedContext, limit: Limit = None, cursor: Cursor = None
) -> schemas.KeyList:
    """Lists all API keys, ordered by id, including revoked and expired ones."""
    count = parse_limit(limit, service.settings.page_items_default, service.settings.page_items_max)
    keys = await service.keys.list_page(after_id=parse_cursor("keys", cursor) or 0, limit=count + 1)
    page, next_cursor = cut_page("keys", keys, count)
    return schemas.KeyList([_convert_key(key) for key in page], next_cursor)


@get(
    "/v1/key/{key_id:str}",
    summary="Get an API key",
    tags=_TAGS,
    operation_class=DocumentedOperation,
    responses=describe_problems("key_not_found", *DATABASE_CODES, invalid=_WRONG_ID),
)
async def get_key(key_id: KeyId, request: HttpRequest, service: InjectedContext) -> schemas.Key:
    """Returns the name, scopes, users, networks and expiry of an API key."""
    return await _read_key(parse_key_id(key_id), request, service)


@delete(
    "/v1/key/{key_id:str}",
    status_code=200,
    summary="Revoke an API key",
    tags=_TAGS,
    operation_class=DocumentedOperation,
    responses=describe_problems("key_not_found", *DATABASE_CODES, invalid=_WRONG_ID),
)
async def delete_key(key_id: KeyId, request: HttpRequest, service: InjectedContext) -> schemas.Key:
    """Revokes an API key.

    The process that handles the request rejects the key at once, and all others do so within
    `SALDO_KEYS_REFRESH_SECONDS`. The key remains in the list."""
    number = parse_key_id(key_id)
    await revoke_key(service, number, _get_caller_name(request))
    return await _read_key(number, request, service)


@post(
    "/v1/key/{key_id:str}/rotate",
    status_code=201,
    summary="Rotate an API key",
    tags=_TAGS,
    operation_class=PostRotationOperation,
    responses={
        201: ResponseSpec(
            schemas.Key, description="The new key was created.", generate_examples=False
        ),
        **describe_problems(
            *("key_not_found", "key_not_valid"),
            *DATABASE_CODES,
            *BODY_CODES,
            invalid=InvalidField("overlap_seconds", "must be a whole number of seconds"),
        ),
    },
)
async def post_rotation(
    key_id: KeyId, request: HttpRequest, service: InjectedContext
) -> Response[Any]:
    """Creates a new key with the same permissions. The old key remains valid for `overlap_seconds`, so that clients
    can switch over."""
    number = parse_key_id(key_id)
    body = await request.body()
    overlap = parse_rotation(
        await read_json_body(request) if body else body, create_key_parser_options(service.settings)
    )
    await _read_key(number, request, service)
    created_key = await replace_key(service, number, overlap, _get_caller_name(request))
    if created_key is None:
        raise ProblemError(problems.build_key_not_valid(number))
    return JsonResponse(_convert_created_key(created_key), status_code=201)


KEY_HANDLERS = [post_key, get_keys, get_key, delete_key, post_rotation]


async def _read_key(key_id: int, request: HttpRequest, service: AppContext) -> schemas.Key:
    key = await service.keys.get(key_id)
    if key is None:
        raise ProblemError(problems.build_key_not_found(key_id))
    return _convert_key(key)


def _get_caller_name(request: HttpRequest) -> str:
    return get_admission(request.scope).grant.name


def _convert_created_key(created_key: CreatedKey) -> schemas.Key:
    """Return a new key with its secret, which is in this response only."""
    response = _convert_key(created_key.key)
    response.key = created_key.secret
    return response


def _convert_key(key: Key) -> schemas.Key:
    return schemas.Key(
        id=key.id,
        name=key.name,
        scopes=cast(list[Scope], key.scopes),
        user_ids=key.user_ids,
        networks=key.networks,
        valid=key.valid,
        created_at=format_instant(key.created_at),
        expires_at=format_optional_instant(key.expires_at),
        revoked_at=format_optional_instant(key.revoked_at),
        replaced_by=key.replaced_by,
    )
