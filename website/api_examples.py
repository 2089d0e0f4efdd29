"""The example calls of the API reference, with the responses of a real service.

The calls are made in the order of `CALLS`, on a new ledger. `python -m tests.website.api_examples` makes them and
records the responses in api_examples.json; a test makes them again and compares.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

RESPONSES: Final = Path(__file__).with_name("api_examples.json")
"""The file of recorded responses: an object with the text of a response for each operation, such as `GET /v1/user`, and
of one problem."""

BASE_URL: Final = "http://localhost:8000"

_UUID: Final = "ea3015b1-c25c-47e5-beb7-2679ac7c89a7"


@dataclass(frozen=True, slots=True)
class ExampleCall:
    """An example of a call.

    Attributes:
        operation: The method and the path of the operation, as in the OpenAPI document.
        target: The path and query of the request.
        body: The body of the request.
        media_type: The media type of the body.
        needs_key: Whether the request needs an API key.
        is_stream: Whether the response does not end by itself.
    """

    operation: str
    target: str
    body: str | None = None
    media_type: str = "application/json"
    needs_key: bool = True
    is_stream: bool = False

    def format_curl(self) -> str:
        """Return the call as a command for a shell."""
        method = self.operation.split()[0]
        lines = [f"curl{' -N' if self.is_stream else ''}"]
        if method not in {"GET", "POST"} or (method == "POST" and self.body is None):
            lines[0] += f" -X {method}"
        lines[0] += f" '{BASE_URL}{self.target}'"
        if self.needs_key:
            lines.append('-H "Authorization: Bearer $SALDO_KEY"')
        if self.body is not None:
            lines += [f"-H 'Content-Type: {self.media_type}'", f"--data-binary '{self.body}'"]
        return " \\\n  ".join(lines)


def _encode_transaction(uuid: str, kind: str, amount: str) -> str:
    return json.dumps({"uuid": uuid, "type": kind, "amount": amount, "user_id": 1})


_BULK: Final = "\n".join(
    (
        _encode_transaction("6f1d7a4e-6a53-4b8c-9a43-2f4f1c1a8f10", "DEPOSIT", "20.00"),
        _encode_transaction("0c9a54b3-5f0e-4d0a-8f6e-3b1d6d1f7a22", "WITHDRAW", "500.00"),
    )
)

CALLS: Final = (
    ExampleCall("POST /v1/user", "/v1/user", '{"name": "customer-4711"}'),
    ExampleCall(
        "POST /v1/transaction",
        "/v1/transaction",
        _encode_transaction(_UUID, "DEPOSIT", "100.00"),
    ),
    ExampleCall("GET /v1/transaction/{uuid}", f"/v1/transaction/{_UUID}"),
    ExampleCall("GET /v1/proof/{uuid}", f"/v1/proof/{_UUID}"),
    ExampleCall("GET /v1/seals", "/v1/seals?shard=1&limit=1"),
    ExampleCall("POST /v1/transactions", "/v1/transactions", _BULK, "application/x-ndjson"),
    ExampleCall("GET /v1/transactions", "/v1/transactions?shard=1"),
    ExampleCall("GET /v1/user", "/v1/user?limit=1"),
    ExampleCall("GET /v1/user/{user_id}", "/v1/user/1"),
    ExampleCall("GET /v1/user/{user_id}/balance", "/v1/user/1/balance?date=2023-10-30T00:00:00Z"),
    ExampleCall("GET /v1/user/{user_id}/transactions", "/v1/user/1/transactions?limit=1"),
    ExampleCall(
        "GET /v1/events",
        "/v1/events?user_id=1&type=saldo.transaction.posted&from=start",
        is_stream=True,
    ),
    ExampleCall(
        "POST /v1/webhook",
        "/v1/webhook",
        '{"url": "https://example.com/saldo", "event_types": ["saldo.transaction.posted"]}',
    ),
    ExampleCall("GET /v1/webhook", "/v1/webhook?limit=1"),
    ExampleCall("GET /v1/webhook/{webhook_id}", "/v1/webhook/1"),
    ExampleCall("PATCH /v1/webhook/{webhook_id}", "/v1/webhook/1", '{"enabled": false}'),
    ExampleCall(
        "GET /v1/webhook/{webhook_id}/deliveries", "/v1/webhook/1/deliveries?state=dead&limit=10"
    ),
    ExampleCall(
        "POST /v1/webhook/{webhook_id}/deliveries/replay", "/v1/webhook/1/deliveries/replay", "{}"
    ),
    ExampleCall("DELETE /v1/webhook/{webhook_id}", "/v1/webhook/1"),
    ExampleCall(
        "POST /v1/key",
        "/v1/key",
        '{"name": "shop", "scopes": ["read", "write"], "user_ids": [1]}',
    ),
    ExampleCall("GET /v1/key", "/v1/key?limit=1"),
    ExampleCall("GET /v1/key/{key_id}", "/v1/key/1"),
    ExampleCall("POST /v1/key/{key_id}/rotate", "/v1/key/1/rotate", "{}"),
    ExampleCall("DELETE /v1/key/{key_id}", "/v1/key/1"),
    ExampleCall("GET /healthz/live", "/healthz/live", needs_key=False),
    ExampleCall("GET /healthz/ready", "/healthz/ready", needs_key=False),
    ExampleCall("GET /healthz/startup", "/healthz/startup", needs_key=False),
    ExampleCall("GET /metrics", "/metrics"),
)

PROBLEM: Final = "problem"
"""The name under which the response to `FAULTY_CALL` is recorded."""

FAULTY_CALL: Final = ExampleCall(
    "POST /v1/transaction", "/v1/transaction", _encode_transaction(_UUID, "DEPOSIT", "-5")
)


def read_responses() -> dict[str, str]:
    """Return the text of the recorded response for each operation, and of the problem."""
    responses: dict[str, str] = json.loads(RESPONSES.read_text("utf-8"))
    return responses
