"""The reference page of the API, generated from the service's OpenAPI document."""

from __future__ import annotations

import json
from typing import Any, Final, cast

from saldo.http.api.context import AppContext
from saldo.http.litestar_app import create_framework
from saldo.http.openapi.document import build_openapi_document
from saldo.settings.model import Settings
from website.api_examples import CALLS, PROBLEM, read_responses
from website.schemas import Schema, describe_type, escape_cell, field_table, referenced_components

_BEGINNING: Final = """# HTTP API reference

This page describes every call of the HTTP API. It is generated from the OpenAPI document, which the service serves at
`/openapi.json`; the service also has an interactive page at `/docs`. The examples were run against a service on a new
ledger. Ids, uuids, times and hashes differ on yours.

The base URL is the address of your service: `http://localhost:8000` after `make serve`. Requests and responses are
JSON in UTF-8, unless a call says otherwise. A request with a field or query parameter that the call doesn't have is
rejected, so that a misspelt name is never ignored.

## Authentication

Send an API key or a token in the header `Authorization`:

```sh
curl -H "Authorization: Bearer $SALDO_KEY" 'http://localhost:8000/v1/user/1'
```

A key has scopes (`read`, `write`, `metrics`, `admin`), and can be limited to some users and networks
([authentication and access control](../howto/secure.md)). As long as no key exists, the service answers only requests
from its own machine, and the header is not needed. Health checks never need a key. A request without a valid key gets
401 `unauthenticated`, and a request that the key doesn't permit gets 403 `forbidden`.

## Idempotency

The client chooses the `uuid` of each transaction, and this uuid is its idempotency key. The first request with a uuid
decides the outcome, and every later request with the same uuid and the same content returns the recorded outcome and
the header `Idempotent-Replayed: true`. This holds without a time limit, also for refused transactions. Retry a request
whose response was lost with the same uuid, and use a new uuid for a new transaction. A request that uses a recorded
uuid with other content gets 409 `uuid_conflict`.

The header `Idempotency-Key` of `POST /v1/transaction` can carry the uuid instead of the body. If the body has a uuid,
the header is ignored. Calls that create users, webhooks and keys have no idempotency key: the name of a user is unique,
so that a repeated `POST /v1/user` gets 409 `name_taken`. [Exactly once](../explanation/exactly-once.md) explains the
guarantee.

## Errors

The status code says whether to retry: 4xx means that the request must be changed (or, for 402 and 409
`balance_above_maximum`, that the outcome is final), and 408, 429, 500 and 503 mean that the same request may be sent
again, unless it creates a webhook or a key. Every error is an object of the media type
`application/problem+json` (RFC 9457) with a stable `code`:

```json
%(problem)s
```

`detail` is for people, `errors` names each faulty field, and `request_id` (also in the header `X-Request-Id`) finds
the request in the service's log. [All errors](errors.md) lists the codes with their meaning and what to do. Each call
below lists the codes that it can return.

## Pagination

A list returns at most `limit` items per page, by default `SALDO_PAGE_ITEMS_DEFAULT`. To get the next page, send the
`next_cursor` of a page as `cursor`, until `next_cursor` is null. A page can be shorter than `limit`, or empty, before
the last one. Two lists are read by position instead: `GET /v1/transactions` (`after`, `reached`, `more`) and
`GET /v1/seals` (`after`, `next_after`).

## Amounts and times

An amount is a decimal string, such as `"100.00"`, with at most as many decimals as the currency has
(`SALDO_CURRENCY_DECIMALS`). Responses always contain all decimals. Proofs are an exception: their amounts are integers
in minor units, as they are in the hashes.

A time in a response is in RFC 3339, with an offset. A time in a request is in ISO 8601. Send an offset or `Z`, because
a time without an offset is read in the time zone of the service (`SALDO_TIMEZONE`). Each transaction has two times:
`timestamp` is when it takes effect, and `recorded_at` is when it was recorded. `date` and `before` select by the first,
`known_at` by the second ([late entries](../explanation/late-entries.md)).

## Rate limits

A key can have a rate limit ([rate limits](../howto/secure.md#rate-limits)); by default there is none. A request over
the limit gets 429 `too_many_requests`, and `Retry-After` says after how many seconds it will be accepted. An overloaded
service responds with 503 `overloaded`, also with `Retry-After`. In both cases, this attempt recorded nothing. Add a
random part to the delay, so that clients don't come back at the same moment.

## Versioning

The version of the API is in the path (`/v1`). Within a version, fields, codes, event types and calls may be added, so
clients must ignore fields in responses that they don't know. From Saldo 1.0 on, fields are not removed and their
meaning does not change ([versioning](versioning.md)).
"""

_TAGS: Final = {
    "transactions": "Transactions",
    "users": "Users and balances",
    "events": "Live events",
    "webhooks": "Webhooks",
    "proofs": "Seals and proofs",
    "keys": "API keys",
    "operation": "Health checks and metrics",
}


class _ServiceStub:
    """A stub of the service with the attributes that the framework reads at its creation."""

    def __init__(self) -> None:
        self.settings = Settings(_env_file=None)  # type: ignore[call-arg]


def document() -> dict[str, Any]:
    """Return the OpenAPI document, without starting a service."""
    app = create_framework(cast("AppContext", _ServiceStub()))
    return build_openapi_document(app)


def page() -> str:
    """Return the page in Markdown."""
    whole = document()
    operations = [
        (path, method, _resolve_operation(whole, operation))
        for path, methods in whole["paths"].items()
        for method, operation in methods.items()
    ]
    unknown = {tag for *_, each in operations for tag in each["tags"]} - set(_TAGS)
    if unknown:
        raise LookupError(f"no heading for the operations of {', '.join(sorted(unknown))}")
    responses = read_responses()
    problem = json.loads(responses.pop(PROBLEM))
    missing = {f"{method.upper()} {path}" for path, method, _ in operations} ^ responses.keys()
    if missing:
        raise LookupError(f"no example, or no operation: {', '.join(sorted(missing))}")
    lines = [_BEGINNING % {"problem": json.dumps(problem, indent=2)}]
    for tag, heading in _TAGS.items():
        lines += [f"## {heading}", ""]
        for path, method, operation in operations:
            if tag in operation["tags"]:
                lines += _operation(path, method, operation, responses)
    lines += ["## Objects", ""]
    for name in _objects(whole, operations):
        schema = whole["components"]["schemas"][name]
        lines += [f"### {name}", ""]
        lines += (
            field_table(schema, optional=name.endswith(("Request", "Change")))
            if "properties" in schema
            else [describe_type(schema), ""]
        )
    return "\n".join(lines).rstrip("\n") + "\n"


def _resolve_operation(whole: Schema, operation: Schema) -> dict[str, Any]:
    """Return an operation with its responses and the schemas of its body in place of references to them."""
    body = operation.get("requestBody", {"content": {}})
    content = {
        media_type: {**each, "schema": _resolve(whole, each["schema"])}
        for media_type, each in body["content"].items()
    }
    responses = {
        status: _resolve(whole, answer) for status, answer in operation["responses"].items()
    }
    return {**operation, "requestBody": {**body, "content": content}, "responses": responses}


def _resolve(whole: Schema, part: Schema) -> Schema:
    if "$ref" not in part:
        return part
    kind, name = part["$ref"].removeprefix("#/components/").split("/")
    found: Schema = whole["components"][kind][name]
    return found


def _operation(path: str, method: str, operation: Schema, responses: dict[str, str]) -> list[str]:
    name = f"{method.upper()} {path}"
    lines = [f"### {operation['summary']}", "", f"`{name}`", ""]
    if operation.get("description"):
        lines += [operation["description"], ""]
    if parameters := operation.get("parameters"):
        lines += ["| parameter | in | type | description |", "|---|---|---|---|"]
        lines += [_parameter(each) for each in parameters]
        lines.append("")
    for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
        lines += _body(media_type, content)
    for status, answer in operation["responses"].items():
        if status.startswith("2"):
            lines += _response(status, answer)
    lines += _example(name, responses[name])
    errors = [_error(status, each) for status, each in operation["responses"].items()]
    lines += ["Errors: " + "; ".join(filter(None, errors)) + ".", ""]
    return lines


def _parameter(parameter: Schema) -> str:
    said = parameter.get("description") or parameter["schema"].get("description", "")
    needed = "" if not parameter["required"] or parameter["in"] == "path" else "Required. "
    return (
        f"| `{parameter['name']}` | {parameter['in']} | {describe_type(parameter['schema'])} "
        f"| {needed}{escape_cell(said)} |"
    )


def _body(media_type: str, content: Schema) -> list[str]:
    schema = content["schema"]
    lines = [f"Body, `{media_type}`:", ""]
    if "properties" in schema:
        lines += field_table(schema, optional=True)
    elif schema.get("type") == "array":
        lines += ["An array of transactions with the fields of a single transaction.", ""]
    else:
        lines += [schema.get("description", describe_type(schema)), ""]
    return lines


def _response(status: str, answer: Schema) -> list[str]:
    lines = []
    for media_type, content in answer.get("content", {}).items():
        schema = content["schema"]
        said = schema.get("description") if "$ref" not in schema else None
        # This is the framework's default description.
        description = answer["description"]
        about = (
            "" if description.startswith("Request fulfilled") else f" {escape_cell(description)}"
        )
        lines += [f"Response {status}, `{media_type}`: {said or describe_type(schema)}.{about}", ""]
    return [line.replace("..", ".") for line in lines]


def _example(operation: str, response: str) -> list[str]:
    (call,) = (each for each in CALLS if each.operation == operation)
    try:
        language, shown = "json", json.dumps(json.loads(response), indent=2, ensure_ascii=False)
    except json.JSONDecodeError:  # a stream of events, lines of JSON, or metrics
        language, shown = "text", response
    return ["```sh", call.format_curl(), "```", "", f"```{language}", shown, "```", ""]


def _error(status: str, answer: Schema) -> str:
    if status.startswith("2") or status == "default":
        return ""
    examples = [
        (name, example["value"])
        for each in answer.get("content", {}).values()
        for name, example in each["examples"].items()
    ]
    codes = dict.fromkeys(value.get("code", name) for name, value in examples)
    return f"{status} " + ", ".join(f"`{code}`" for code in codes)


def _objects(whole: Schema, operations: list[tuple[str, str, Any]]) -> list[str]:
    """Return the names of the schemas in the order in which the operations refer to them."""
    met: dict[str, None] = {}
    waiting = [name for *_, each in operations for name in referenced_components(each)]
    while waiting:
        name = waiting.pop(0)
        if name not in met and name in whole["components"]["schemas"]:
            met[name] = None
            waiting += referenced_components(whole["components"]["schemas"][name])
    return list(met)
