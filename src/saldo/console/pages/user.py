"""The page of one user: the balance now and at any date, the chart, and the transactions."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final
from urllib.parse import urlencode

from litestar import Response
from litestar.params import FromPath

from saldo.console.middleware import PageNotFoundError
from saldo.console.page import ConsolePage, InjectedPage, LocalizedFault, page_route, parse_query
from saldo.console.pages.users import USERS_PATH
from saldo.http.authorization import require_user
from saldo.ledger.instants import InstantError, parse_instant
from saldo.parsing.faults import InvalidError, InvalidField
from saldo.parsing.transactions import parse_kind, parse_position, parse_user_id
from saldo.store.reader import TransactionPage, User

PAGE_TRANSACTIONS: Final = 50
READS_MAX: Final = 20
"""Maximum number of reads of the log per page.

With a filter, each read scans at most `page_scan_entries_max` entries.
"""

_FILTERS: Final = ("from", "to", "type", "outcome")


@page_route(f"{USERS_PATH}/{{user_id:str}}")
async def show_user(page: InjectedPage, user_id: FromPath[str]) -> Response[bytes]:
    """Show a user. Messages about invalid fields are shown next to the fields, and the rest of the page is complete."""
    user = await get_user(page, user_id)
    asked = parse_query(page.request, "date", "cursor", *_FILTERS)
    faults: dict[str, str] = {}
    moment = _parse_instant(page, asked, "date", faults)
    balance_at = (
        None if moment is None else await page.service.reader.read_balance(user.id, moment, None)
    )
    found = await _transactions(page, user, asked, faults)
    filters: dict[str, str] = {name: asked[name] for name in _FILTERS if name in asked}
    kept = {"date": asked["date"], **filters} if "date" in asked else filters
    older = ""
    if found.next_before is not None:
        older = urlencode({**kept, "cursor": str(found.next_before)})
    return page.render(
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


async def get_user(page: ConsolePage, user_id: FromPath[str]) -> User:
    """Return the user of a path.

    Raises:
        ProblemError: The key does not cover this user.
        NotFoundError: The user does not exist.
    """
    try:
        number = parse_user_id(user_id)
    except InvalidError:
        raise PageNotFoundError from None
    require_user(page.request.scope, number)
    user = await page.service.reader.get_user(number)
    if user is None:
        raise PageNotFoundError
    return user


async def _transactions(
    page: ConsolePage, user: User, asked: dict[str, str], faults: dict[str, str]
) -> TransactionPage:
    since, until = (_parse_instant(page, asked, name, faults) for name in ("from", "to"))
    if since is not None and until is not None and since >= until:
        fault = LocalizedFault("to", page.messages.range_is_empty)
        faults |= page.fault_messages(InvalidError([fault]))
        until = None
    outcome = asked.get("outcome")
    if outcome not in {None, "posted", "refused"}:
        raise InvalidError([InvalidField("outcome", "must be posted or refused")])
    posted = None if outcome is None else outcome == "posted"
    cursor, kind = asked.get("cursor"), parse_kind(asked.get("type"))
    found = TransactionPage([], None if cursor is None else parse_position("cursor", cursor))
    for _ in range(READS_MAX):
        read = await page.service.reader.list_transactions(
            user.id,
            before=found.next_before,
            since=since,
            until=until,
            kind=kind,
            limit=PAGE_TRANSACTIONS,
            posted=posted,
        )
        found = read or TransactionPage([], None)
        # With a filter, a read may return no transactions although there are older ones.
        if found.transactions or found.next_before is None:
            break
    return found


def _parse_instant(
    page: ConsolePage, asked: dict[str, Any], field: str, faults: dict[str, str]
) -> datetime | None:
    """Parse a time that was typed in the reader's time zone. A fault is added to `faults`, and None is returned."""
    if field not in asked:
        return None
    try:
        return parse_instant(asked[field], page.formatter.zone)
    except InstantError as error:
        faults |= page.fault_messages(InvalidError([InvalidField(field, str(error))]))
        return None
