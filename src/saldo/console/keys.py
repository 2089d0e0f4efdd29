"""Keys, for admins: what there is, a new one, another one in its place, and the end of one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from litestar import Response, post
from litestar.params import FromPath

from saldo.access.grant import SCOPES, Scope
from saldo.console.gate import NotFoundError, needing
from saldo.console.once import forget, go_and_show, to_show
from saldo.console.page import Given, Page, form_of, listed, query_of, shows
from saldo.http.access import CONSOLE_PATH
from saldo.http.key_changes import MadeKey, make_key, replace_key, revoke_key
from saldo.http.key_wire import KeyReading, parse_key_id, read_new_key
from saldo.http.wire import InvalidError, parse_user_id
from saldo.store.keys import NewKey, TooManyKeysError

KEYS_PATH: Final = f"{CONSOLE_PATH}/keys"
PAGE_KEYS: Final = 50


@shows(KEYS_PATH)
async def show_keys(page: Given) -> Response[bytes]:
    """All, revoked and expired ones too."""
    needing(page, Scope.ADMIN)
    after = query_of(page.request, "after").get("after")
    shown = to_show(page)
    if shown is None:
        return await _page(page, after=after)
    number, _, secret = shown.partition(" ")
    key = await page.service.keys.get(int(number))
    assert key is not None  # keys are never deleted
    answer = await _page(page, made=MadeKey(key, secret))
    forget(page, answer)
    return answer


@post(KEYS_PATH)
async def create_key(page: Given) -> Response[bytes]:
    """Makes one, and has it shown."""
    needing(page, Scope.ADMIN)
    typed = await form_of(page.request, "name", "users", "networks", "expires_at", *SCOPES)
    try:
        made = await make_key(page.service, _read(page, typed), page.grant.name)
    except InvalidError as error:
        return await _page(page, 422, typed=typed, faults=page.faults(error))
    except TooManyKeysError:
        faults = {"name": page.words.too_many_keys}
        return await _page(page, 409, typed=typed, faults=faults)
    return await _show(page, made)


@post(f"{KEYS_PATH}/{{key_id:str}}/revoke")
async def end_key(page: Given, key_id: FromPath[str]) -> Response[bytes]:
    """Whoever is signed in with it is out, too."""
    needing(page, Scope.ADMIN)
    await revoke_key(page.service, _id(key_id), page.grant.name)
    return page.go(KEYS_PATH)


@post(f"{KEYS_PATH}/{{key_id:str}}/rotate")
async def rotate_key(page: Given, key_id: FromPath[str]) -> Response[bytes]:
    """Makes one of the same rights, and has it shown."""
    needing(page, Scope.ADMIN)
    overlap = timedelta(seconds=page.service.settings.key_overlap_seconds)
    made = await replace_key(page.service, _id(key_id), overlap, page.grant.name)
    return page.go(KEYS_PATH) if made is None else await _show(page, made)


HANDLERS = [show_keys, create_key, end_key, rotate_key]


async def _show(page: Page, made: MadeKey) -> Response[bytes]:
    """On the next page; the first of all at once, since that page, and a reload of this one, need it already."""
    if not page.visitor.signed_in:
        return await _page(page, made=made)
    return go_and_show(page, KEYS_PATH, f"{made.key.id} {made.secret}")


async def _page(
    page: Page,
    status: int = 200,
    *,
    after: str | None = None,
    made: MadeKey | None = None,
    typed: dict[str, str] | None = None,
    faults: dict[str, str] | None = None,
) -> Response[bytes]:
    after_id = 0 if after is None else parse_user_id(after)
    keys = await page.service.keys.page(after_id=after_id, limit=PAGE_KEYS + 1)
    return page.show(
        "keys.html",
        status,
        keys=keys[:PAGE_KEYS],
        more=keys[PAGE_KEYS - 1].id if len(keys) > PAGE_KEYS else None,
        made=made,
        typed=typed or {},
        faults=faults or {},
    )


def _read(page: Page, typed: dict[str, str]) -> NewKey:
    fields: dict[str, Any] = {
        "name": typed.get("name"),
        "scopes": [scope.value for scope in SCOPES if scope in typed] or None,
        "user_ids": listed(typed.get("users")),
        "networks": listed(typed.get("networks")),
        "expires_at": typed.get("expires_at"),
    }
    return read_new_key(fields, KeyReading(page.formats.zone, 0, datetime.now(UTC)))


def _id(text: str) -> int:
    try:
        return parse_key_id(text)
    except InvalidError:
        raise NotFoundError from None
