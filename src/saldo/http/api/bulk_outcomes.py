"""Results of bulk requests: one line for each transaction, with the outcome that a single request would get."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, TypeAlias
from uuid import UUID

import msgspec

from saldo.auth.grants import Grant
from saldo.encoding.json import encode_json, encode_json_lines
from saldo.engine.errors import EngineError
from saldo.engine.pending import Result
from saldo.http import problems
from saldo.http.api.post_transaction import may_see
from saldo.http.responses import count_outcome
from saldo.ledger.model import Decision, Outcome, TransactionRequest
from saldo.ledger.money import format_money
from saldo.parsing.faults import InvalidRequestError

Item: TypeAlias = TransactionRequest | InvalidRequestError | problems.Problem
"""Content of a line of the input: a transaction request, or the reason why the line can't be posted."""

EXPLAINED_BYTES_MAX = 1024 * 1024
"""Maximum total size, in bytes, of the output lines that list the faults of invalid items. Further invalid items get a
short explanation. Otherwise the response to a small array of invalid items could be very large."""


class PostedLine(msgspec.Struct):
    """The output line of a posted transaction. It has only the fields of `BulkOutcome` that apply to such a line."""

    line: int
    status: int
    code: str
    uuid: UUID
    balance: str
    number: int
    replayed: bool


Line: TypeAlias = PostedLine | dict[str, Any]


def check_user(item: TransactionRequest | InvalidRequestError, grant: Grant) -> Item:
    """Return the item, or a problem (403) if the key may not access the item's user."""
    if isinstance(item, TransactionRequest) and not grant.includes_user(item.user_id):
        return problems.build_forbidden_user(item.user_id)
    return item


def build_outcome_lines(
    items: Sequence[tuple[int, Item]], results: Sequence[Result], decimals: int, grant: Grant
) -> list[Line]:
    """Return a line for each item, and count the outcomes.

    Args:
        items: The items, each with the number of its line in the input.
        results: One result for each transaction request among the items, in the same order.
    """
    lines: list[Line] = []
    explained_bytes = 0
    recorded_counts: Counter[tuple[Outcome, bool]] = Counter()
    remaining_results = iter(results)
    for number, item in items:
        if isinstance(item, InvalidRequestError):
            is_long = explained_bytes >= EXPLAINED_BYTES_MAX
            problem = (
                problems.build_invalid_without_details()
                if is_long
                else problems.build_invalid(item.faults)
            )
            line = build_problem_line(number, None, problem) | {"uuid": item.uuid}
            explained_bytes += len(encode_json(line))
            lines.append(line)
        elif isinstance(item, problems.Problem):
            lines.append(build_problem_line(number, None, item))
        elif isinstance(result := next(remaining_results), EngineError):
            lines.append(build_problem_line(number, item, problems.convert_engine_error(result)))
        else:
            recorded_counts[result.outcome, result.replayed] += 1
            lines.append(_build_decided_line(number, item, result, decimals, grant))
    for (outcome, replayed), count in recorded_counts.items():
        count_outcome(outcome, replayed, count)
    return lines


def _build_decided_line(
    number: int, request: TransactionRequest, decision: Decision, decimals: int, grant: Grant
) -> Line:
    if decision.outcome is Outcome.POSTED:
        return PostedLine(
            number,
            200,
            "posted",
            request.uuid,
            format_money(decision.balance or 0, decimals),
            decision.number or 0,
            decision.replayed,
        )
    reveal = may_see(grant, decision)
    problem = problems.convert_decision(request, decision, decimals, reveal=reveal)
    line = build_problem_line(number, request, problem)
    if decision.outcome.is_recorded:
        line |= {"number": decision.number, "replayed": decision.replayed}
    return line


def build_problem_line(
    number: int, request: TransactionRequest | None, problem: problems.Problem
) -> dict[str, Any]:
    """Return the line of a transaction that was not posted, with the reason."""
    extra = {name: problem.extra[name] for name in _SHOWN_FIELDS if name in problem.extra}
    return {
        "line": number,
        "status": problem.status,
        "code": problem.code,
        "uuid": request and request.uuid,
        **extra,
        "detail": problem.detail,
    }


def encode_lines(lines: list[Line]) -> bytes:
    """Encode lines as newline-delimited JSON."""
    return encode_json_lines(lines)


_SHOWN_FIELDS = ("balance", "needed", "differing_fields", "recorded", "errors")
