"""Errors as RFC 9457 problems, and the one mapping from outcome to status."""

from __future__ import annotations

import logging
from math import ceil
from typing import Any, Final, NamedTuple, assert_never
from uuid import UUID

import msgspec

from saldo.engine.errors import (
    DeadlineExceededError,
    EngineError,
    OutcomeUnknownError,
    QueueFullError,
)
from saldo.http.answers import Answer, decided_answer
from saldo.http.wire import Fault, InvalidError
from saldo.ledger.model import Decision, Outcome, TransactionRequest, differing_fields
from saldo.ledger.money import format_money
from saldo.ledger.time import format_instant
from saldo.store.errors import RejectedError, StoreError

_log = logging.getLogger("saldo.http")

MEDIA_TYPE: Final = "application/problem+json"
RETRY_AFTER: Final = ("retry-after", "1")

_TITLES: Final = {
    "insufficient_funds": (402, "Insufficient funds"),
    "balance_above_maximum": (422, "Balance above the maximum"),
    "uuid_conflict": (409, "The uuid stands for another transaction"),
    "name_taken": (409, "The name is taken"),
    "user_not_found": (404, "No such user"),
    "transaction_not_found": (404, "No such transaction"),
    "not_sealed_yet": (409, "The transaction is not sealed yet"),
    "webhook_not_found": (404, "No such webhook"),
    "delivery_not_found": (404, "No such delivery"),
    "too_many_webhooks": (409, "There are too many webhooks"),
    "not_found": (404, "No such page"),
    "method_not_allowed": (405, "Method not allowed"),
    "position_gone": (410, "The position is not in this log"),
    "invalid": (422, "The request is not valid"),
    "timestamp_in_future": (422, "The timestamp is in the future"),
    "timestamp_too_late": (422, "The timestamp is too long ago"),
    "late_check_too_long": (422, "Too many entries after the timestamp"),
    "body_too_large": (413, "The body is too large"),
    "not_http": (400, "The request is not HTTP"),
    "wrong_header": (400, "A header is missing, given twice, or wrong"),
    "too_slow": (408, "The request took too long to arrive"),
    "url_too_long": (414, "The URL is too long"),
    "head_too_large": (431, "The headers are too large"),
    "unsupported_media_type": (415, "The body must be JSON"),
    "outcome_unknown": (503, "The outcome is not known yet"),
    "deadline_exceeded": (503, "Not processed in time"),
    "overloaded": (503, "Too many requests are waiting"),
    "database_unavailable": (503, "The database can't be reached"),
    "seal_broken": (500, "The log is not what was sealed"),
    "internal": (500, "An internal error"),
    "unauthenticated": (401, "A valid key is needed"),
    "forbidden": (403, "The key does not open this"),
    "too_many_requests": (429, "Too many requests with this key"),
    "key_not_found": (404, "No such key"),
    "key_not_valid": (409, "The key is not valid any more"),
    "too_many_keys": (409, "There are too many keys"),
}


class Problem(NamedTuple):
    """A problem before it is an answer, or a line among the answers to many."""

    code: str
    detail: str
    extra: dict[str, Any]
    same_for_every_retry: bool = False
    """Whether it tells a recorded outcome: then it must not carry the request's id."""
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def status(self) -> int:
        """The HTTP status."""
        return _TITLES[self.code][0]

    def answer(self, request_id: str) -> Answer:
        """The whole HTTP answer."""
        status, title = _TITLES[self.code]
        body: dict[str, Any] = {
            "type": f"urn:saldo:problem:{self.code}",
            "title": title,
            "status": status,
            "code": self.code,
            "detail": self.detail,
        }
        if not self.same_for_every_retry:
            body["request_id"] = request_id
        body |= self.extra
        headers = (RETRY_AFTER,) if status == 503 else ()
        return Answer(status, msgspec.json.encode(body), MEDIA_TYPE, headers + self.headers)


def title(code: str) -> str:
    """What a code means, in short."""
    return _TITLES[code][1]


def problem(code: str, detail: str, *, request_id: str, **extra: Any) -> Answer:
    """A problem as an answer."""
    return Problem(code, detail, extra).answer(request_id)


def invalid(faults: list[Fault]) -> Problem:
    """422 with every bad field."""
    errors = [{"field": _printable(fault.field), "message": fault.message} for fault in faults]
    detail = "; ".join(f"{error['field']} {error['message']}" for error in errors)
    return Problem("invalid", detail, {"errors": errors})


def _printable(name: str) -> str:
    """A name that a client made up, in one line: many who read lines of JSON break them at U+2028, too."""
    if name.isprintable():
        return name
    return "".join(character if character.isprintable() else "\ufffd" for character in name)


def of_error(error: InvalidError | StoreError, request_id: str) -> Problem:
    """What to say to a question that can't be read, or that the database doesn't answer now."""
    if isinstance(error, InvalidError):
        return invalid(error.faults)
    if isinstance(error, RejectedError):  # it answers, and would answer the same again
        _log.error("request %s: the database: %s", request_id, error)
        return internal()
    _log.warning("request %s: the database: %s", request_id, error)
    return database_unavailable()


def transaction_not_found(uuid: str) -> Problem:
    """404 for a transaction."""
    detail = f"There is no transaction {uuid[:36]}. After outcome_unknown this is not a no: send it again."
    return Problem("transaction_not_found", detail, {})


def not_sealed_yet(uuid: str) -> Problem:
    """409 for a proof."""
    detail = (
        f"The transaction {uuid} is recorded and not sealed yet. It will be in a second, or when a bulk that is under "
        "way lets the sealer get on. Ask again."
    )
    return Problem("not_sealed_yet", detail, {}, headers=(RETRY_AFTER,))


def seal_broken(shard: int, first_seq: int, last_seq: int) -> Problem:
    """500 for a proof that can't be given any more."""
    detail = (
        f"The entries {first_seq} to {last_seq} of shard {shard} are not those that were sealed: somebody has changed "
        "the log or its seals behind the service's back."
    )
    return Problem("seal_broken", detail, {})


def not_decided(error: EngineError) -> Problem:
    """What to say where the engine has no decision."""
    if isinstance(error, OutcomeUnknownError):
        return Problem(
            "outcome_unknown",
            "The transaction was sent to the database and its outcome is not known yet. Send the same "
            "uuid again: only that decides. Until then a 404 for the uuid is not a no.",
            {},
        )
    if isinstance(error, QueueFullError):
        return Problem(
            "overloaded", "Nothing was recorded. Send the same uuid again in a moment.", {}
        )
    if isinstance(error, DeadlineExceededError):
        return Problem(
            "deadline_exceeded",
            "The request waited too long and was not sent to the database: this attempt recorded "
            "nothing. Send the same uuid again.",
            {},
        )
    return Problem(
        "internal",
        "The ledger could not process this request; nothing was recorded. Report the request_id.",
        {},
    )


def body_too_large(bytes_max: int) -> Problem:
    """413."""
    errors = [{"field": "body", "message": f"must have at most {bytes_max} bytes"}]
    return Problem(
        "body_too_large", f"The body has more than {bytes_max} bytes.", {"errors": errors}
    )


def internal() -> Problem:
    """500, without internals."""
    return Problem(
        "internal",
        "Something went wrong on our side. A transaction may be sent again with the same uuid. "
        "Report the request_id.",
        {},
    )


def head_too_large(bytes_max: int, headers_max: int) -> Problem:
    """431."""
    detail = f"A request may have {headers_max} headers, and {bytes_max} bytes before its body."
    return Problem("head_too_large", f"{detail} The connection is closed.", {})


def url_too_long(bytes_max: int) -> Problem:
    """414."""
    detail = f"The URL has more than {bytes_max} bytes. The connection is closed."
    return Problem("url_too_long", detail, {})


def wrong_header(name: str, what: str) -> Problem:
    """400 for a head that could be read in two ways."""
    errors = [{"field": name, "message": what}]
    return Problem("wrong_header", f"The header {name} {what}.", {"errors": errors})


def too_slow(seconds: float) -> Problem:
    """408; and the last line of a stream that sends nothing more."""
    return Problem(
        "too_slow",
        f"Nothing, or not all, came within {seconds:g} s. What was not answered was not processed: send it again.",
        {},
    )


def line_too_long(bytes_max: int) -> Problem:
    """413 for a line of a stream."""
    errors = [{"field": "body", "message": f"must have at most {bytes_max} bytes a line"}]
    detail = f"The line has more than {bytes_max} bytes."
    return Problem("body_too_large", detail, {"errors": errors})


def stopping() -> Problem:
    """503 for the rest of a stream."""
    return Problem(
        "overloaded",
        "The service is stopping. Neither this line nor any after it was processed: send them again.",
        {},
    )


def not_admitted_any_more() -> Problem:
    """401 for the rest of a stream."""
    return Problem(
        "unauthenticated",
        "The key is not valid any more. Neither this line nor any after it was processed.",
        {},
    )


def atomic(index: int, request: TransactionRequest, refusal: Problem, *, recorded: bool) -> Problem:
    """Why nothing of an atomic array was posted: the first item that can't be.

    Args:
        recorded: whether the refusal stands under the uuid, from an earlier request.
    """
    detail = f"Item {index} can't be posted: {refusal.detail}"
    if refusal.same_for_every_retry and not recorded:
        balance, needed = refusal.extra["balance"], refusal.extra["needed"]
        detail = f"Item {index} can't be posted: the balance is {balance} and it is about {needed}."
    errors = [
        {"field": f"[{index}].{error['field']}", "message": error["message"]}
        for error in refusal.extra.get("errors", ())
    ]
    extra: dict[str, Any] = {"item": index, "uuid": request.uuid}
    if errors:
        extra["errors"] = errors
    return Problem(refusal.code, f"{detail} Nothing of the array was recorded.", extra)


def refused(
    request: TransactionRequest, decision: Decision, decimals: int, *, reveal: bool = True
) -> Problem:
    """Why a transaction was not posted.

    Args:
        reveal: whether a conflict may tell what is recorded: only to who may read that user.
    """
    match decision.outcome:
        case Outcome.INSUFFICIENT_FUNDS | Outcome.BALANCE_ABOVE_MAXIMUM:
            return _refused_for_ever(request, decision, decimals)
        case Outcome.UUID_CONFLICT:
            return _conflict(request, decision, decimals, reveal=reveal)
        case Outcome.USER_NOT_FOUND:
            return user_not_found(request.user_id)
        case Outcome.TIMESTAMP_IN_FUTURE:
            return _timestamp(
                "timestamp_in_future",
                "is further ahead of the ledger's clock than the tolerance allows. If it was given "
                "without a zone, the setting SALDO_ZONE says how it is read",
                request,
            )
        case Outcome.TIMESTAMP_TOO_LATE:
            return _timestamp(
                "timestamp_too_late",
                "is longer before the user's latest transaction than SALDO_MAX_LATENESS_SECONDS allows",
                request,
            )
        case Outcome.LATE_CHECK_TOO_LONG:
            return _timestamp(
                "late_check_too_long",
                "is before more transactions of the user than a late withdrawal may be checked "
                "against (SALDO_LATE_CHECK_ENTRIES_MAX)",
                request,
            )
        case Outcome.POSTED:
            raise AssertionError("a posted transaction is no problem")
        case _:
            assert_never(decision.outcome)


def unauthenticated(detail: str) -> Problem:
    """401: nobody knows who asks."""
    return Problem("unauthenticated", detail, {}, headers=(("www-authenticate", "Bearer"),))


def forbidden(detail: str) -> Problem:
    """403: it is known who asks, and that one must not."""
    return Problem("forbidden", detail, {})


def forbidden_user(user_id: int) -> Problem:
    """403 for a user that a key is not about, whether there is one or not."""
    errors = [{"field": "user_id", "message": "is not one of the key's users"}]
    return Problem("forbidden", f"The key is not about user {user_id}.", {"errors": errors})


def forbidden_scope(scope: str) -> Problem:
    """403 for a part of the API that a key doesn't open."""
    return Problem("forbidden", f"The key lacks the scope {scope}.", {})


def forbidden_to_some() -> Problem:
    """403 for what is about all users."""
    return Problem("forbidden", "The key is about some users only, and this is about all.", {})


def too_many_requests(seconds: float) -> Problem:
    """429."""
    wait = str(max(1, ceil(seconds)))
    return Problem(
        "too_many_requests",
        f"There were more requests with this key than it may make. Wait for {wait} s.",
        {},
        headers=(("retry-after", wait),),
    )


def user_not_found(user_id: int) -> Problem:
    """404 for a user."""
    errors = [{"field": "user_id", "message": "is no user's"}]
    return Problem("user_not_found", f"There is no user {user_id}.", {"errors": errors})


def name_taken(user_id: int) -> Problem:
    """409 for a user to be created."""
    extra = {"user_id": user_id, "errors": [{"field": "name", "message": "is taken"}]}
    return Problem("name_taken", f"The name is taken by user {user_id}.", extra)


def webhook_not_found(webhook_id: int) -> Problem:
    """404 for a webhook."""
    return Problem("webhook_not_found", f"There is no webhook {webhook_id}.", {})


def key_not_found(key_id: int) -> Problem:
    """404 for a key."""
    return Problem("key_not_found", f"There is no key {key_id}.", {})


def key_not_valid(key_id: int) -> Problem:
    """409 for a key to be rotated."""
    detail = f"Key {key_id} was revoked, has expired, or another one has taken its place already."
    return Problem("key_not_valid", detail, {})


def too_many_keys(keys_max: int) -> Problem:
    """409 for a key to be created."""
    detail = f"There are {keys_max} valid keys already (SALDO_KEYS_MAX)."
    return Problem("too_many_keys", detail, {})


def delivery_not_found(event_id: UUID) -> Problem:
    """404 for an event to be replayed."""
    return Problem(
        "delivery_not_found",
        f"Of this webhook no event {event_id} waits or is dead: it was delivered, or was never for it.",
        {},
    )


def too_many_webhooks(webhooks_max: int) -> Problem:
    """409 for one more."""
    return Problem(
        "too_many_webhooks",
        f"There are {webhooks_max} webhooks already (SALDO_WEBHOOKS_MAX). Delete one that is not needed.",
        {},
    )


def not_found() -> Problem:
    """404 for a path."""
    return Problem("not_found", "There is nothing at this path.", {})


def method_not_allowed(method: str) -> Problem:
    """405."""
    return Problem("method_not_allowed", f"{method} is not possible at this path.", {})


def database_unavailable() -> Problem:
    """503 for whatever does not go through the engine."""
    return Problem(
        "database_unavailable",
        "The database can't be reached, or did not answer in time. Try again in a moment.",
        {},
    )


def crowded() -> Problem:
    """503 where too many connections are open."""
    return Problem(
        "overloaded",
        "Too many connections are open. Nothing was recorded: send the same request again in a moment.",
        {},
    )


def too_many_subscribers() -> Problem:
    """503 where the live stream has as many as it may."""
    return Problem(
        "overloaded", "Too many subscribers. Connect again in a moment, with the same id.", {}
    )


def position_gone(why: str) -> Problem:
    """410 for an id of the live stream that can't be resumed from."""
    return Problem(
        "position_gone",
        f"{why} Begin again, a little before the recorded_at of the last event you have, with "
        "from=2023-10-30T12:30:45Z, or with from=start: an event that comes again has the id it had.",
        {},
    )


def not_http() -> Problem:
    """400 for bytes that are no request."""
    return Problem("not_http", "What was sent is not HTTP; the connection is closed.", {})


def _refused_for_ever(request: TransactionRequest, decision: Decision, decimals: int) -> Problem:
    # From stored columns only: every retry gets the same body.
    amount, balance = decision.amount or 0, decision.balance or 0
    needed = format_money(abs(amount), decimals)
    if decision.outcome is Outcome.BALANCE_ABOVE_MAXIMUM:
        code = "balance_above_maximum"
        detail = f"With {needed} more the balance would pass the maximum."
    else:
        code = "insufficient_funds"
        detail = f"The balance was {format_money(balance, decimals)} and {needed} was needed."
        if balance >= -amount:
            detail = (
                f"{needed} was needed at the given timestamp and from then on, and at some moment "
                f"since the balance was less; after all transactions it was "
                f"{format_money(balance, decimals)}."
            )
    detail += " This outcome is final: to try again, use a new uuid."
    transaction = decided_answer(request.uuid, decision, decimals)
    extra = {
        "instance": f"/v1/transaction/{request.uuid}",
        "balance": transaction.balance,
        "needed": needed,
        "transaction": transaction,
    }
    return Problem(code, detail, extra, same_for_every_retry=True)


def _conflict(
    request: TransactionRequest, decision: Decision, decimals: int, *, reveal: bool
) -> Problem:
    differing = differing_fields(request, decision) or ["uuid"]
    recorded: dict[str, Any] = {}
    if reveal and decision.amount:  # an opening entry, the ledger's own, has nothing to show
        recorded = _recorded(decision, decimals)
    shown = {name: recorded[name] for name in differing if name in recorded}
    extra = {
        "differing_fields": differing,
        "recorded": shown,
        "errors": [
            {"field": name, "message": "differs from what is recorded"} for name in differing
        ],
    }
    return Problem(
        "uuid_conflict",
        f"The uuid {request.uuid} stands for a transaction with other content; it differs in "
        f"{', '.join(differing)}. Nothing was recorded. For another transaction use a new uuid.",
        extra,
    )


def _recorded(decision: Decision, decimals: int) -> dict[str, Any]:
    return {
        "user_id": decision.user_id,
        "type": "DEPOSIT" if (decision.amount or 0) > 0 else "WITHDRAW",
        "amount": format_money(abs(decision.amount or 0), decimals),
        "timestamp": decision.timestamp and format_instant(decision.timestamp),
    }


def _timestamp(code: str, what: str, request: TransactionRequest) -> Problem:
    given = format_instant(request.timestamp) if request.timestamp else "now"
    errors = [{"field": "timestamp", "message": what}]
    return Problem(code, f"The timestamp {given} {what}. Nothing was recorded.", {"errors": errors})
