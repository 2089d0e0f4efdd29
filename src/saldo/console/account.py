"""One user: the balance now and at any date, the chart, the transactions."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final
from urllib.parse import urlencode

from litestar import Response
from litestar.params import FromPath

from saldo.console.gate import NotFoundError
from saldo.console.page import Given, Page, query_of, shows
from saldo.console.users import USERS_PATH
from saldo.http.access import covering
from saldo.http.wire import Fault, InvalidError, parse_kind, parse_user_id
from saldo.ledger.time import InstantError, parse_instant
from saldo.store.reader import TransactionPage, User

PAGE_TRANSACTIONS: Final = 50
_FILTERS: Final = ("from", "to", "type", "outcome")


@shows(f"{USERS_PATH}/{{user_id:str}}")
async def show_user(page: Given, user_id: FromPath[str]) -> Response[bytes]:
    """All of it. A field that is filled in wrong is said beside it; the rest is shown all the same."""
    user = await user_of(page, user_id)
    asked = query_of(page.request, "date", "cursor", *_FILTERS)
    faults: dict[str, str] = {}
    moment = _instant(page, asked, "date", faults)
    balance_at = (
        None if moment is None else await page.service.reader.balance(user.id, moment, None)
    )
    found = await _transactions(page, user, asked, faults)
    filters: dict[str, str] = {name: asked[name] for name in _FILTERS if name in asked}
    kept = {"date": asked["date"], **filters} if "date" in asked else filters
    older = ""
    if found.next_before is not None:
        older = urlencode({**kept, "cursor": str(found.next_before)})
    return page.show(
        "user.html",
        422 if faults else 200,
        user=user,
        date=asked.get("date", ""),
        balance_at=balance_at,
        faults=faults,
        wanted={name: asked.get(name, "") for name in (*_FILTERS, "cursor")},
        filtered=bool(filters),
        transactions=found.transactions,
        older=older,
        newest=urlencode(kept),
    )


HANDLERS = [show_user]


async def user_of(page: Page, user_id: FromPath[str]) -> User:
    """The user of a path, if the key is about that one.

    Raises:
        ForbiddenError: it isn't.
        NotFoundError: there is none.
    """
    try:
        number = parse_user_id(user_id)
    except InvalidError:
        raise NotFoundError from None
    covering(page.request.scope, number)
    user = await page.service.reader.user(number)
    if user is None:
        raise NotFoundError
    return user


async def _transactions(
    page: Page, user: User, asked: dict[str, str], faults: dict[str, str]
) -> TransactionPage:
    since, until = (_instant(page, asked, name, faults) for name in ("from", "to"))
    outcome = asked.get("outcome")
    if outcome not in {None, "posted", "refused"}:
        raise InvalidError([Fault("outcome", "must be posted or refused")])
    posted = None if outcome is None else outcome == "posted"
    cursor = asked.get("cursor")
    found = await page.service.reader.transactions(
        user.id,
        before=None if cursor is None else parse_user_id(cursor),
        since=since,
        until=until,
        kind=parse_kind(asked.get("type")),
        limit=PAGE_TRANSACTIONS,
        posted=posted,
    )
    return found or TransactionPage([], None)


def _instant(
    page: Page, asked: dict[str, Any], field: str, faults: dict[str, str]
) -> datetime | None:
    """A moment that was typed, in the reader's zone."""
    if field not in asked:
        return None
    try:
        return parse_instant(asked[field], page.formats.zone)
    except InstantError as error:
        faults |= page.faults(InvalidError([Fault(field, str(error))]))
        return None
