"""The errors of the OpenAPI document. The code that builds the real responses also builds the examples.

Each route lists its error codes. Statuses, descriptions and examples are derived from them.
"""

from __future__ import annotations

import re
from collections import defaultdict
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import msgspec
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import (
    Example,
    OpenAPIHeader,
    OpenAPIMediaType,
    OpenAPIResponse,
    Reference,
    Schema,
)
from litestar.openapi.spec.enums import OpenAPIType

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

DEFAULT_RESPONSE: Final = "UnexpectedError"
"""Name of the component that is the default response of each operation."""

HEADERS: Final = {
    "X-Request-Id": "RequestId",
    "Retry-After": "RetryAfter",
    "WWW-Authenticate": "Authenticate",
    "Idempotent-Replayed": "IdempotentReplayed",
}
"""Names of the components that describe response headers, by the names of the headers."""

_UNKNOWN_PARAMETER: Final = InvalidField("dat", "is not a parameter of this request; it has none")


def describe_problems(
    *codes: str, invalid: InvalidField = _UNKNOWN_PARAMETER, guarded: bool = True
) -> dict[int, ResponseSpec]:
    """Return the errors of an operation by status, with a named example for each code.

    The example of "invalid" is named after the field, too, because all operations share one response for it.

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
            examples=[
                _build_example(_name_example(code, invalid), answers[code])
                for code in codes_of_status
            ],
        )
        for status, codes_of_status in sorted(by_status.items())
    }


def describe_default_response() -> OpenAPIResponse:
    """Return the response for errors that belong to no operation, and for errors that a later version may add."""
    examples: dict[str, Example | Reference] = {
        code: _build_example(code, build_example_response(code)) for code in NO_OPERATION
    }
    media_type = OpenAPIMediaType(
        schema=Reference("#/components/schemas/Problem"), examples=examples
    )
    return OpenAPIResponse(
        description="Any other error. Clients decide by `code`.",
        headers={"X-Request-Id": Reference(f"#/components/headers/{HEADERS['X-Request-Id']}")},
        content={problems.MEDIA_TYPE: media_type},
    )


def describe_headers() -> dict[str, OpenAPIHeader | Reference]:
    """Return the components of the headers in `HEADERS`, by the names of the components."""
    text = OpenAPIType.STRING
    return {
        "RequestId": OpenAPIHeader(
            schema=Schema(type=text),
            description="Id of the request: the one that the client sent in this header, or a new one.",
        ),
        "RetryAfter": OpenAPIHeader(
            schema=Schema(type=OpenAPIType.INTEGER, minimum=0),
            description="Seconds after which the request may be sent again.",
        ),
        "Authenticate": OpenAPIHeader(
            schema=Schema(type=text), description="The scheme of authentication, which is `Bearer`."
        ),
        "IdempotentReplayed": OpenAPIHeader(
            schema=Schema(type=text),
            description="`true` if an earlier request recorded the outcome. Otherwise the header is missing.",
        ),
    }


def list_response_headers(code: str) -> list[str]:
    """Return the names of the headers that responses with this code have or may have."""
    example = _EXAMPLES.get(code)
    sent = {name for name, _ in build_example_response(code).headers}
    if isinstance(example, Problem) and example.same_for_every_retry:
        sent.add("idempotent-replayed")
    return [name for name in HEADERS if name == "X-Request-Id" or name.lower() in sent]


def build_example_response(code: str, invalid: InvalidField = _UNKNOWN_PARAMETER) -> RawResponse:
    """Return an example response with this code."""
    if code == "invalid":
        return problems.build_invalid([invalid]).build_response(_REQUEST_ID)
    example = _EXAMPLES[code]
    return example.build_response(_REQUEST_ID) if isinstance(example, Problem) else example


def _name_example(code: str, invalid: InvalidField) -> str:
    if code != "invalid":
        return code
    return f"invalid-{'-'.join(re.findall(r'[A-Za-z0-9_]+', invalid.field))}"


def _build_example(name: str, answer: RawResponse) -> Example:
    value: Any = msgspec.json.decode(answer.body)
    return Example(id=name, summary=value["title"], value=value)


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
