"""Deposits and withdrawals in the console: a form, a confirmation page and the result.

The uuid is created before the confirmation page. It is part of that page's address, whatever the page shows, and of the
address of the form that the page links back to. A double click, a page that is submitted or opened again, and the way
back therefore all post the same transaction, and the ledger records it once.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode
from uuid import UUID, uuid4

from litestar import Response, post
from litestar.params import FromPath

from saldo.auth.grants import Scope
from saldo.console.middleware import require_scope
from saldo.console.page import (
    ConsolePage,
    InjectedPage,
    LocalizedFault,
    page_route,
    parse_form,
    parse_query,
)
from saldo.console.pages.transaction import TRANSACTIONS_PATH
from saldo.console.pages.user import get_user
from saldo.console.pages.users import USERS_PATH
from saldo.engine.errors import EngineError, OutcomeUnknownError
from saldo.http.responses import count_outcome
from saldo.ledger.instants import format_instant, parse_instant
from saldo.ledger.model import Decision, Kind, Outcome, TransactionRequest
from saldo.ledger.money import AmountTooLargeError, MoneyError, parse_amount
from saldo.parsing.faults import FaultCollector, InvalidError
from saldo.parsing.transactions import parse_kind, parse_uuid
from saldo.store.reader import Transaction, User

FORM_PATH: Final = f"{USERS_PATH}/{{user_id:str}}/post"
CONFIRM_PATH: Final = f"{USERS_PATH}/{{user_id:str}}/confirm"

EXAMPLE_AMOUNT_MINOR: Final = 12_345
"""The example amount in the form, in minor units."""

_log = logging.getLogger("saldo.console")

_FIELDS: Final = ("type", "amount", "timestamp")


class TransactionForm(NamedTuple):
    """The deposit or withdrawal that the form describes.

    Attributes:
        amount: The amount in minor units, above zero.
        timestamp: The timestamp, or None for the time of recording.
    """

    kind: Kind
    amount: int
    timestamp: datetime | None

    @property
    def signed_amount(self) -> int:
        """The amount as the ledger stores it, negative for a withdrawal."""
        return self.amount if self.kind is Kind.DEPOSIT else -self.amount

    @property
    def name(self) -> str:
        """The type of the transaction in the API."""
        return "DEPOSIT" if self.kind is Kind.DEPOSIT else "WITHDRAW"

    def matches(self, user: User, recorded: Transaction) -> bool:
        """Return whether the form equals the transaction that is recorded under its uuid."""
        same = recorded.user_id == user.id and recorded.amount == self.signed_amount
        return same and self.timestamp in {None, recorded.timestamp}


@page_route(FORM_PATH)
async def show_form(page: InjectedPage, user_id: FromPath[str]) -> Response[bytes]:
    """Show the form."""
    require_scope(page, Scope.WRITE)
    user = await get_user(page, user_id)
    asked = parse_query(page.request, "uuid", *_FIELDS)
    parse_kind(asked.get("type"))
    if "uuid" in asked:
        # The uuid comes from the confirmation page, whose outcome may have been unknown. Now the transaction is either
        # recorded or still to be sent.
        recorded = await _find_recorded(page, parse_uuid(asked["uuid"]))
        if recorded is not None:
            return page.redirect(f"{TRANSACTIONS_PATH}/{recorded.uuid}", done="before")
    return _form(page, user, asked, {})


@post(FORM_PATH)
async def submit_form(page: InjectedPage, user_id: FromPath[str]) -> Response[bytes]:
    """Redirect to the confirmation page with a new uuid, or with the same uuid if the visitor came back from there."""
    require_scope(page, Scope.WRITE)
    user = await get_user(page, user_id)
    asked = await parse_form(page.request, "uuid", *_FIELDS)
    uuid = parse_uuid(asked["uuid"]) if "uuid" in asked else uuid4()
    try:
        movement = _parse(page, asked, page.formatter.normalize_amount(asked.get("amount", "")))
    except InvalidError as error:
        return _form(page, user, asked, page.fault_messages(error))
    return page.redirect(
        f"{USERS_PATH}/{user.id}/confirm", **_query_parameters(page, uuid, movement)
    )


@page_route(CONFIRM_PATH)
async def show_confirm(page: InjectedPage, user_id: FromPath[str]) -> Response[bytes]:
    """Show the balance that the transaction would lead to. If it is already recorded, redirect to its result."""
    require_scope(page, Scope.WRITE)
    user = await get_user(page, user_id)
    asked = parse_query(page.request, "uuid", *_FIELDS)
    uuid, movement = parse_uuid(asked.get("uuid", "")), _parse(page, asked, asked.get("amount", ""))
    recorded = await _find_recorded(page, uuid)
    if recorded is not None:
        done = "before" if movement.matches(user, recorded) else "other"
        return page.redirect(f"{TRANSACTIONS_PATH}/{uuid}", done=done)
    return await _confirm(page, user, uuid, movement)


@post(CONFIRM_PATH)
async def post_transaction(page: InjectedPage, user_id: FromPath[str]) -> Response[bytes]:
    """Post the transaction. Repeated submissions post it once."""
    require_scope(page, Scope.WRITE)
    user = await get_user(page, user_id)
    asked = await parse_form(page.request, "uuid", *_FIELDS)
    uuid, movement = parse_uuid(asked.get("uuid", "")), _parse(page, asked, asked.get("amount", ""))
    request = TransactionRequest(uuid, user.id, movement.signed_amount, movement.timestamp)
    try:
        decision = await page.service.engine.post(request)
    except EngineError as error:
        unknown = isinstance(error, OutcomeUnknownError)
        said = page.messages.unknown_outcome if unknown else page.messages.not_posted_now
        return await _confirm(page, user, uuid, movement, 503, said)
    count_outcome(decision.outcome, decision.replayed)
    # Log the author for the audit trail. The amount is in the ledger.
    _log.info("transaction %s of user %d was submitted by %s", uuid, user.id, page.grant.name)
    if decision.outcome.is_recorded:
        done = "before" if decision.replayed else "now"
        return page.redirect(f"{TRANSACTIONS_PATH}/{uuid}", done=done)
    if decision.outcome is Outcome.UUID_CONFLICT and await _find_recorded(page, uuid) is not None:
        return page.redirect(f"{TRANSACTIONS_PATH}/{uuid}", done="other")
    return await _confirm(page, user, uuid, movement, 409, _refusal_message(page, decision))


HANDLERS = [show_form, submit_form, show_confirm, post_transaction]


def _form(
    page: ConsolePage, user: User, asked: dict[str, str], faults: dict[str, str]
) -> Response[bytes]:
    example = page.formatter.money(min(EXAMPLE_AMOUNT_MINOR, page.service.reading.amount_max_minor))
    kind = asked.get("type", "DEPOSIT")
    status = 422 if faults else 200
    page.set_canonical_url(f"{USERS_PATH}/{user.id}/post", **asked)
    return page.render(
        "transaction_form.html",
        status,
        user=user,
        kind=kind,
        asked=asked,
        faults=faults,
        example=example,
    )


async def _confirm(
    page: ConsolePage,
    user: User,
    uuid: UUID,
    movement: TransactionForm,
    status: int = 200,
    said: str = "",
) -> Response[bytes]:
    after = user.balance + movement.signed_amount
    # Skip this query after an error: the database may not be available, and this page must be shown all the same.
    then = None if said else await _balance_at_timestamp(page, user, movement)
    values: dict[str, Any] = {"uuid": uuid, "movement": movement, "after": after, "said": said}
    # A refused transaction would be refused again, so the page offers no button to repeat it.
    values |= {
        "then": then,
        "warning": _warning(page, movement, after, then),
        "final": status == 409,
    }
    written = _query_parameters(page, uuid, movement)
    back = dict(written)
    if movement.timestamp is not None:
        back["timestamp"] = page.formatter.input_value(movement.timestamp)
    page.set_canonical_url(f"{USERS_PATH}/{user.id}/confirm", **written)
    return page.render(
        "confirm.html", status, user=user, back=urlencode(back), fields=written, **values
    )


async def _balance_at_timestamp(
    page: ConsolePage, user: User, movement: TransactionForm
) -> int | None:
    """Return the balance at the timestamp of a late transaction, or None if the current balance applies."""
    if movement.timestamp is None or movement.timestamp >= datetime.now(UTC):
        return None
    return await page.service.reader.read_balance(user.id, movement.timestamp, None)


def _warning(page: ConsolePage, movement: TransactionForm, after: int, then: int | None) -> str:
    """Return the reason why the transaction would be refused, if it is known in advance, or an empty text."""
    messages, tolerance = page.messages, page.service.settings.future_tolerance
    if movement.timestamp is not None and movement.timestamp > datetime.now(UTC) + tolerance:
        return messages.would_be_in_future
    if after < 0:
        return messages.would_be_refused
    if then is not None and then + movement.signed_amount < 0:
        return messages.would_be_refused_then
    return ""


def _query_parameters(page: ConsolePage, uuid: UUID, movement: TransactionForm) -> dict[str, str]:
    """Return the query parameters of the confirmation page, which are also the fields of its form."""
    fields = {
        "uuid": str(uuid),
        "type": movement.name,
        "amount": page.formatter.api_amount(movement.amount),
    }
    if movement.timestamp is not None:
        fields["timestamp"] = format_instant(movement.timestamp)
    return fields


async def _find_recorded(page: ConsolePage, uuid: UUID) -> Transaction | None:
    """Return the transaction that is recorded under a uuid, or None if there is none that the key covers."""
    found = await page.service.reader.get_transaction(uuid)
    return found if found is not None and page.grant.includes_user(found.user_id) else None


def _parse(page: ConsolePage, asked: dict[str, str], amount: str) -> TransactionForm:
    """Parse the fields of the form or the parameters of the address.

    Raises:
        InvalidError: Some fields are invalid. The error contains all faults of amount and timestamp.
    """
    faults = FaultCollector()
    reading = page.service.reading
    minor, timestamp = 0, None
    kind = parse_kind(asked.get("type", "DEPOSIT"))
    assert kind is not None
    try:
        minor = parse_amount(amount, reading.decimals, reading.amount_max_minor)
    except AmountTooLargeError:
        most = page.formatter.money(reading.amount_max_minor)
        faults.extend([LocalizedFault("amount", page.messages.amount_too_large.format(most))])
    except MoneyError as error:
        faults.add("amount", str(error))
    if "timestamp" in asked:
        given = asked["timestamp"]
        timestamp = faults.read("timestamp", parse_instant, given, page.formatter.zone)
    faults.raise_if_any()
    return TransactionForm(kind, minor, timestamp)


def _refusal_message(page: ConsolePage, decision: Decision) -> str:
    """Return the message about a refused transaction that was not recorded."""
    reason = page.messages.outcome_reasons[decision.outcome.name.lower()]
    return f"{reason}. {page.messages.not_posted}"
