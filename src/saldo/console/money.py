"""Deposit and withdraw: a form, a page to confirm what it would do, and the result.

The uuid is made before the page to confirm, and stands in that page's address whatever the page says, and in that of
the form that it leads back to. So a double click, a page that is sent or opened again, and the way back all post the
same transaction, which the ledger does once.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode
from uuid import UUID, uuid4

from litestar import Response, post
from litestar.params import FromPath

from saldo.access.grant import Scope
from saldo.console.account import user_of
from saldo.console.gate import needing
from saldo.console.page import Given, Page, SaidFault, form_of, query_of, shows
from saldo.console.transactions import TRANSACTIONS_PATH
from saldo.console.users import USERS_PATH
from saldo.engine.errors import EngineError, OutcomeUnknownError
from saldo.http.answers import count_outcome
from saldo.http.wire import Fault, InvalidError, parse_kind, parse_uuid
from saldo.ledger.model import Decision, Kind, Outcome, TransactionRequest
from saldo.ledger.money import AmountTooLargeError, MoneyError, parse_amount
from saldo.ledger.time import InstantError, format_instant, parse_instant
from saldo.store.reader import Transaction, User

FORM_PATH: Final = f"{USERS_PATH}/{{user_id:str}}/post"
CONFIRM_PATH: Final = f"{USERS_PATH}/{{user_id:str}}/confirm"

EXAMPLE: Final = 12_345
"""Minor units of the amount that the form shows how to type."""

_log = logging.getLogger("saldo.console")

_FIELDS: Final = ("type", "amount", "timestamp")


class Movement(NamedTuple):
    """What is wanted. amount: minor units; timestamp: None: when it is posted."""

    kind: Kind
    amount: int
    timestamp: datetime | None

    @property
    def signed(self) -> int:
        """As the ledger has it."""
        return self.amount if self.kind is Kind.DEPOSIT else -self.amount

    @property
    def name(self) -> str:
        """As the API names it."""
        return "DEPOSIT" if self.kind is Kind.DEPOSIT else "WITHDRAW"

    def is_that_of(self, user: User, recorded: Transaction) -> bool:
        """Whether it is what is recorded under its uuid."""
        same = recorded.user_id == user.id and recorded.amount == self.signed
        return same and self.timestamp in {None, recorded.timestamp}


@shows(FORM_PATH)
async def show_form(page: Given, user_id: FromPath[str]) -> Response[bytes]:
    """The form."""
    needing(page, Scope.WRITE)
    user = await user_of(page, user_id)
    asked = query_of(page.request, "uuid", *_FIELDS)
    parse_kind(asked.get("type"))
    if "uuid" in asked:
        # Of the page to confirm, whose outcome may have been unknown: it is decided by now, or is still to be sent.
        recorded = await _recorded(page, parse_uuid(asked["uuid"]))
        if recorded is not None:
            return page.go(f"{TRANSACTIONS_PATH}/{recorded.uuid}", done="before")
    return _form(page, user, asked, {})


@post(FORM_PATH)
async def take_form(page: Given, user_id: FromPath[str]) -> Response[bytes]:
    """To the page to confirm, with a uuid of its own; back from there, with the same."""
    needing(page, Scope.WRITE)
    user = await user_of(page, user_id)
    asked = await form_of(page.request, "uuid", *_FIELDS)
    uuid = parse_uuid(asked["uuid"]) if "uuid" in asked else uuid4()
    try:
        movement = _read(page, asked, page.formats.typed_amount(asked.get("amount", "")))
    except InvalidError as error:
        return _form(page, user, asked, page.faults(error))
    return page.go(f"{USERS_PATH}/{user.id}/confirm", **_written(page, uuid, movement))


@shows(CONFIRM_PATH)
async def show_confirm(page: Given, user_id: FromPath[str]) -> Response[bytes]:
    """What the balance would be. Nothing is posted yet; if it was before, its result."""
    needing(page, Scope.WRITE)
    user = await user_of(page, user_id)
    asked = query_of(page.request, "uuid", *_FIELDS)
    uuid, movement = parse_uuid(asked.get("uuid", "")), _read(page, asked, asked.get("amount", ""))
    recorded = await _recorded(page, uuid)
    if recorded is not None:
        done = "before" if movement.is_that_of(user, recorded) else "other"
        return page.go(f"{TRANSACTIONS_PATH}/{uuid}", done=done)
    return await _confirm(page, user, uuid, movement)


@post(CONFIRM_PATH)
async def confirm(page: Given, user_id: FromPath[str]) -> Response[bytes]:
    """Posts it: once, however often this is sent."""
    needing(page, Scope.WRITE)
    user = await user_of(page, user_id)
    asked = await form_of(page.request, "uuid", *_FIELDS)
    uuid, movement = parse_uuid(asked.get("uuid", "")), _read(page, asked, asked.get("amount", ""))
    request = TransactionRequest(uuid, user.id, movement.signed, movement.timestamp)
    try:
        decision = await page.service.engine.post(request)
    except EngineError as error:
        unknown = isinstance(error, OutcomeUnknownError)
        said = page.words.unknown_outcome if unknown else page.words.not_posted_now
        return await _confirm(page, user, uuid, movement, 503, said)
    count_outcome(decision.outcome, decision.replayed)
    # Who did it must be found afterwards; how much it was is in the ledger.
    _log.info("transaction %s of user %d was sent by %s", uuid, user.id, page.grant.name)
    if decision.outcome.recorded:
        done = "before" if decision.replayed else "now"
        return page.go(f"{TRANSACTIONS_PATH}/{uuid}", done=done)
    if decision.outcome is Outcome.UUID_CONFLICT and await _recorded(page, uuid) is not None:
        return page.go(f"{TRANSACTIONS_PATH}/{uuid}", done="other")
    return await _confirm(page, user, uuid, movement, 409, _reason(page, decision))


HANDLERS = [show_form, take_form, show_confirm, confirm]


def _form(page: Page, user: User, asked: dict[str, str], faults: dict[str, str]) -> Response[bytes]:
    example = page.formats.money(min(EXAMPLE, page.service.reading.amount_max_minor))
    kind = asked.get("type", "DEPOSIT")
    status = 422 if faults else 200
    page.stands_at(f"{USERS_PATH}/{user.id}/post", **asked)
    return page.show(
        "money.html", status, user=user, kind=kind, asked=asked, faults=faults, example=example
    )


async def _confirm(
    page: Page, user: User, uuid: UUID, movement: Movement, status: int = 200, said: str = ""
) -> Response[bytes]:
    after = user.balance + movement.signed
    # Not after an unknown outcome: the database may not be there, and this page must be.
    then = None if said else await _balance_then(page, user, movement)
    values: dict[str, Any] = {"uuid": uuid, "movement": movement, "after": after, "said": said}
    # What was refused as it is would be refused again.
    values |= {
        "then": then,
        "warning": _warning(page, movement, after, then),
        "final": status == 409,
    }
    written = _written(page, uuid, movement)
    back = dict(written)
    if movement.timestamp is not None:
        back["timestamp"] = page.formats.field(movement.timestamp)
    page.stands_at(f"{USERS_PATH}/{user.id}/confirm", **written)
    return page.show(
        "confirm.html", status, user=user, back=urlencode(back), fields=written, **values
    )


async def _balance_then(page: Page, user: User, movement: Movement) -> int | None:
    """The balance that a transaction of the past meets; None: that of now."""
    if movement.timestamp is None or movement.timestamp >= datetime.now(UTC):
        return None
    return await page.service.reader.balance(user.id, movement.timestamp, None)


def _warning(page: Page, movement: Movement, after: int, then: int | None) -> str:
    """Why it would be refused, as far as can be told before it is sent."""
    words, tolerance = page.words, page.service.settings.future_tolerance
    if movement.timestamp is not None and movement.timestamp > datetime.now(UTC) + tolerance:
        return words.would_be_in_future
    if after < 0:
        return words.would_be_refused
    if then is not None and then + movement.signed < 0:
        return words.would_be_refused_then
    return ""


def _written(page: Page, uuid: UUID, movement: Movement) -> dict[str, str]:
    """As the address of the page to confirm has it, and its form."""
    fields = {
        "uuid": str(uuid),
        "type": movement.name,
        "amount": page.formats.plain(movement.amount),
    }
    if movement.timestamp is not None:
        fields["timestamp"] = format_instant(movement.timestamp)
    return fields


async def _recorded(page: Page, uuid: UUID) -> Transaction | None:
    """What is recorded under a uuid, as far as it may be seen."""
    found = await page.service.reader.transaction(uuid)
    return found if found is not None and page.grant.covers(found.user_id) else None


def _read(page: Page, asked: dict[str, str], amount: str) -> Movement:
    """What was filled in, or stands in an address.

    Raises:
        InvalidError: with every fault of it.
    """
    faults: list[Fault] = []
    reading = page.service.reading
    minor, timestamp = 0, None
    kind = parse_kind(asked.get("type", "DEPOSIT"))
    assert kind is not None
    try:
        minor = parse_amount(amount, reading.decimals, reading.amount_max_minor)
    except AmountTooLargeError:
        most = page.formats.money(reading.amount_max_minor)
        faults.append(SaidFault("amount", page.words.amount_too_large.format(most)))
    except MoneyError as error:
        faults.append(Fault("amount", str(error)))
    try:
        if "timestamp" in asked:
            timestamp = parse_instant(asked["timestamp"], page.formats.zone)
    except InstantError as error:
        faults.append(Fault("timestamp", str(error)))
    if faults:
        raise InvalidError(faults)
    return Movement(kind, minor, timestamp)


def _reason(page: Page, decision: Decision) -> str:
    """Why nothing is recorded."""
    reason = page.words.outcome_reasons[decision.outcome.name.lower()]
    return f"{reason}. {page.words.not_posted}"
