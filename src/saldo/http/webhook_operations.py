"""OpenAPI's description of the bodies about webhooks, which are read by `saldo.http.webhook_wire`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from litestar.openapi.spec import Schema
from litestar.openapi.spec.enums import OpenAPIType

from saldo.http.operations import USER_ID, Documented, json_body
from saldo.http.patterns import KEY, PLAIN_URL, URL, UUID
from saldo.relay.events import RELAYED_EVENT_TYPES

_FIELDS: Final = {
    "url": Schema(
        type=OpenAPIType.STRING,
        description="https, or http where nobody listens. Redirects are not followed.",
        any_of=[Schema(pattern=PLAIN_URL), Schema(pattern=URL)],
        max_length=2000,
    ),
    "event_types": Schema(
        type=[OpenAPIType.ARRAY, OpenAPIType.NULL],
        description="null or not given: all of the ledger, not saldo.webhook.disabled.",
        items=Schema(type=OpenAPIType.STRING, enum=list(RELAYED_EVENT_TYPES)),
        min_items=1,
        max_items=len(RELAYED_EVENT_TYPES),
    ),
    "user_ids": Schema(
        type=[OpenAPIType.ARRAY, OpenAPIType.NULL],
        description="null or not given: all.",
        items=USER_ID,
        min_items=1,
        max_items=1000,
    ),
    "secret": Schema(type=OpenAPIType.STRING, description="24 to 64 bytes in base64.", pattern=KEY),
}
_NEW_SECRET: Final = Schema(
    type=[OpenAPIType.STRING, OpenAPIType.NULL],
    description="24 to 64 bytes in base64. null or not given: a new one is made.",
    pattern=KEY,
)

CREATE: Final = Schema(
    type=OpenAPIType.OBJECT,
    title="WebhookRequest",
    required=["url"],
    properties={**_FIELDS, "secret": _NEW_SECRET},
    additional_properties=False,
)
CHANGE: Final = Schema(
    type=OpenAPIType.OBJECT,
    title="WebhookChange",
    description="What isn't given stays as it is.",
    min_properties=1,
    properties={**_FIELDS, "enabled": Schema(type=OpenAPIType.BOOLEAN)},
    additional_properties=False,
)
REPLAY: Final = Schema(
    type=OpenAPIType.OBJECT,
    title="ReplayRequest",
    properties={
        "event_id": Schema(
            type=[OpenAPIType.STRING, OpenAPIType.NULL],
            description="null or not given: all that are dead.",
            pattern=UUID,
        )
    },
    additional_properties=False,
)

EXAMPLE: Final = {
    "url": "https://example.com/saldo",
    "event_types": ["saldo.transaction.posted"],
    "user_ids": [1, 2],
}


@dataclass
class PostWebhook(Documented):
    """`POST /v1/webhook`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.request_body = json_body(CREATE, EXAMPLE)


@dataclass
class PatchWebhook(Documented):
    """`PATCH /v1/webhook/{webhook_id}`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.request_body = json_body(CHANGE, {"enabled": True})


@dataclass
class PostReplay(Documented):
    """`POST /v1/webhook/{webhook_id}/deliveries/replay`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        example = {"event_id": "ea3015b1-c25c-47e5-beb7-2679ac7c89a7"}
        self.request_body = json_body(REPLAY, example, required=False)
