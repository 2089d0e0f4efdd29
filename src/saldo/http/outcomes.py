"""The answers to many transactions: one outcome a line, as a POST of each alone would have answered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, TypeAlias

import msgspec

from saldo.access.grant import Grant
from saldo.engine.errors import EngineError
from saldo.engine.waiting import Result
from saldo.http import problems, schemas
from saldo.http.answers import count_outcome
from saldo.http.transactions import may_see
from saldo.http.wire import InvalidError
from saldo.ledger.model import Decision, Outcome, TransactionRequest
from saldo.ledger.money import format_money

Item: TypeAlias = TransactionRequest | InvalidError | problems.Problem
"""What a line of the input asks for, or why it can't be asked for."""

Line: TypeAlias = schemas.BulkOutcome | dict[str, Any]

_encoder = msgspec.json.Encoder()


def covered(item: TransactionRequest | InvalidError, grant: Grant) -> Item:
    """The item, or why who asks must not ask for it."""
    if isinstance(item, TransactionRequest) and not grant.covers(item.user_id):
        return problems.forbidden_user(item.user_id)
    return item


def outcome_lines(
    items: Sequence[tuple[int, Item]], results: Sequence[Result], decimals: int, grant: Grant
) -> list[Line]:
    """A line for each item.

    Args:
        items: each with the number of its line in the input.
        results: one for each request among them, in order.
    """
    lines: list[Line] = []
    counted: Counter[tuple[Outcome, bool]] = Counter()
    remaining = iter(results)
    for number, item in items:
        if isinstance(item, InvalidError):
            line = problem_line(number, None, problems.invalid(item.faults)) | {"uuid": item.uuid}
            lines.append(line)
        elif isinstance(item, problems.Problem):
            lines.append(problem_line(number, None, item))
        elif isinstance(result := next(remaining), EngineError):
            lines.append(problem_line(number, item, problems.not_decided(result)))
        else:
            counted[result.outcome, result.replayed] += 1
            lines.append(_decided_line(number, item, result, decimals, grant))
    for (outcome, replayed), count in counted.items():
        count_outcome(outcome, replayed, count)
    return lines


def _decided_line(
    number: int, request: TransactionRequest, decision: Decision, decimals: int, grant: Grant
) -> Line:
    if decision.outcome is Outcome.POSTED:
        return schemas.BulkOutcome(
            number,
            200,
            "posted",
            request.uuid,
            format_money(decision.balance or 0, decimals),
            decision.number or 0,
            decision.replayed,
        )
    reveal = may_see(grant, decision)
    problem = problems.refused(request, decision, decimals, reveal=reveal)
    line = problem_line(number, request, problem)
    if decision.outcome.recorded:
        line |= {"number": decision.number, "replayed": decision.replayed}
    return line


def problem_line(
    number: int, request: TransactionRequest | None, problem: problems.Problem
) -> dict[str, Any]:
    """A line that tells why a transaction was not posted."""
    extra = {name: problem.extra[name] for name in _SHOWN if name in problem.extra}
    return {
        "line": number,
        "status": problem.status,
        "code": problem.code,
        "uuid": request and request.uuid,
        **extra,
        "detail": problem.detail,
    }


def encode_lines(lines: list[Line]) -> bytes:
    """Newline-delimited JSON."""
    return _encoder.encode_lines(lines)


_SHOWN = ("balance", "needed", "differing_fields", "recorded", "errors")
