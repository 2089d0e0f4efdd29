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
from saldo.parsing.faults import InvalidRequestError
from saldo.parsing.keys import KeyParserOptions, parse_key_id, parse_new_key_fields
from saldo.parsing.transactions import parse_page_position
from saldo.store.keys import NewKey, TooManyKeysError

KEYS_PATH: Final = f"{CONSOLE_PATH}/keys"
PAGE_KEYS: Final = 50


@page_route(KEYS_PATH)
async def show_keys(page: InjectedPage) -> Response[bytes]:
    """Show all keys, including revoked and expired ones."""
    require_scope(page, Scope.ADMIN)
    after = parse_query(page.request, "after").get("after")
    flash = read_flash(page)
    if flash is None:
        return await _render_page(page, after=after)
    number, _, secret = flash.partition(" ")
    key = await page.service.keys.get(int(number))
    assert key is not None  # keys are never deleted
    answer = await _render_page(page, created_key=CreatedKey(key, secret))
    clear_flash(page, answer)
    return answer


@post(KEYS_PATH)
async def create_key(page: InjectedPage) -> Response[bytes]:
    """Create a key and show its secret once."""
    require_scope(page, Scope.ADMIN)
    values = await parse_form(page.request, "name", "users", "networks", "expires_at", *SCOPES)
    try:
        created_key = await issue_key(page.service, _parse_new_key(page, values), page.grant.name)
    except InvalidRequestError as error:
        return await _render_page(page, 422, values=values, faults=page.describe_faults(error))
    except TooManyKeysError:
        keys_max = page.formatter.format_count(page.service.settings.keys_max)
        faults = {"name": page.messages.too_many_keys.format(keys_max)}
        return await _render_page(page, 409, values=values, faults=faults)
    return await _show_created_key(page, created_key)


@post(f"{KEYS_PATH}/{{key_id:str}}/revoke")
async def revoke_key_page(page: InjectedPage, key_id: FromPath[str]) -> Response[bytes]:
    """Revoke a key. Sessions that were started with it are no longer valid."""
    require_scope(page, Scope.ADMIN)
    await revoke_key(page.service, _parse_id(key_id), page.grant.name)
    return page.redirect(KEYS_PATH)


@post(f"{KEYS_PATH}/{{key_id:str}}/rotate")
async def rotate_key(page: InjectedPage, key_id: FromPath[str]) -> Response[bytes]:
    """Replace a key with a new one that has the same rights, and show the new secret once."""
    require_scope(page, Scope.ADMIN)
    overlap = timedelta(seconds=page.service.settings.key_overlap_seconds)
    created_key = await replace_key(page.service, _parse_id(key_id), overlap, page.grant.name)
    return (
        page.redirect(KEYS_PATH)
        if created_key is None
        else await _show_created_key(page, created_key)
    )


HANDLERS = [show_keys, create_key, revoke_key_page, rotate_key]


async def _show_created_key(page: ConsolePage, created_key: CreatedKey) -> Response[bytes]:
    """Show a new key on the next page.

    The first key is an exception, because its visitor has no session. From now on every page requires a key, so the
    response to the form shows the new key.
    """
    if not page.visitor.is_signed_in:
        return await _render_page(page, created_key=created_key)
    return redirect_with_flash(page, KEYS_PATH, f"{created_key.key.id} {created_key.secret}")


async def _render_page(
    page: ConsolePage,
    status: int = 200,
    *,
    after: str | None = None,
    created_key: CreatedKey | None = None,
    values: dict[str, str] | None = None,
    faults: dict[str, str] | None = None,
) -> Response[bytes]:
    after_id = 0 if after is None else parse_page_position("after", after)
    keys = await page.service.keys.list_page(after_id=after_id, limit=PAGE_KEYS + 1)
    return page.render(
        "keys.html",
        status,
        keys=keys[:PAGE_KEYS],
        more=keys[PAGE_KEYS - 1].id if len(keys) > PAGE_KEYS else None,
        created_key=created_key,
        values=values or {},
        faults=faults or {},
    )


def _parse_new_key(page: ConsolePage, values: dict[str, str]) -> NewKey:
    fields: dict[str, Any] = {
        "name": values.get("name", ""),
        "scopes": [scope.value for scope in SCOPES if scope in values] or None,
        "user_ids": split_commas(values.get("users")),
        "networks": split_commas(values.get("networks")),
        "expires_at": values.get("expires_at"),
    }
    return parse_new_key_fields(fields, KeyParserOptions(page.formatter.zone, 0, datetime.now(UTC)))


def _parse_id(text: str) -> int:
    try:
        return parse_key_id(text)
    except InvalidRequestError:
        raise PageNotFoundError from None
