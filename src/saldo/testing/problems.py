"""Problems of the fake. Their codes, statuses and members are those of the service. Their texts for people are
shorter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

from saldo.ledger.instants import format_instant
from saldo.ledger.model import Decision, Outcome, TransactionRequest, find_differing_fields
from saldo.ledger.money import format_money
from saldo.parsing.faults import FAULTS_MAX, InvalidField, summarize_faults

STATUSES: Final = {
    "insufficient_funds": 402,
    "balance_above_maximum": 409,
    "uuid_conflict": 409,
    "name_taken": 409,
    "user_not_found": 404,
    "transaction_not_found": 404,
    "timestamp_in_future": 422,
    "timestamp_too_late": 422,
    "late_check_too_long": 422,
    "invalid": 422,
    "not_found": 404,
    "unsupported_media_type": 415,
    "overloaded": 503,
    "not_faked": 501,
}


class FakeProblem(NamedTuple):
    """An error of a request, or of one item of a bulk request."""

    code: str
    detail: str
    members: dict[str, Any] = {}  # noqa: RUF012 - never changed

    @property
    def status(self) -> int:
        return STATUSES[self.code]


class FakeProblemError(Exception):
    """The error that ends a request with a problem."""

    def __init__(self, problem: FakeProblem) -> None:
        super().__init__(problem.code)
        self.problem = problem


def build_errors_member(*pairs: tuple[str, str]) -> dict[str, Any]:
    """Return the member `errors` of a problem, from pairs of a field and a message."""
    return {"errors": [{"field": field, "message": message} for field, message in pairs]}


def build_invalid_problem(faults: Sequence[InvalidField]) -> FakeProblem:
    pairs = [(fault.field, fault.message) for fault in faults[:FAULTS_MAX]]
    return FakeProblem("invalid", summarize_faults(faults), build_errors_member(*pairs))


def build_user_not_found(user_id: int) -> FakeProblem:
    return FakeProblem(
        "user_not_found",
        f"There is no user {user_id}.",
        build_errors_member(("user_id", "does not exist")),
    )


def build_name_taken(user_id: int) -> FakeProblem:
    members = {"user_id": user_id} | build_errors_member(("name", "is taken"))
    return FakeProblem("name_taken", f"The name is taken by user {user_id}.", members)


def format_recorded(uuid: UUID, decision: Decision, decimals: int) -> dict[str, Any]:
    """Format a decision as the JSON object of a recorded transaction."""
    assert decision.amount is not None
    assert decision.timestamp is not None
    assert decision.recorded_at is not None
    return {
        "uuid": str(uuid),
        "type": "DEPOSIT" if decision.amount > 0 else "WITHDRAW",
        "amount": format_money(abs(decision.amount), decimals),
        "user_id": decision.user_id,
        "timestamp": format_instant(decision.timestamp),
        "outcome": decision.outcome.name.lower(),
        "balance": format_money(decision.balance or 0, decimals),
        "number": decision.number,
        "recorded_at": format_instant(decision.recorded_at),
    }


def build_refusal_problem(
    request: TransactionRequest, decision: Decision, decimals: int
) -> FakeProblem:
    """Return the problem of a transaction that was not posted."""
    code = decision.outcome.name.lower()
    match decision.outcome:
        case Outcome.INSUFFICIENT_FUNDS | Outcome.BALANCE_ABOVE_MAXIMUM:
            transaction = format_recorded(request.uuid, decision, decimals)
            members = {
                "instance": f"/v1/transaction/{request.uuid}",
                "balance": transaction["balance"],
                "needed": transaction["amount"],
                "transaction": transaction,
            }
            return FakeProblem(
                code, "This outcome is final: to try again, use a new uuid.", members
            )
        case Outcome.UUID_CONFLICT:
            return _build_conflict_problem(request, decision, decimals)
        case Outcome.USER_NOT_FOUND:
            return build_user_not_found(request.user_id)
        case _:
            message = "is not one that this ledger takes"
            return FakeProblem(
                code, f"The timestamp {message}.", build_errors_member(("timestamp", message))
            )


def _build_conflict_problem(
    request: TransactionRequest, decision: Decision, decimals: int
) -> FakeProblem:
    differing = find_differing_fields(request, decision) or ["uuid"]
    shown: dict[str, Any] = {}
    if decision.amount:
        there = format_recorded(request.uuid, decision, decimals)
        shown = {name: there[name] for name in differing}
    members = {"differing_fields": differing, "recorded": shown}
    members |= build_errors_member(
        *((name, "differs from the recorded value") for name in differing)
    )
    detail = f"The uuid {request.uuid} belongs to a transaction with other content."
    return FakeProblem("uuid_conflict", detail, members)
