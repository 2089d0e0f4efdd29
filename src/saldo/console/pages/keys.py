"""The page on which admins list, create, rotate and revoke keys."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from litestar import Response, post
from litestar.params import FromPath

from saldo.auth.grants import SCOPES, Scope
from saldo.console.flash import clear_flash, read_flash, redirect_with_flash
from saldo.console.middleware import PageNotFoundError, require_scope
from saldo.console.page import (
    ConsolePage,
    InjectedPage,
    page_route,
    parse_form,
    parse_query,
    split_commas,
)
from saldo.http.api.key_admin import CreatedKey, issue_key, replace_key, revoke_key
from saldo.http.authorization import CONSOLE_PATH
from saldo.parsing.faults import InvalidError
from saldo.parsing.keys import KeyParserOptions, parse_key_id, read_new_key
from saldo.parsing.transactions import parse_position
from saldo.store.keys import NewKey, TooManyKeysError

KEYS_PATH: Final = f"{CONSOLE_PATH}/keys"
PAGE_KEYS: Final = 50


@page_route(KEYS_PATH)
async def show_keys(page: InjectedPage) -> Response[bytes]:
    """Show all keys, including revoked and expired ones."""
    require_scope(page, Scope.ADMIN)
    after = parse_query(page.request, "after").get("after")
    shown = read_flash(page)
    if shown is None:
        return await _page(page, after=after)
    number, _, secret = shown.partition(" ")
    key = await page.service.keys.get(int(number))
    assert key is not None  # keys are never deleted
    answer = await _page(page, made=CreatedKey(key, secret))
    clear_flash(page, answer)
    return answer


@post(KEYS_PATH)
async def create_key(page: InjectedPage) -> Response[bytes]:
    """Create a key and show its secret once."""
    require_scope(page, Scope.ADMIN)
    typed = await parse_form(page.request, "name", "users", "networks", "expires_at", *SCOPES)
    try:
        made = await issue_key(page.service, _read(page, typed), page.grant.name)
    except InvalidError as error:
        return await _page(page, 422, typed=typed, faults=page.fault_messages(error))
    except TooManyKeysError:
        maximum = page.formatter.count(page.service.settings.keys_max)
        faults = {"name": page.messages.too_many_keys.format(maximum)}
        return await _page(page, 409, typed=typed, faults=faults)
    return await _show(page, made)


@post(f"{KEYS_PATH}/{{key_id:str}}/revoke")
async def revoke_key_page(page: InjectedPage, key_id: FromPath[str]) -> Response[bytes]:
    """Revoke a key. Sessions that were started with it are no longer valid."""
    require_scope(page, Scope.ADMIN)
    await revoke_key(page.service, _id(key_id), page.grant.name)
    return page.redirect(KEYS_PATH)


@post(f"{KEYS_PATH}/{{key_id:str}}/rotate")
async def rotate_key(page: InjectedPage, key_id: FromPath[str]) -> Response[bytes]:
    """Replace a key with a new one that has the same rights, and show the new secret once."""
    require_scope(page, Scope.ADMIN)
    overlap = timedelta(seconds=page.service.settings.key_overlap_seconds)
    made = await replace_key(page.service, _id(key_id), overlap, page.grant.name)
    return page.redirect(KEYS_PATH) if made is None else await _show(page, made)


HANDLERS = [show_keys, create_key, revoke_key_page, rotate_key]


async def _show(page: ConsolePage, made: CreatedKey) -> Response[bytes]:
    """Show a new key on the next page.

    The first key is an exception, because its visitor has no session. From now on every page requires a key, so the
    response to the form shows the new key.
    """
    if not page.visitor.signed_in:
        return await _page(page, made=made)
    return redirect_with_flash(page, KEYS_PATH, f"{made.key.id} {made.secret}")


async def _page(
    page: ConsolePage,
    status: int = 200,
    *,
    after: str | None = None,
    made: CreatedKey | None = None,
    typed: dict[str, str] | None = None,
    faults: dict[str, str] | None = None,
) -> Response[bytes]:
    after_id = 0 if after is None else parse_position("after", after)
    keys = await page.service.keys.page(after_id=after_id, limit=PAGE_KEYS + 1)
    return page.render(
        "keys.html",
        status,
        keys=keys[:PAGE_KEYS],
        more=keys[PAGE_KEYS - 1].id if len(keys) > PAGE_KEYS else None,
        made=made,
        typed=typed or {},
        faults=faults or {},
    )


def _read(page: ConsolePage, typed: dict[str, str]) -> NewKey:
    fields: dict[str, Any] = {
        "name": typed.get("name", ""),
        "scopes": [scope.value for scope in SCOPES if scope in typed] or None,
        "user_ids": split_commas(typed.get("users")),
        "networks": split_commas(typed.get("networks")),
        "expires_at": typed.get("expires_at"),
    }
    return read_new_key(fields, KeyParserOptions(page.formatter.zone, 0, datetime.now(UTC)))


def _id(text: str) -> int:
    try:
        return parse_key_id(text)
    except InvalidError:
        raise PageNotFoundError from None
