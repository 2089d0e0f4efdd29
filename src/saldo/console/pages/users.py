"""The pages for finding and creating users."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlencode

from litestar import Response, post

from saldo.auth.grants import Scope
from saldo.console.middleware import require_scope
from saldo.console.page import ConsolePage, InjectedPage, page_route, parse_form, parse_query
from saldo.http.authorization import CONSOLE_PATH, require_all_users, require_user
from saldo.parsing.faults import InvalidRequestError
from saldo.parsing.transactions import (
    parse_page_position,
    parse_user_id,
    parse_user_name,
    parse_uuid,
)
from saldo.store.reader import User

USERS_PATH: Final = f"{CONSOLE_PATH}/users"
NEW_USER_PATH: Final = f"{USERS_PATH}/new"
PAGE_USERS: Final = 50

_DIGITS: Final = re.compile(r"[0-9]{1,30}", re.ASCII)


@page_route(USERS_PATH)
async def show_users(page: InjectedPage) -> Response[bytes]:
    """Show all users, or those whose id is the search text or whose name begins with it.

    If the text is the uuid of a transaction, redirect to its page.
    """
    values = parse_query(page.request, "q", "after")
    # Names are stored in composed form (saldo.ledger.names). Input may be decomposed, as on macOS.
    q, after = unicodedata.normalize("NFC", values.get("q", "").strip()), values.get("after")
    after_id = 0 if after is None else parse_page_position("after", after)
    if after_id:
        # Results are continued after the name of this user. They must not reveal the name of a user whom the key may
        # not access.
        require_user(page.request.scope, after_id)
    if _is_uuid(q):
        return page.redirect(f"{CONSOLE_PATH}/transactions/{q}")
    if not q:
        users = await _list_users(page, after_id)
    else:
        users = await _search_users(page, q, after_id)
        if len(users) == 1 and not page.is_partial and not after_id:
            return page.redirect(f"{USERS_PATH}/{users[0].id}")
    users_shown, more = users[:PAGE_USERS], ""
    if len(users) > PAGE_USERS:
        more = urlencode(
            {"q": q, "after": str(users_shown[-1].id)} if q else {"after": users_shown[-1].id}
        )
    return page.render("users.html", q=q, users=users_shown, more=more)


@page_route(NEW_USER_PATH)
async def show_new_user(page: InjectedPage) -> Response[bytes]:
    """Show the form."""
    require_scope(page, Scope.WRITE)
    require_all_users(page.request.scope)
    return page.render("user_new.html", name="", faults={}, taken=None)


@post(NEW_USER_PATH)
async def create_user(page: InjectedPage) -> Response[bytes]:
    """Create a user. If the name is taken, for example because the form was sent twice, show the user who has the
    name."""
    require_scope(page, Scope.WRITE)
    require_all_users(page.request.scope)
    value = (await parse_form(page.request, "name")).get("name", "")
    try:
        name = parse_user_name(value, page.service.parser_options)
    except InvalidRequestError as error:
        faults = page.describe_faults(error)
        return page.render("user_new.html", 422, name=value, faults=faults, taken=None)
    creation = await page.service.reader.create_user(name)
    if not creation.created:
        return page.render("user_new.html", 409, name=value, faults={}, taken=creation.id)
    return page.redirect(f"{USERS_PATH}/{creation.id}")


HANDLERS = [show_users, show_new_user, create_user]


async def _list_users(page: ConsolePage, after_id: int) -> Sequence[User]:
    """Return a page of the users that the key may access, in the order of their ids."""
    reader, allowed_ids = page.service.reader, page.grant.user_ids
    if allowed_ids is None:
        return await reader.list_users(after_id=after_id, name=None, limit=PAGE_USERS + 1)
    return await reader.get_users(sorted(allowed_ids), after_id=after_id, limit=PAGE_USERS + 1)


async def _search_users(page: ConsolePage, q: str, after_id: int) -> Sequence[User]:
    """Return a page of search results: first the user whose id is the text, then users whose names begin with the
    text."""
    if "\0" in q:
        return []  # PostgreSQL's text, and therefore a name, cannot contain the character NUL.
    reader, allowed_ids = page.service.reader, page.grant.user_ids
    last = await reader.get_user(after_id) if after_id else None
    results: list[User] = []
    if last is None and _DIGITS.fullmatch(q):
        user_id = parse_user_id(q)
        user_with_id = await reader.get_user(user_id) if page.grant.includes_user(user_id) else None
        results += [] if user_with_id is None else [user_with_id]
    sorted_ids = None if allowed_ids is None else sorted(allowed_ids)
    spellings = _generate_spellings(q)
    if last is not None:
        # Continue only with the spelling that the last user matched. The results of earlier spellings were on the
        # previous pages, and the results of later spellings are left out.
        spellings = [
            each
            for each in spellings
            if _lowercase_ascii(last.name).startswith(_lowercase_ascii(each))
        ][:1]
        spellings = spellings or [q]
    after = None if last is None else (last.name, last.id)
    for spelling in spellings:
        matches = await reader.search_users(
            spelling, after=after, user_ids=sorted_ids, limit=PAGE_USERS + 1
        )
        result_ids = {user.id for user in results}
        results += [user for user in matches if user.id not in result_ids]
        if len(results) > PAGE_USERS:
            break
    return results


def _generate_spellings(q: str) -> list[str]:
    """Return the spellings of a text to search for, in lower, upper and title case.

    The database ignores the case of a to z. Its locale decides whether it also ignores the case of other letters.
    """
    cases = (q, q[:1].upper() + q[1:], q.lower(), q.title(), q.upper())
    forms = [unicodedata.normalize("NFC", case) for case in cases]
    return list({_lowercase_ascii(form): form for form in forms}.values())


def _lowercase_ascii(text: str) -> str:
    """Return a text with the letters A to Z in lower case."""
    return "".join(letter.lower() if letter.isascii() else letter for letter in text)


def _is_uuid(text: str) -> bool:
    try:
        parse_uuid(text)
    except InvalidRequestError:
        return False
    return True
