"""Hooks of Schemathesis: Saldo's media type for lines, and the rules about requests that no schema can express.

Schemathesis itself loads this file (SCHEMATHESIS_HOOKS). A failure of one of its checks is ignored only for a reason
that is listed here; every other failure is a fault of the service or of its document.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final
from uuid import UUID, uuid5

import schemathesis
from schemathesis import Case, HookContext, Response, SerializationContext
from schemathesis.core.failures import AcceptedNegativeData, Failure
from schemathesis.openapi.checks import (
    EnsureResourceAvailability,
    RejectedPositiveData,
    UseAfterFree,
)

LINES: Final = "application/x-ndjson"

BULK_PATH: Final = "/v1/transactions"

INSTANTS: Final = "timestamp|date|before|known_at|from|to|expires_at"

BEYOND_SCHEMAS: Final[tuple[tuple[str, str], ...]] = (
    ("cursor", "must be the next_cursor of a page of this list"),  # opaque
    ("before", "can't be combined with date"),  # between two parameters
    ("to", "must be after from"),  # between two parameters
    ("known_at", "must be in the past"),
    ("uuid", "differs from uid"),  # between two fields
    # The uuid is in the body, in the body as `uid`, or in a header.
    ("uuid|uid|Idempotency-Key", "(is missing: it |is null: it )?must be a uuid"),
    (INSTANTS, "is not a date and time of the calendar"),
    # At the limits, with an offset.
    (INSTANTS, r"must be in the years \d+ to \d+"),
    ("amount", r"has more than the currency's \d decimals"),  # a setting
    ("amount", "must be at most"),  # a setting
    ("amount", "must be a decimal number"),  # a JSON number is an amount only without an exponent
    ("user_id", "must be from 1 to"),  # 19 digits may be too many
    ("user_id", "must be a whole number"),  # 1.0 is an integer to JSON Schema
    ("user_ids", "must contain only whole numbers from 1 to"),  # both
    ("atomic", "is allowed for JSON arrays only"),  # between the query and the media type
    ("url", "must be a URL such as"),  # an IDNA name
    ("url", "must lead to the public internet"),
    ("after", "must be at most"),  # 30 digits may be too many
    ("after|limit", "needs shard"),  # between two parameters
    ("expires_at", "must be in the future"),
    ("networks", "must contain networks such as"),
    ("user_ids", "are allowed only with the scopes read and write"),  # between two fields
    ("overlap_seconds", "must be a whole number of seconds"),  # 1.0 is an integer to JSON Schema
    ("url", "must not have a user, a password or a fragment"),
    # Unicode's categories have no portable pattern.
    ("name", r"must not (contain|begin with) U\+[0-9A-F]{4,6}"),
    ("name", "must have a visible character"),
)
"""Field and beginning of the message of each fault that a request may have although it matches its schema."""

CODES_OF_BAD_REQUESTS: Final = {"invalid", "unsupported_media_type", "not_found", "not_http"}
"""Codes of malformed requests; all other codes are decisions about requests that could be parsed."""

_NAMESPACE: Final = UUID("5a1d0000-0000-4000-8000-000000000001")


@schemathesis.serializer(LINES)
def lines(_: SerializationContext, value: Any) -> Any:
    """Return the bytes of generated lines, or of the JSON of a value that is not a string."""
    text = value if isinstance(value, str) else json.dumps(value)
    return text.encode("utf-8", "surrogatepass")


@schemathesis.hook
def before_load_schema(_: HookContext, raw_schema: dict[str, Any]) -> None:
    """Remove the default responses, with which every status would be documented."""
    for operations in raw_schema["paths"].values():
        for operation in operations.values():
            operation["responses"].pop("default", None)


@schemathesis.hook
def map_body(context: HookContext, body: Any) -> Any:
    """Put valid lines between the nonsense that a schema of text leads to."""
    operation = context.operation
    if operation is None or operation.path != BULK_PATH or not isinstance(body, str):
        return body
    return "\n".join(line for part in body.split("\n") for line in (part, _good_line(part)))


def _good_line(seed: str) -> str:
    fields = {
        "uuid": str(uuid5(_NAMESPACE, seed.encode("utf-8", "surrogatepass").hex())),
        "type": "WITHDRAW" if len(seed) % 3 == 2 else "DEPOSIT",
        "amount": str(len(seed) + 1),
        "user_id": 1,
    }
    return json.dumps(fields)


@schemathesis.hook
def filter_failure(_: HookContext, failure: Failure, case: Case[Any], response: Response) -> bool:
    """Return whether a failure counts."""
    match failure:
        case RejectedPositiveData():
            return not _could_be_read(response)
        case AcceptedNegativeData():
            if _has_other_types(case.body):
                return False
            return not (case.operation.path == BULK_PATH and _has_a_refused_line(response))
        case UseAfterFree():
            # A revoked key is still returned, with its owner and its end.
            return not case.operation.path.startswith("/v1/key/")
        case EnsureResourceAvailability():
            # The webhook exists; the event id was made up.
            return bool(response.json().get("code") != "delivery_not_found")
        case _:
            return True


def _could_be_read(response: Response) -> bool:
    """Return whether the answer is a decision, or reports only faults that no schema can express."""
    problem = response.json()
    if problem.get("code") not in CODES_OF_BAD_REQUESTS:
        return True
    return problem["code"] == "invalid" and all(
        any(
            re.fullmatch(rf"(\[\d+\]\.)?({field})", error["field"])
            and re.match(message, error["message"])
            for field, message in BEYOND_SCHEMAS
        )
        for error in problem["errors"]
    )


def _has_other_types(body: object) -> bool:
    """Return whether an amount is a JSON number, or a user id is a text.

    Both are accepted but not documented: generated clients would make a float of the first and a union of the second.
    """
    items = body if isinstance(body, list) else [body]
    fields = [each for each in items if isinstance(each, dict)]
    amounts = [each.get("amount") for each in fields]
    ids = [user_id for each in fields for user_id in _list_ids(each)]
    return any(
        isinstance(each, (int, float)) and not isinstance(each, bool) for each in amounts
    ) or any(isinstance(each, str) for each in ids)


def _list_ids(fields: dict[str, Any]) -> list[object]:
    user_ids = fields.get("user_ids")
    return [fields.get("user_id"), *(user_ids if isinstance(user_ids, list) else ())]


def _has_a_refused_line(response: Response) -> bool:
    """Return whether one of many transactions, each decided by itself, was rejected."""
    text = response.content.decode()
    # The test uses splitlines, because clients that split lines like this must not be misled by the content.
    outcomes = json.loads(text) if text.startswith("[") else map(json.loads, text.splitlines())
    return any(outcome["status"] >= 400 for outcome in outcomes)
