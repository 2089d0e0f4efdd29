"""Deposits and withdrawals in the console: a form, a confirmation page and the result.

The uuid is created when the form is submitted. It is part of the confirmation page's address, and of that page's link
back to the form. If a visitor clicks twice, reloads or reopens a page, or goes back to the form, the same uuid is
posted, and the ledger records the transaction once.
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
from saldo.parsing.faults import FaultCollector, InvalidRequestError
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
        """Return whether the recorded transaction has the content of this form. A form without timestamp fits any
        timestamp."""
        is_same = recorded.user_id == user.id and recorded.amount == self.signed_amount
        return is_same and self.timestamp in {None, recorded.timestamp}


@page_route(FORM_PATH)
async def show_form(page: InjectedPage, user_id: FromPath[str]) -> Response[bytes]:
    """Show the form."""
    require_scope(page, Scope.WRITE)
    user = await get_user(page, user_id)
    values = parse_query(page.request, "uuid", *_FIELDS)
    parse_kind(values.get("type"))
    if "uuid" in values:
        # The visitor came back from the confirmation page, possibly after an unknown outcome. The transaction may have
        # been recorded since then.
        recorded = await _find_recorded(page, parse_uuid(values["uuid"]))
        if recorded is not None:
            return page.redirect(f"{TRANSACTIONS_PATH}/{recorded.uuid}", done="before")
    return _render_form(page, user, values, {})


@post(FORM_PATH)
async def submit_form(page: InjectedPage, user_id: FromPath[str]) -> Response[bytes]:
    """Redirect to the confirmation page. If the visitor came back from that page, the uuid stays the same; otherwise it
    is new."""
    require_scope(page, Scope.WRITE)
    user = await get_user(page, user_id)
    values = await parse_form(page.request, "uuid", *_FIELDS)
    uuid = parse_uuid(values["uuid"]) if "uuid" in values else uuid4()
    try:
        form = _parse_form(page, values, page.formatter.normalize_amount(values.get("amount", "")))
    except InvalidRequestError as error:
        return _render_form(page, user, values, page.describe_faults(error))
    return page.redirect(f"{USERS_PATH}/{user.id}/confirm", **_build_parameters(page, uuid, form))


@page_route(CONFIRM_PATH)
async def show_confirm(page: InjectedPage, user_id: FromPath[str]) -> Response[bytes]:
    """Show the balance after the transaction. If the transaction is already recorded, redirect to its result."""
    require_scope(page, Scope.WRITE)
    user = await get_user(page, user_id)
    values = parse_query(page.request, "uuid", *_FIELDS)
    uuid, form = (
        parse_uuid(values.get("uuid", "")),
        _parse_form(page, values, values.get("amount", "")),
    )
    recorded = await _find_recorded(page, uuid)
    if recorded is not None:
        done = "before" if form.matches(user, recorded) else "other"
        return page.redirect(f"{TRANSACTIONS_PATH}/{uuid}", done=done)
    return await _render_confirmation(page, user, uuid, form)


@post(CONFIRM_PATH)
async def post_transaction(page: InjectedPage, user_id: FromPath[str]) -> Response[bytes]:
    """Post the transaction. Repeated submissions post it once."""
    require_scope(page, Scope.WRITE)
    user = await get_user(page, user_id)
    values = await parse_form(page.request, "uuid", *_FIELDS)
    uuid, form = (
        parse_uuid(values.get("uuid", "")),
        _parse_form(page, values, values.get("amount", "")),
    )
    request = TransactionRequest(uuid, user.id, form.signed_amount, form.timestamp)
    try:
        decision = await page.service.engine.post(request)
    except EngineError as error:
        is_unknown = isinstance(error, OutcomeUnknownError)
        message = page.messages.unknown_outcome if is_unknown else page.messages.not_posted_now
        return await _render_confirmation(page, user, uuid, form, 503, message)
    count_outcome(decision.outcome, decision.replayed)
    # Log the author for the audit trail. The amount is in the ledger.
    _log.info("transaction %s of user %d was submitted by %s", uuid, user.id, page.grant.name)
    if decision.outcome.is_recorded:
        done = "before" if decision.replayed else "now"
        return page.redirect(f"{TRANSACTIONS_PATH}/{uuid}", done=done)
    if decision.outcome is Outcome.UUID_CONFLICT and await _find_recorded(page, uuid) is not None:
        return page.redirect(f"{TRANSACTIONS_PATH}/{uuid}", done="other")
    return await _render_confirmation(
        page, user, uuid, form, 409, _describe_refusal(page, decision)
    )


HANDLERS = [show_form, submit_form, show_confirm, post_transaction]


def _render_form(
    page: ConsolePage, user: User, values: dict[str, str], faults: dict[str, str]
) -> Response[bytes]:
    example = page.formatter.format_money(
        min(EXAMPLE_AMOUNT_MINOR, page.service.parser_options.amount_max_minor)
    )
    kind = values.get("type", "DEPOSIT")
    status = 422 if faults else 200
    page.set_canonical_url(f"{USERS_PATH}/{user.id}/post", **values)
    return page.render(
        "transaction_form.html",
        status,
        user=user,
        kind=kind,
        values=values,
        faults=faults,
        example=example,
    )


async def _render_confirmation(
    page: ConsolePage,
    user: User,
    uuid: UUID,
    form: TransactionForm,
    status: int = 200,
    message: str = "",
) -> Response[bytes]:
    after = user.balance + form.signed_amount
    # This query is skipped after an error, because the page must be shown even if the database is not available.
    late_balance = None if message else await _read_late_balance(page, user, form)
    values: dict[str, Any] = {"uuid": uuid, "form": form, "after": after, "message": message}
    # A refused transaction would be refused again, so the page offers no button to repeat it.
    values |= {
        "late_balance": late_balance,
        "warning": _find_warning(page, form, after, late_balance),
        "final": status == 409,
    }
    parameters = _build_parameters(page, uuid, form)
    form_values = dict(parameters)
    if form.timestamp is not None:
        form_values["timestamp"] = page.formatter.format_input_value(form.timestamp)
    page.set_canonical_url(f"{USERS_PATH}/{user.id}/confirm", **parameters)
    return page.render(
        "confirm.html", status, user=user, back=urlencode(form_values), fields=parameters, **values
    )


async def _read_late_balance(page: ConsolePage, user: User, form: TransactionForm) -> int | None:
    """Return the balance at the timestamp of the transaction, or None if the timestamp is missing or in the future."""
    if form.timestamp is None or form.timestamp >= datetime.now(UTC):
        return None
    return await page.service.reader.read_balance(user.id, form.timestamp, None)


def _find_warning(
    page: ConsolePage, form: TransactionForm, after: int, late_balance: int | None
) -> str:
    """Return the reason why the transaction would be refused. Return an empty text if no reason is known in advance."""
    messages, tolerance = page.messages, page.service.settings.future_tolerance
    if form.timestamp is not None and form.timestamp > datetime.now(UTC) + tolerance:
        return messages.would_be_in_future
    if after < 0:
        return messages.would_be_refused
    if late_balance is not None and late_balance + form.signed_amount < 0:
        return messages.would_be_refused_then
    return ""


def _build_parameters(page: ConsolePage, uuid: UUID, form: TransactionForm) -> dict[str, str]:
    """Return the query parameters of the confirmation page, which are also the fields of its form."""
    fields = {
        "uuid": str(uuid),
        "type": form.name,
        "amount": page.formatter.format_api_amount(form.amount),
    }
    if form.timestamp is not None:
        fields["timestamp"] = format_instant(form.timestamp)
    return fields


async def _find_recorded(page: ConsolePage, uuid: UUID) -> Transaction | None:
    """Return the transaction that is recorded under a uuid. Return None if there is none, or if the key may not access
    its user."""
    transaction = await page.service.reader.get_transaction(uuid)
    return (
        transaction
        if transaction is not None and page.grant.includes_user(transaction.user_id)
        else None
    )


def _parse_form(page: ConsolePage, values: dict[str, str], amount: str) -> TransactionForm:
    """Parse the fields of the form or the parameters of the address.

    Raises:
        InvalidRequestError: Some fields are invalid. The error contains all faults of amount and timestamp.
    """
    faults = FaultCollector()
    options = page.service.parser_options
    minor, timestamp = 0, None
    kind = parse_kind(values.get("type", "DEPOSIT"))
    assert kind is not None
    try:
        minor = parse_amount(amount, options.decimals, options.amount_max_minor)
    except AmountTooLargeError:
        maximum = page.formatter.format_money(options.amount_max_minor)
        faults.extend([LocalizedFault("amount", page.messages.amount_too_large.format(maximum))])
    except MoneyError as error:
        faults.add("amount", str(error))
    if "timestamp" in values:
        value = values["timestamp"]
        timestamp = faults.parse("timestamp", parse_instant, value, page.formatter.zone)
    faults.raise_if_any()
    return TransactionForm(kind, minor, timestamp)


def _describe_refusal(page: ConsolePage, decision: Decision) -> str:
    """Return the message about a refused transaction that was not recorded."""
    reason = page.messages.outcome_reasons[decision.outcome.name.lower()]
    return f"{reason}. {page.messages.not_posted}"
