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
from saldo.parsing.faults import InvalidError
from saldo.parsing.transactions import parse_position, parse_user_id, parse_user_name, parse_uuid
from saldo.store.reader import User

USERS_PATH: Final = f"{CONSOLE_PATH}/users"
NEW_USER_PATH: Final = f"{USERS_PATH}/new"
PAGE_USERS: Final = 50

_DIGITS: Final = re.compile(r"[0-9]{1,30}", re.ASCII)


@page_route(USERS_PATH)
async def show_users(page: InjectedPage) -> Response[bytes]:
    """Show all users, or the results of a search for the beginning of a name, an id, or the uuid of a transaction."""
    asked = parse_query(page.request, "q", "after")
    # Names are stored in composed form (saldo.ledger.names). Input may be decomposed, as on macOS.
    q, after = unicodedata.normalize("NFC", asked.get("q", "").strip()), asked.get("after")
    after_id = 0 if after is None else parse_position("after", after)
    if after_id:
        # The order of names must not reveal the name of a user whom the key does not cover.
        require_user(page.request.scope, after_id)
    if _is_uuid(q):
        return page.redirect(f"{CONSOLE_PATH}/transactions/{q}")
    if not q:
        users = await _all(page, after_id)
    else:
        users = await _search(page, q, after_id)
        if len(users) == 1 and not page.is_partial and not after_id:
            return page.redirect(f"{USERS_PATH}/{users[0].id}")
    shown, more = users[:PAGE_USERS], ""
    if len(users) > PAGE_USERS:
        more = urlencode({"q": q, "after": str(shown[-1].id)} if q else {"after": shown[-1].id})
    return page.render("users.html", q=q, users=shown, more=more)


@page_route(NEW_USER_PATH)
async def show_new_user(page: InjectedPage) -> Response[bytes]:
    """Show the form."""
    require_scope(page, Scope.WRITE)
    require_all_users(page.request.scope)
    return page.render("user_new.html", name="", faults={}, taken=None)


@post(NEW_USER_PATH)
async def create_user(page: InjectedPage) -> Response[bytes]:
    """Create a user. If the form is sent twice, the second response names the user who has the name."""
    require_scope(page, Scope.WRITE)
    require_all_users(page.request.scope)
    typed = (await parse_form(page.request, "name")).get("name", "")
    try:
        name = parse_user_name(typed, page.service.reading)
    except InvalidError as error:
        faults = page.fault_messages(error)
        return page.render("user_new.html", 422, name=typed, faults=faults, taken=None)
    creation = await page.service.reader.create_user(name)
    if not creation.created:
        return page.render("user_new.html", 409, name=typed, faults={}, taken=creation.id)
    return page.redirect(f"{USERS_PATH}/{creation.id}")


HANDLERS = [show_users, show_new_user, create_user]


async def _all(page: ConsolePage, after_id: int) -> Sequence[User]:
    """Return a page of the users that the key covers, in the order of their ids."""
    reader, only = page.service.reader, page.grant.user_ids
    if only is None:
        return await reader.list_users(after_id=after_id, name=None, limit=PAGE_USERS + 1)
    return await reader.get_users(sorted(only), after_id=after_id, limit=PAGE_USERS + 1)


async def _search(page: ConsolePage, q: str, after_id: int) -> Sequence[User]:
    """Return a page of search results: first the user with this id, then the users whose names begin with the text."""
    if "\0" in q:
        return []  # PostgreSQL's text, and therefore a name, cannot contain the character NUL.
    reader, only = page.service.reader, page.grant.user_ids
    last = await reader.get_user(after_id) if after_id else None
    found: list[User] = []
    if last is None and _DIGITS.fullmatch(q):
        user_id = parse_user_id(q)
        of_id = await reader.get_user(user_id) if page.grant.includes_user(user_id) else None
        found += [] if of_id is None else [of_id]
    among = None if only is None else sorted(only)
    spellings = _spellings(q)
    if last is not None:
        # Continue only with the spelling that the last user matched. The results of earlier spellings were all on the
        # pages before, and the results of later spellings are left out.
        spellings = [
            each for each in spellings if _lower_ascii(last.name).startswith(_lower_ascii(each))
        ][:1]
        spellings = spellings or [q]
    after = None if last is None else (last.name, last.id)
    for beginning in spellings:
        named = await reader.search_users(
            beginning, after=after, user_ids=among, limit=PAGE_USERS + 1
        )
        known = {user.id for user in found}
        found += [user for user in named if user.id not in known]
        if len(found) > PAGE_USERS:
            break
    return found


def _spellings(q: str) -> list[str]:
    """Return the spellings of a text to search for, in lower, upper and title case.

    The database ignores the case of a to z. Its locale decides whether it also ignores the case of other letters.
    """
    cases = (q, q[:1].upper() + q[1:], q.lower(), q.title(), q.upper())
    forms = [unicodedata.normalize("NFC", each) for each in cases]
    return list({_lower_ascii(form): form for form in forms}.values())


def _lower_ascii(text: str) -> str:
    """Return a text with the letters A to Z in lower case."""
    return "".join(letter.lower() if letter.isascii() else letter for letter in text)


def _is_uuid(text: str) -> bool:
    try:
        parse_uuid(text)
    except InvalidError:
        return False
    return True
