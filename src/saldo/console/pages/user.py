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
from saldo.parsing.faults import InvalidField, InvalidRequestError
from saldo.parsing.transactions import parse_kind, parse_page_position, parse_user_id
from saldo.store.reader import TransactionPage, User

PAGE_TRANSACTIONS: Final = 50
READS_MAX: Final = 20
"""Maximum number of reads of the log for one page.

With a filter, each read scans at most `page_scan_entries_max` entries.
"""

_FILTERS: Final = ("from", "to", "type", "outcome")


@page_route(f"{USERS_PATH}/{{user_id:str}}")
async def show_user(page: InjectedPage, user_id: FromPath[str]) -> Response[bytes]:
    """Show a user. If fields are invalid, messages are shown next to them, and the rest of the page is shown as
    usual."""
    user = await get_user(page, user_id)
    values = parse_query(page.request, "date", "cursor", *_FILTERS)
    faults: dict[str, str] = {}
    instant = _parse_instant(page, values, "date", faults)
    balance_at = (
        None if instant is None else await page.service.reader.read_balance(user.id, instant, None)
    )
    transaction_page = await _read_transactions(page, user, values, faults)
    filters: dict[str, str] = {name: values[name] for name in _FILTERS if name in values}
    parameters = {"date": values["date"], **filters} if "date" in values else filters
    older = ""
    if transaction_page.next_before is not None:
        older = urlencode({**parameters, "cursor": str(transaction_page.next_before)})
    return page.render(
        "user.html",
        422 if faults else 200,
        user=user,
        date=values.get("date", ""),
        balance_at=balance_at,
        faults=faults,
        filters_shown={name: values.get(name, "") for name in (*_FILTERS, "cursor")},
        filtered=bool(filters),
        transactions=transaction_page.transactions,
        older=older,
        newest=urlencode(parameters),
    )


HANDLERS = [show_user]


async def get_user(page: ConsolePage, user_id: FromPath[str]) -> User:
    """Return the user of a path.

    Raises:
        ProblemError: The key may not access this user.
        PageNotFoundError: The user does not exist.
    """
    try:
        number = parse_user_id(user_id)
    except InvalidRequestError:
        raise PageNotFoundError from None
    require_user(page.request.scope, number)
    user = await page.service.reader.get_user(number)
    if user is None:
        raise PageNotFoundError
    return user


async def _read_transactions(
    page: ConsolePage, user: User, values: dict[str, str], faults: dict[str, str]
) -> TransactionPage:
    since, until = (_parse_instant(page, values, name, faults) for name in ("from", "to"))
    if since is not None and until is not None and since >= until:
        fault = LocalizedFault("to", page.messages.range_is_empty)
        faults |= page.describe_faults(InvalidRequestError([fault]))
        until = None
    outcome = values.get("outcome")
    if outcome not in {None, "posted", "refused"}:
        raise InvalidRequestError([InvalidField("outcome", "must be posted or refused")])
    is_posted = None if outcome is None else outcome == "posted"
    cursor, kind = values.get("cursor"), parse_kind(values.get("type"))
    transaction_page = TransactionPage(
        [], None if cursor is None else parse_page_position("cursor", cursor)
    )
    for _ in range(READS_MAX):
        next_page = await page.service.reader.list_transactions(
            user.id,
            before=transaction_page.next_before,
            since=since,
            until=until,
            kind=kind,
            limit=PAGE_TRANSACTIONS,
            posted=is_posted,
        )
        transaction_page = next_page or TransactionPage([], None)
        # With a filter, a read may return no transactions although there are older ones.
        if transaction_page.transactions or transaction_page.next_before is None:
            break
    return transaction_page


def _parse_instant(
    page: ConsolePage, values: dict[str, Any], field: str, faults: dict[str, str]
) -> datetime | None:
    """Parse a time that was typed in the reader's time zone. If the time is invalid, add a fault and return None."""
    if field not in values:
        return None
    try:
        return parse_instant(values[field], page.formatter.zone)
    except InstantError as error:
        faults |= page.describe_faults(InvalidRequestError([InvalidField(field, str(error))]))
        return None
