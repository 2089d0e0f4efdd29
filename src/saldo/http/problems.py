"""Errors as RFC 9457 problems, and the only mapping from outcomes to statuses."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from math import ceil
from typing import Any, Final, NamedTuple, assert_never
from uuid import UUID

from saldo.encoding.json import encode_json
from saldo.engine.errors import (
    DeadlineExceededError,
    EngineError,
    OutcomeUnknownError,
    QueueFullError,
)
from saldo.http.responses import RawResponse, build_decided_transaction
from saldo.ledger.instants import format_instant
from saldo.ledger.model import Decision, Outcome, TransactionRequest, find_differing_fields
from saldo.ledger.money import format_money
from saldo.parsing.faults import FAULTS_MAX, InvalidField, InvalidRequestError, summarize_faults
from saldo.store.errors import OutcomeUncertainError, RejectedError, StoreError

_log = logging.getLogger("saldo.http")

MEDIA_TYPE: Final = "application/problem+json"
RETRY_AFTER: Final = ("retry-after", "1")

KNOWN_AT_IN_FUTURE: Final = InvalidField(
    "known_at", "must be in the past, because the result could still change"
)

_TITLES: Final = {
    "insufficient_funds": (402, "Insufficient funds"),
    "balance_above_maximum": (409, "Balance above the maximum"),
    "uuid_conflict": (409, "The uuid belongs to another transaction"),
    "name_taken": (409, "The name is taken"),
    "user_not_found": (404, "No such user"),
    "transaction_not_found": (404, "No such transaction"),
    "not_sealed_yet": (409, "The transaction is not sealed yet"),
    "webhook_not_found": (404, "No such webhook"),
    "delivery_not_found": (404, "No such delivery"),
    "too_many_webhooks": (409, "Too many webhooks"),
    "not_found": (404, "Not found"),
    "method_not_allowed": (405, "Method not allowed"),
    "position_gone": (410, "The position is not in this log"),
    "invalid": (422, "The request is invalid"),
    "timestamp_in_future": (422, "The timestamp is in the future"),
    "timestamp_too_late": (422, "The timestamp is too long ago"),
    "late_check_too_long": (422, "Too many entries after the timestamp"),
    "body_too_large": (413, "The body is too large"),
    "not_http": (400, "The request is not HTTP"),
    "wrong_header": (400, "A header is missing, repeated or invalid"),
    "too_slow": (408, "The request took too long to arrive"),
    "url_too_long": (414, "The URL is too long"),
    "head_too_large": (431, "The headers are too large"),
    "unsupported_media_type": (415, "The body must be JSON"),
    "outcome_unknown": (503, "The outcome is not known yet"),
    "deadline_exceeded": (503, "Not processed in time"),
    "overloaded": (503, "Too many requests are waiting"),
    "database_unavailable": (503, "The database can't be reached"),
    "seal_broken": (500, "The log does not match its seals"),
    "internal": (500, "Internal error"),
    "unauthenticated": (401, "A valid key is required"),
    "forbidden": (403, "The key does not permit this request"),
    "too_many_requests": (429, "Too many requests with this key"),
    "key_not_found": (404, "No such key"),
    "key_not_valid": (409, "The key is no longer valid"),
    "too_many_keys": (409, "Too many keys"),
}

CODES: Final = tuple(_TITLES)
"""The codes of all problems."""


class Problem(NamedTuple):
    """A problem that is serialized either as a response or as one line of a bulk response."""

    code: str
    detail: str
    extra: dict[str, Any]
    same_for_every_retry: bool = False
    """True if the problem describes a recorded outcome. The body is then the same for every retry, without a request
    id."""
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def status(self) -> int:
        """The HTTP status of the problem."""
        return _TITLES[self.code][0]

    def build_response(self, request_id: str) -> RawResponse:
        """Build the HTTP response."""
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
        return RawResponse(status, encode_json(body), MEDIA_TYPE, headers + self.headers)


class ProblemError(Exception):
    """Raised to end a request with a problem. The ASGI entry point renders the problem with the id of the request."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.code)
        self.problem = problem


def find_title(code: str) -> str:
    """Return the title of a code."""
    return _TITLES[code][1]


def build_unsupported_media_type(
    content_type: str, expected: str = "JSON in UTF-8, as application/json"
) -> Problem:
    """Return 415."""
    return Problem(
        "unsupported_media_type",
        f"The Content-Type is {content_type[:100]!r}; send {expected}.",
        {"errors": [{"field": "Content-Type", "message": f"must be {expected}"}]},
    )


def build_invalid(faults: Sequence[InvalidField]) -> Problem:
    """Return 422 with at most `FAULTS_MAX` invalid fields in `errors`, and with fewer in the detail."""
    listed_faults = [
        InvalidField(_make_printable(fault.field), fault.message) for fault in faults[:FAULTS_MAX]
    ]
    errors = [{"field": fault.field, "message": fault.message} for fault in listed_faults]
    return Problem(
        "invalid", summarize_faults([*listed_faults, *faults[FAULTS_MAX:]]), {"errors": errors}
    )


def build_invalid_without_details() -> Problem:
    """Return 422 without the invalid fields, for an item that follows many other invalid ones in an array."""
    detail = (
        "The item is invalid. The reasons are given for the first invalid items of an array only."
    )
    return Problem("invalid", detail, {})


def _make_printable(name: str) -> str:
    """Replace the unprintable characters of a name that a client sent, because many readers of JSON lines split at
    U+2028."""
    if name.isprintable():
        return name
    return "".join(character if character.isprintable() else "\ufffd" for character in name)


def convert_error(error: InvalidRequestError | StoreError, request_id: str) -> Problem:
    """Return the problem for an invalid request (422), or for a failure of the database (500 if a retry would fail,
    too; otherwise 503)."""
    if isinstance(error, InvalidRequestError):
        return build_invalid(error.faults)
    if isinstance(
        error, RejectedError | OutcomeUncertainError
    ):  # the database would reject it again
        _log.error("request %s: database: %s", request_id, error)
        return build_internal()
    _log.warning("request %s: database: %s", request_id, error)
    return build_database_unavailable()


def build_transaction_not_found(uuid: str) -> Problem:
    """Return 404 for a transaction that is not recorded."""
    detail = (
        f"There is no transaction {uuid[:36]}. If an earlier attempt ended with outcome_unknown, it may still be "
        "recorded: send the same uuid again until the response is a recorded outcome."
    )
    return Problem("transaction_not_found", detail, {})


def build_not_sealed_yet(uuid: str) -> Problem:
    """Return 409 for a proof of a transaction that is not sealed yet."""
    detail = (
        f"The transaction {uuid} is recorded, but not sealed yet. Sealing takes about a second, or longer while a "
        "bulk request is processed. Send the request again."
    )
    return Problem("not_sealed_yet", detail, {}, headers=(RETRY_AFTER,))


def build_seal_broken(shard: int, first_seq: int, last_seq: int) -> Problem:
    """Return 500 for a proof that can't be built, because the log does not match its seal."""
    detail = (
        f"The entries {first_seq} to {last_seq} of shard {shard} do not match their seal: the log or its seals "
        "were changed outside the service."
    )
    return Problem("seal_broken", detail, {})


def convert_engine_error(error: EngineError) -> Problem:
    """Return the problem for a transaction for which the engine returned no outcome."""
    if isinstance(error, OutcomeUnknownError):
        return Problem(
            "outcome_unknown",
            "The transaction was sent to the database and its outcome is not known yet. Send the same uuid "
            "again until the response is a recorded outcome (200, 402, 409 balance_above_maximum or 409 "
            "uuid_conflict). Any other response, such as 404, does not rule out that this attempt "
            "is still recorded.",
            {},
        )
    if isinstance(error, QueueFullError):
        return Problem(
            "overloaded",
            "This attempt recorded nothing. Send the same uuid again in a moment.",
            {},
        )
    if isinstance(error, DeadlineExceededError):
        return Problem(
            "deadline_exceeded",
            "The request was not processed in time. This attempt recorded nothing. Send the same uuid again.",
            {},
        )
    return Problem(
        "internal",
        "The ledger could not process this request. This attempt recorded nothing. Report the request_id.",
        {},
    )


def build_body_too_large(bytes_max: int) -> Problem:
    """Return 413 for a body that is too large."""
    errors = [{"field": "body", "message": f"must have at most {bytes_max} bytes"}]
    return Problem(
        "body_too_large", f"The body has more than {bytes_max} bytes.", {"errors": errors}
    )


def build_internal() -> Problem:
    """Return 500 without details of the error."""
    return Problem(
        "internal",
        "Something went wrong on our side. A transaction may be sent again with the same uuid. "
        "Report the request_id.",
        {},
    )


def build_head_too_large(bytes_max: int, headers_max: int) -> Problem:
    """Return 431 for a head that is too large."""
    detail = f"A request may have at most {headers_max} headers, and at most {bytes_max} bytes before its body."
    return Problem("head_too_large", f"{detail} The connection is closed.", {})


def build_url_too_long(bytes_max: int) -> Problem:
    """Return 414 for a URL that is too long."""
    detail = f"The URL has more than {bytes_max} bytes. The connection is closed."
    return Problem("url_too_long", detail, {})


def build_wrong_header(name: str, fault: str) -> Problem:
    """Return 400 for a header that is missing, repeated or invalid."""
    errors = [{"field": name, "message": fault}]
    return Problem("wrong_header", f"The header {name} {fault}.", {"errors": errors})


def build_too_slow(seconds: float) -> Problem:
    """Return 408 for a request that did not arrive in time. The problem is also the last line of a stream that timed
    out."""
    return Problem(
        "too_slow",
        f"The request was not complete within {seconds:g} s. Transactions without a response were not processed: "
        "send them again.",
        {},
    )


def build_line_too_long(bytes_max: int) -> Problem:
    """Return 413 for a line of a stream that is too long."""
    errors = [{"field": "body", "message": f"must have at most {bytes_max} bytes per line"}]
    detail = f"The line has more than {bytes_max} bytes."
    return Problem("body_too_large", detail, {"errors": errors})


def build_service_shutdown() -> Problem:
    """Return 503 for the rest of a stream when the service stops."""
    return Problem(
        "overloaded",
        "The service is stopping. Neither this line nor any after it was processed: send them again.",
        {},
    )


def build_too_many_streams(streams_max: int) -> Problem:
    """Return 503 for a stream whose key has reached its limit of open streams."""
    detail = (
        f"The key has {streams_max} open streams, which is the limit (SALDO_KEY_STREAMS_MAX). This stream was not "
        "read."
    )
    return Problem("overloaded", f"{detail} Send it again after another one has ended.", {})


def build_spools_full() -> Problem:
    """Return 503 for a stream while the spools are full."""
    detail = (
        "Too many responses wait for clients that do not read them (SALDO_PROCESS_SPOOL_BYTES_MAX)."
    )
    return Problem("overloaded", f"{detail} This stream was not read: send it again later.", {})


def build_key_revoked() -> Problem:
    """Return 401 for the rest of a stream whose key was revoked."""
    return Problem(
        "unauthenticated",
        "The key is no longer valid. Neither this line nor any after it was processed.",
        {},
    )


def build_atomic_array_refused(
    index: int, request: TransactionRequest, refusal: Problem, *, recorded: bool
) -> Problem:
    """Return the problem of an atomic array, which is the problem of the first item that can't be posted.

    Args:
        recorded: Whether an earlier request recorded the refusal under the uuid.
    """
    detail = f"Item {index} can't be posted: {refusal.detail}"
    if refusal.same_for_every_retry and not recorded:
        balance, needed = refusal.extra["balance"], refusal.extra["needed"]
        detail = (
            f"Item {index} can't be posted: the balance is {balance} and the amount is {needed}."
        )
    errors = [
        {"field": f"[{index}].{error['field']}", "message": error["message"]}
        for error in refusal.extra.get("errors", ())
    ]
    extra: dict[str, Any] = {"item": index, "uuid": request.uuid}
    if errors:
        extra["errors"] = errors
    return Problem(refusal.code, f"{detail} This request recorded nothing of the array.", extra)


def convert_decision(
    request: TransactionRequest, decision: Decision, decimals: int, *, reveal: bool = True
) -> Problem:
    """Return the problem of a transaction that was not posted.

    Args:
        reveal: Whether the response to a conflict may show the recorded transaction. True if the key may read the
            transactions of that user.
    """
    match decision.outcome:
        case Outcome.INSUFFICIENT_FUNDS | Outcome.BALANCE_ABOVE_MAXIMUM:
            return _build_recorded_refusal(request, decision, decimals)
        case Outcome.UUID_CONFLICT:
            return _build_conflict(request, decision, decimals, reveal=reveal)
        case Outcome.USER_NOT_FOUND:
            return build_user_not_found(request.user_id)
        case Outcome.TIMESTAMP_IN_FUTURE:
            return _build_timestamp_problem(
                "timestamp_in_future",
                "is further ahead of the ledger's clock than SALDO_FUTURE_TOLERANCE_SECONDS allows. If it has no "
                "offset, it was interpreted in the time zone of SALDO_TIMEZONE",
                request,
            )
        case Outcome.TIMESTAMP_TOO_LATE:
            return _build_timestamp_problem(
                "timestamp_too_late",
                "is further before the user's latest transaction than SALDO_MAX_LATENESS_SECONDS allows",
                request,
            )
        case Outcome.LATE_CHECK_TOO_LONG:
            return _build_timestamp_problem(
                "late_check_too_long",
                "precedes more of the user's transactions than the check of a late withdrawal may read "
                "(SALDO_LATE_CHECK_ENTRIES_MAX)",
                request,
            )
        case Outcome.POSTED:
            raise AssertionError("a posted transaction is no problem")
        case _:
            assert_never(decision.outcome)


def build_authentication_required(detail: str) -> Problem:
    """Return 401 for a request that is not authenticated."""
    return Problem("unauthenticated", detail, {}, headers=(("www-authenticate", "Bearer"),))


def build_forbidden_request(detail: str) -> Problem:
    """Return 403 for a request that is not allowed for the reason in `detail`."""
    return Problem("forbidden", detail, {})


def build_forbidden_user(user_id: int) -> Problem:
    """Return 403 for a user that the key may not access, whether the user exists or not."""
    errors = [{"field": "user_id", "message": "is not one of the key's users"}]
    return Problem("forbidden", f"The key may not access user {user_id}.", {"errors": errors})


def build_forbidden_scope(scope: str) -> Problem:
    """Return 403 for a route that needs another scope."""
    return Problem("forbidden", f"The key lacks the scope {scope}.", {})


def build_access_to_all_users_forbidden() -> Problem:
    """Return 403 for a request that needs access to all users."""
    return Problem(
        "forbidden",
        "The key is limited to some users, and this request requires access to all users.",
        {},
    )


def build_forbidden_shard(shard: int) -> Problem:
    """Return 403 for a shard without users of the key."""
    return Problem("forbidden", f"None of the key's users is in shard {shard}.", {})


def build_too_many_requests(seconds: float) -> Problem:
    """Return 429 for a key that exceeds its rate limit."""
    wait = str(max(1, ceil(seconds)))
    return Problem(
        "too_many_requests",
        f"The rate limit of this key is exceeded. Wait for {wait} s.",
        {},
        headers=(("retry-after", wait),),
    )


def build_user_not_found(user_id: int) -> Problem:
    """Return 404 for a user that does not exist."""
    errors = [{"field": "user_id", "message": "does not exist"}]
    return Problem("user_not_found", f"There is no user {user_id}.", {"errors": errors})


def build_name_taken(user_id: int) -> Problem:
    """Return 409 for a new user whose name is taken."""
    extra = {"user_id": user_id, "errors": [{"field": "name", "message": "is taken"}]}
    return Problem("name_taken", f"The name is taken by user {user_id}.", extra)


def build_webhook_not_found(webhook_id: int) -> Problem:
    """Return 404 for a webhook that does not exist."""
    return Problem("webhook_not_found", f"There is no webhook {webhook_id}.", {})


def build_key_not_found(key_id: int) -> Problem:
    """Return 404 for a key that does not exist."""
    return Problem("key_not_found", f"There is no key {key_id}.", {})


def build_key_not_valid(key_id: int) -> Problem:
    """Return 409 for a key that can't be rotated because it is no longer valid."""
    detail = f"Key {key_id} can't be rotated: it was revoked or rotated before, or it has expired."
    return Problem("key_not_valid", detail, {})


def build_too_many_keys(keys_max: int) -> Problem:
    """Return 409 for a new key above the limit."""
    detail = f"The limit of {keys_max} valid keys is reached (SALDO_KEYS_MAX). Revoke one first."
    return Problem("too_many_keys", detail, {})


def build_delivery_not_found(event_id: UUID) -> Problem:
    """Return 404 for an event that can't be replayed, because it has no delivery."""
    return Problem(
        "delivery_not_found",
        f"This webhook has no pending or dead delivery of event {event_id}: it was delivered, or it never matched "
        "the webhook's filters.",
        {},
    )


def build_too_many_webhooks(webhooks_max: int) -> Problem:
    """Return 409 for a new webhook above the limit."""
    return Problem(
        "too_many_webhooks",
        f"The limit of {webhooks_max} webhooks is reached (SALDO_WEBHOOKS_MAX). Delete one first.",
        {},
    )


def build_not_found() -> Problem:
    """Return 404 for a path without a route."""
    return Problem("not_found", "There is nothing at this path.", {})


def build_method_not_allowed(method: str) -> Problem:
    """Return 405 for a method that the path does not support."""
    return Problem("method_not_allowed", f"This path does not support the method {method}.", {})


def build_database_unavailable() -> Problem:
    """Return 503 for a read or a change that the database can't execute now. Transactions get the problems of
    `convert_engine_error` instead."""
    return Problem(
        "database_unavailable",
        "The database can't be reached, or did not answer in time. Try again in a moment.",
        {},
    )


def build_too_many_connections() -> Problem:
    """Return 503 when too many connections are open."""
    return Problem(
        "overloaded",
        "Too many connections are open. This attempt recorded nothing: send the same request again in a moment.",
        {},
    )


def build_too_many_subscribers() -> Problem:
    """Return 503 when the live stream has reached its limit of subscribers."""
    return Problem(
        "overloaded",
        "The live stream has too many subscribers. Connect again in a moment, with the same id.",
        {},
    )


def build_too_many_subscribers_of_key(count_max: int) -> Problem:
    """Return 429 when a key has reached its limit of subscribers."""
    return Problem(
        "too_many_requests",
        f"This key has {count_max} open live streams, which is the limit. Close one, then connect again with the "
        "same id.",
        {},
        headers=(RETRY_AFTER,),
    )


def build_position_gone(reason: str) -> Problem:
    """Return 410 for an id from which the live stream can't be resumed."""
    return Problem(
        "position_gone",
        f"{reason} Connect again with from= and a time shortly before the recorded_at of your last event, such as "
        "from=2023-10-30T12:30:45Z, or with from=start. Repeated events have the same id as before.",
        {},
    )


def build_not_http() -> Problem:
    """Return 400 for bytes that are not an HTTP request."""
    return Problem("not_http", "The request is not HTTP. The connection is closed.", {})


def _build_recorded_refusal(
    request: TransactionRequest, decision: Decision, decimals: int
) -> Problem:
    # The body is built from stored columns only, so that every retry gets the same one.
    amount, balance = decision.amount or 0, decision.balance or 0
    needed = format_money(abs(amount), decimals)
    if decision.outcome is Outcome.BALANCE_ABOVE_MAXIMUM:
        code = "balance_above_maximum"
        detail = f"A deposit of {needed} would raise the balance above the maximum."
    else:
        code = "insufficient_funds"
        detail = f"The balance was {format_money(balance, decimals)} and {needed} was needed."
        if balance >= -amount:
            detail = (
                f"The balance must cover the withdrawal of {needed} at its timestamp and at every later time, and was "
                f"lower at one of these times. The latest balance was {format_money(balance, decimals)}."
            )
    detail += " This outcome is final: to try again, use a new uuid."
    transaction = build_decided_transaction(request.uuid, decision, decimals)
    extra = {
        "instance": f"/v1/transaction/{request.uuid}",
        "balance": transaction.balance,
        "needed": needed,
        "transaction": transaction,
    }
    return Problem(code, detail, extra, same_for_every_retry=True)


def _build_conflict(
    request: TransactionRequest, decision: Decision, decimals: int, *, reveal: bool
) -> Problem:
    if not reveal:
        # The response is the same for every recorded transaction, so that it reveals nothing to a key that guesses.
        return Problem(
            "uuid_conflict",
            f"The uuid {request.uuid} belongs to another transaction. Nothing was recorded. Use a new uuid for "
            "another transaction.",
            {"differing_fields": ["uuid"], "recorded": {}},
        )
    differing = find_differing_fields(request, decision) or ["uuid"]
    recorded: dict[str, Any] = {}
    if (
        decision.amount
    ):  # the opening entry, which the ledger creates itself, has no content to show
        recorded = _format_recorded(decision, decimals)
    shown_fields = {name: recorded[name] for name in differing if name in recorded}
    extra = {
        "differing_fields": differing,
        "recorded": shown_fields,
        "errors": [
            {"field": name, "message": "differs from the recorded value"} for name in differing
        ],
    }
    return Problem(
        "uuid_conflict",
        f"The uuid {request.uuid} belongs to a transaction with other content; it differs in {', '.join(differing)}. "
        "Nothing was recorded. Use a new uuid for another transaction.",
        extra,
    )


def _format_recorded(decision: Decision, decimals: int) -> dict[str, Any]:
    return {
        "user_id": decision.user_id,
        "type": "DEPOSIT" if (decision.amount or 0) > 0 else "WITHDRAW",
        "amount": format_money(abs(decision.amount or 0), decimals),
        "timestamp": decision.timestamp and format_instant(decision.timestamp),
    }


def _build_timestamp_problem(code: str, fault: str, request: TransactionRequest) -> Problem:
    value = format_instant(request.timestamp) if request.timestamp else "now"
    errors = [{"field": "timestamp", "message": fault}]
    return Problem(
        code, f"The timestamp {value} {fault}. This request recorded nothing.", {"errors": errors}
    )
