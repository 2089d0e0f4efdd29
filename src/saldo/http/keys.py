"""The routes of keys. Each handler reads, asks the store, and writes; no rule lives here."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias, cast

from litestar import Response, delete, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Example
from litestar.params import PathParameter

from saldo.access.grant import Scope
from saldo.http import key_schemas as schemas
from saldo.http import problems
from saldo.http.access import admission_of
from saldo.http.examples import BODY, READING, problem_specs
from saldo.http.key_changes import MadeKey, make_key, replace_key, revoke_key
from saldo.http.key_operations import PostKey, PostRotation
from saldo.http.key_wire import key_reading, parse_key_id, parse_new_key, parse_rotation
from saldo.http.operations import Documented
from saldo.http.paging import page_of
from saldo.http.parameters import Cursor, Limit
from saldo.http.patterns import DIGITS
from saldo.http.routes import AnswerError, Asked, Given, json_of, request_id, written
from saldo.http.service import Service
from saldo.http.wire import Fault, parse_limit, read_cursor
from saldo.ledger.time import format_instant
from saldo.store.keys import Key, TooManyKeysError

KeyId: TypeAlias = Annotated[
    str,
    PathParameter(
        description="The key.",
        examples=[Example(value="1")],
        schema_extra={"pattern": DIGITS},
    ),
]

_TAGS = ["keys"]
_WRONG_ID = Fault("key_id", "must be a whole number greater than zero")
_WRONG_SCOPES = Fault("scopes", "must be a list of read, write, metrics, admin")


@post(
    "/v1/key",
    summary="Make a key",
    tags=_TAGS,
    operation_class=PostKey,
    responses={
        201: ResponseSpec(schemas.Key, description="Created.", generate_examples=False),
        **problem_specs("too_many_keys", *READING, *BODY, invalid=_WRONG_SCOPES),
    },
)
async def post_key(request: Asked, service: Given) -> Response[Any]:
    """The key itself is shown only in this answer: what is kept is a hash of it."""
    wanted = parse_new_key(await json_of(request), key_reading(service.settings))
    try:
        made = await make_key(service, wanted, _asking(request))
    except TooManyKeysError:
        maximum = service.settings.keys_max
        raise AnswerError(problems.too_many_keys(maximum).answer(request_id(request))) from None
    return Response(_shown(made), status_code=201)


@get(
    "/v1/key",
    summary="Keys",
    tags=_TAGS,
    operation_class=Documented,
    responses=problem_specs(
        *READING, invalid=Fault("limit", "must be a whole number from 1 to 1000")
    ),
)
async def get_keys(service: Given, limit: Limit = None, cursor: Cursor = None) -> schemas.KeyList:
    """All keys by id; revoked and expired ones too."""
    count = parse_limit(limit, service.settings.page_items_default, service.settings.page_items_max)
    found = await service.keys.page(after_id=read_cursor("keys", cursor) or 0, limit=count + 1)
    page, next_cursor = page_of("keys", found, count)
    return schemas.KeyList([_key(each) for each in page], next_cursor)


@get(
    "/v1/key/{key_id:str}",
    summary="One key",
    tags=_TAGS,
    operation_class=Documented,
    responses=problem_specs("key_not_found", *READING, invalid=_WRONG_ID),
)
async def get_key(key_id: KeyId, request: Asked, service: Given) -> schemas.Key:
    """What it opens, for whom, and until when."""
    return await _found(parse_key_id(key_id), request, service)


@delete(
    "/v1/key/{key_id:str}",
    status_code=200,
    summary="Revoke a key",
    tags=_TAGS,
    operation_class=Documented,
    responses=problem_specs("key_not_found", *READING, invalid=_WRONG_ID),
)
async def delete_key(key_id: KeyId, request: Asked, service: Given) -> schemas.Key:
    """Nobody is let in with it any more: by this process at once, by others after SALDO_KEYS_REFRESH_SECONDS.
    It stays in the list."""
    number = parse_key_id(key_id)
    await revoke_key(service, number, _asking(request))
    return await _found(number, request, service)


@post(
    "/v1/key/{key_id:str}/rotate",
    status_code=201,
    summary="Replace a key",
    tags=_TAGS,
    operation_class=PostRotation,
    responses={
        201: ResponseSpec(schemas.Key, description="The new one.", generate_examples=False),
        **problem_specs(
            *("key_not_found", "key_not_valid"),
            *READING,
            *BODY,
            invalid=Fault("overlap_seconds", "must be a whole number of seconds"),
        ),
    },
)
async def post_rotation(key_id: KeyId, request: Asked, service: Given) -> Response[Any]:
    """Makes a new key of the same rights. The old one stays valid for a while, so that nobody is shut out."""
    number = parse_key_id(key_id)
    body = await request.body()
    overlap = parse_rotation(
        await json_of(request) if body else body, key_reading(service.settings)
    )
    await _found(number, request, service)
    made = await replace_key(service, number, overlap, _asking(request))
    if made is None:
        raise AnswerError(problems.key_not_valid(number).answer(request_id(request)))
    return Response(_shown(made), status_code=201)


KEY_HANDLERS = [post_key, get_keys, get_key, delete_key, post_rotation]


async def _found(key_id: int, request: Asked, service: Service) -> schemas.Key:
    key = await service.keys.get(key_id)
    if key is None:
        raise AnswerError(problems.key_not_found(key_id).answer(request_id(request)))
    return _key(key)


def _asking(request: Asked) -> str:
    return admission_of(request.scope).grant.name


def _shown(made: MadeKey) -> schemas.Key:
    """With what opens the door: only in this answer."""
    shown = _key(made.key)
    shown.key = made.secret
    return shown


def _key(key: Key) -> schemas.Key:
    return schemas.Key(
        id=key.id,
        name=key.name,
        scopes=cast(list[Scope], key.scopes),
        user_ids=key.user_ids,
        networks=key.networks,
        valid=key.valid,
        created_at=format_instant(key.created_at),
        expires_at=written(key.expires_at),
        revoked_at=written(key.revoked_at),
        replaced_by=key.replaced_by,
    )
