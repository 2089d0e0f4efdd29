"""Finding a user, and making one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlencode

from litestar import Response, post

from saldo.access.grant import Scope
from saldo.console.gate import needing
from saldo.console.page import Given, Page, form_of, query_of, shows
from saldo.http.access import CONSOLE_PATH, covering_all
from saldo.http.wire import InvalidError, parse_user_id, parse_user_name, parse_uuid
from saldo.store.reader import User

USERS_PATH: Final = f"{CONSOLE_PATH}/users"
NEW_USER_PATH: Final = f"{USERS_PATH}/new"
PAGE_USERS: Final = 50

_DIGITS: Final = re.compile(r"[0-9]{1,30}", re.ASCII)


@shows(USERS_PATH)
async def show_users(page: Given) -> Response[bytes]:
    """All, or those that are looked for: a name's beginning, an id, or a transaction's uuid."""
    asked = query_of(page.request, "q", "after")
    q, after = asked.get("q", "").strip(), asked.get("after")
    after_id = 0 if after is None else parse_user_id(after)
    if _is_uuid(q):
        return page.go(f"{CONSOLE_PATH}/transactions/{q}")
    if not q:
        users = await _all(page, after_id)
    else:
        users = await _found(page, q, after_id)
        if len(users) == 1 and not page.is_part and not after_id:
            return page.go(f"{USERS_PATH}/{users[0].id}")
    shown, more = users[:PAGE_USERS], ""
    if len(users) > PAGE_USERS:
        more = urlencode({"q": q, "after": str(shown[-1].id)} if q else {"after": shown[-1].id})
    return page.show("users.html", q=q, users=shown, more=more)


@shows(NEW_USER_PATH)
async def show_new_user(page: Given) -> Response[bytes]:
    """The form."""
    needing(page, Scope.WRITE)
    covering_all(page.request.scope)
    return page.show("user_new.html", name="", faults={}, taken=None)


@post(NEW_USER_PATH)
async def create_user(page: Given) -> Response[bytes]:
    """Creates one. Sent twice, the second is told that the name is taken, and by whom."""
    needing(page, Scope.WRITE)
    covering_all(page.request.scope)
    typed = (await form_of(page.request, "name")).get("name", "")
    try:
        name = parse_user_name(typed, page.service.reading)
    except InvalidError as error:
        faults = page.faults(error)
        return page.show("user_new.html", 422, name=typed, faults=faults, taken=None)
    creation = await page.service.reader.create_user(name)
    if not creation.created:
        return page.show("user_new.html", 409, name=typed, faults={}, taken=creation.id)
    return page.go(f"{USERS_PATH}/{creation.id}")


HANDLERS = [show_users, show_new_user, create_user]


async def _all(page: Page, after_id: int) -> Sequence[User]:
    """Those that the key is about, by id."""
    reader, only = page.service.reader, page.grant.user_ids
    if only is None:
        return await reader.users(after_id=after_id, name=None, limit=PAGE_USERS + 1)
    return await reader.users_of(sorted(only), after_id=after_id, limit=PAGE_USERS + 1)


async def _found(page: Page, q: str, after_id: int) -> Sequence[User]:
    """The user of the id before those of the name."""
    if "\0" in q:
        return []  # No name has one, and no text of the database.
    reader, only = page.service.reader, page.grant.user_ids
    last = await reader.user(after_id) if after_id else None
    found: list[User] = []
    if last is None and _DIGITS.fullmatch(q):
        user_id = parse_user_id(q)
        of_id = await reader.user(user_id) if page.grant.covers(user_id) else None
        found += [] if of_id is None else [of_id]
    among = None if only is None else sorted(only)
    spellings = _spellings(q)
    if last is not None:
        # Only of one spelling is the rest a range; of the others there was room for all before it, or there is not.
        spellings = [each for each in spellings if _plain(last.name).startswith(_plain(each))][:1]
        spellings = spellings or [q]
    after = None if last is None else (last.name, last.id)
    for beginning in spellings:
        named = await reader.users_found(beginning, after=after, among=among, limit=PAGE_USERS + 1)
        known = {user.id for user in found}
        found += [user for user in named if user.id not in known]
        if len(found) > PAGE_USERS:
            break
    return found


def _spellings(q: str) -> list[str]:
    """As names may be written. The database knows the case of a to z; of other letters where its locale does."""
    forms = (q, q[:1].upper() + q[1:], q.lower(), q.title(), q.upper())
    return list({_plain(form): form for form in forms}.values())


def _plain(text: str) -> str:
    """Without the case of a to z."""
    return "".join(letter.lower() if letter.isascii() else letter for letter in text)


def _is_uuid(text: str) -> bool:
    try:
        parse_uuid(text)
    except InvalidError:
        return False
    return True
