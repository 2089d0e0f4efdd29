"""OpenAPI's description of the bodies about webhooks, which are read by `saldo.http.webhook_wire`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from litestar.openapi.spec import Schema
from litestar.openapi.spec.enums import OpenAPIType

from saldo.http.operations import Documented, json_body
from saldo.relay.events import RELAYED_EVENT_TYPES

_UUID: Final = "^([0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|[0-9a-fA-F]{32})$"

_FIELDS: Final = {
    "url": Schema(
        type=OpenAPIType.STRING,
        description="https, or http where nobody listens. Redirects are not followed.",
        pattern=r"^https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[!-\"$-~]*)?$",
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
        items=Schema(
            one_of=[
                Schema(type=OpenAPIType.INTEGER, minimum=1, maximum=2**63 - 1),
                Schema(type=OpenAPIType.STRING, pattern="^[0-9]{1,19}$"),
            ]
        ),
        min_items=1,
    ),
    "secret": Schema(
        type=OpenAPIType.STRING,
        description="24 to 64 bytes in base64. Not given: a new one is made.",
        pattern="^whsec_[A-Za-z0-9+/]{32,86}={0,2}$",
    ),
}

CREATE: Final = Schema(
    type=OpenAPIType.OBJECT, title="WebhookRequest", required=["url"], properties={**_FIELDS}
)
CHANGE: Final = Schema(
    type=OpenAPIType.OBJECT,
    title="WebhookChange",
    description="What isn't given stays as it is.",
    min_properties=1,
    properties={**_FIELDS, "enabled": Schema(type=OpenAPIType.BOOLEAN)},
)
REPLAY: Final = Schema(
    type=OpenAPIType.OBJECT,
    title="ReplayRequest",
    properties={
        "event_id": Schema(
            type=[OpenAPIType.STRING, OpenAPIType.NULL],
            description="null or not given: all that are dead.",
            pattern=_UUID,
        )
    },
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
