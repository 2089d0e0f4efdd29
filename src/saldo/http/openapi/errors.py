"""The errors of the OpenAPI document. The code that builds the real responses also builds the examples.

Each route lists its error codes. Statuses, descriptions and examples are derived from them.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import msgspec
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Example, OpenAPIMediaType, OpenAPIResponse, Reference

from saldo.engine.errors import DeadlineExceededError, OutcomeUnknownError
from saldo.http import problems
from saldo.http.problems import Problem
from saldo.http.responses import RawResponse
from saldo.http.schemas import ledger
from saldo.ledger.model import Decision, Outcome, TransactionRequest
from saldo.parsing.faults import InvalidField

_REQUEST_ID: Final = "ba82c1f3105c-e"
_UUID: Final = UUID("ea3015b1-c25c-47e5-beb7-2679ac7c89a7")
_MOMENT: Final = datetime(2023, 10, 30, 12, 30, 45, tzinfo=UTC)
_LATER: Final = datetime(2026, 11, 24, 12, 0, 36, 515682, tzinfo=UTC)

DATABASE_CODES: Final = ("database_unavailable", "overloaded")
"""Codes of all routes that use the database."""

BODY_CODES: Final = ("body_too_large", "unsupported_media_type")
"""Codes of all routes that accept a body."""

KEY_CODES: Final = ("unauthenticated", "forbidden", "too_many_requests", "database_unavailable")
"""Codes of all routes that require a key."""

COMMON_CODES: Final = ("internal",)
"""Codes of all routes."""

NO_OPERATION: Final = (
    "not_http",
    "wrong_header",
    "too_slow",
    "url_too_long",
    "head_too_large",
    "not_found",
    "method_not_allowed",
)
"""Codes of errors that belong to no operation of the document."""

_UNKNOWN_PARAMETER: Final = InvalidField("dat", "is not a parameter of this request; it has none")


def describe_problems(
    *codes: str, invalid: InvalidField = _UNKNOWN_PARAMETER, guarded: bool = True
) -> dict[int, ResponseSpec]:
    """Return the errors of an operation by status, with a named example for each code.

    Args:
        codes: The operation's own codes. "invalid" and the codes of all routes are added.
        invalid: The invalid field in the example of "invalid".
        guarded: Whether the operation requires a key.
    """
    every = (*codes, "invalid", *(KEY_CODES if guarded else ()), *COMMON_CODES)
    answers = {code: build_example_response(code, invalid) for code in every}
    by_status: dict[int, list[str]] = defaultdict(list)
    for code, answer in answers.items():
        by_status[answer.status].append(code)
    return {
        status: ResponseSpec(
            ledger.Problem,
            description=". ".join(problems.find_title(code) for code in codes_of_status) + ".",
            media_type=problems.MEDIA_TYPE,
            generate_examples=False,
            examples=[_build_example(code, answers[code]) for code in codes_of_status],
        )
        for status, codes_of_status in sorted(by_status.items())
    }


def describe_unrouted_responses() -> dict[str, OpenAPIResponse | Reference]:
    """Return the responses for errors that belong to no operation."""
    responses: dict[str, OpenAPIResponse | Reference] = {}
    for code in NO_OPERATION:
        media_type = OpenAPIMediaType(
            schema=Reference("#/components/schemas/Problem"),
            examples={code: Example(value=msgspec.json.decode(build_example_response(code).body))},
        )
        responses[code] = OpenAPIResponse(
            description=f"{problems.find_title(code)}.", content={problems.MEDIA_TYPE: media_type}
        )
    return responses


def build_example_response(code: str, invalid: InvalidField = _UNKNOWN_PARAMETER) -> RawResponse:
    """Return an example response with this code."""
    if code == "invalid":
        return problems.build_invalid([invalid]).build_response(_REQUEST_ID)
    example = _EXAMPLES[code]
    return example.build_response(_REQUEST_ID) if isinstance(example, Problem) else example


def _build_example(code: str, answer: RawResponse) -> Example:
    value: Any = msgspec.json.decode(answer.body)
    return Example(id=code, summary=problems.find_title(code), value=value)


def _build_refusal(requested: TransactionRequest, decision: Decision) -> Problem:
    return problems.convert_decision(requested, decision, 2)


def _build_decision(outcome: Outcome, amount: int, balance: int) -> Decision:
    return Decision(outcome, False, 1, 3, amount, balance, _MOMENT, _LATER)


_DEPOSIT: Final = TransactionRequest(_UUID, 1, 10_000, _MOMENT)
_WITHDRAWAL: Final = TransactionRequest(_UUID, 1, -6_000, _MOMENT)

_EXAMPLES: Final[dict[str, Problem | RawResponse]] = {
    "insufficient_funds": _build_refusal(
        _WITHDRAWAL,
        _build_decision(Outcome.INSUFFICIENT_FUNDS, -6_000, 5_000),
    ),
    "balance_above_maximum": _build_refusal(
        _DEPOSIT,
        _build_decision(Outcome.BALANCE_ABOVE_MAXIMUM, 10_000, 10**17),
    ),
    "uuid_conflict": _build_refusal(_DEPOSIT, _build_decision(Outcome.UUID_CONFLICT, 5_000, 5_000)),
    "user_not_found": problems.build_user_not_found(1),
    "transaction_not_found": problems.build_transaction_not_found(str(_UUID)),
    "not_sealed_yet": problems.build_not_sealed_yet(str(_UUID)),
    "seal_broken": problems.build_seal_broken(1, 4, 7),
    "webhook_not_found": problems.build_webhook_not_found(1),
    "delivery_not_found": problems.build_delivery_not_found(_UUID),
    "too_many_webhooks": problems.build_too_many_webhooks(100),
    "name_taken": problems.build_name_taken(1),
    "timestamp_in_future": _build_refusal(_DEPOSIT, Decision(Outcome.TIMESTAMP_IN_FUTURE)),
    "timestamp_too_late": _build_refusal(_DEPOSIT, Decision(Outcome.TIMESTAMP_TOO_LATE)),
    "late_check_too_long": _build_refusal(_WITHDRAWAL, Decision(Outcome.LATE_CHECK_TOO_LONG)),
    "not_http": problems.build_not_http(),
    "wrong_header": problems.build_wrong_header("Host", "is missing"),
    "too_slow": problems.build_too_slow(30),
    "url_too_long": problems.build_url_too_long(8192),
    "head_too_large": problems.build_head_too_large(16_384, 100),
    "not_found": problems.build_not_found(),
    "method_not_allowed": problems.build_method_not_allowed("DELETE"),
    "outcome_unknown": problems.convert_engine_error(OutcomeUnknownError()),
    "deadline_exceeded": problems.convert_engine_error(DeadlineExceededError()),
    "position_gone": problems.build_position_gone("The id is past the end of the log."),
    "overloaded": problems.build_too_many_connections(),
    "database_unavailable": problems.build_database_unavailable(),
    "body_too_large": problems.build_body_too_large(65_536),
    "unsupported_media_type": problems.build_unsupported_media_type("text/plain"),
    "internal": problems.build_internal(),
    "unauthenticated": problems.build_authentication_required(
        "An API key is required: send it as Authorization: Bearer <key>."
    ),
    "forbidden": problems.build_forbidden_scope("write"),
    "too_many_requests": problems.build_too_many_requests(1),
    "key_not_found": problems.build_key_not_found(1),
    "key_not_valid": problems.build_key_not_valid(1),
    "too_many_keys": problems.build_too_many_keys(1000),
}
