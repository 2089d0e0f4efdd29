"""OpenAPI descriptions of the bodies of requests for webhooks, which `saldo.parsing.webhooks` parses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from litestar.openapi.spec import Schema
from litestar.openapi.spec.enums import OpenAPIFormat, OpenAPIType

from saldo.events.event import RELAYED_EVENT_TYPES
from saldo.http.openapi.bodies import USER_ID, DocumentedOperation, describe_json_body
from saldo.http.openapi.patterns import KEY, URL

_FIELDS: Final = {
    "url": Schema(
        type=OpenAPIType.STRING,
        description="URL to which the events are sent. It must use https, unless the operator allows http. Redirects "
        "are not "
        "followed.",
        pattern=URL,
        max_length=2000,
    ),
    "event_types": Schema(
        type=[OpenAPIType.ARRAY, OpenAPIType.NULL],
        description="Types of the events to send. If null or missing, all types except saldo.webhook.disabled are "
        "sent.",
        items=Schema(type=OpenAPIType.STRING, enum=list(RELAYED_EVENT_TYPES)),
        min_items=1,
        max_items=len(RELAYED_EVENT_TYPES),
    ),
    "user_ids": Schema(
        type=[OpenAPIType.ARRAY, OpenAPIType.NULL],
        description="Users whose events are sent. If null or missing, the events of all users are sent.",
        items=USER_ID,
        min_items=1,
        max_items=1000,
    ),
    "secret": Schema(
        type=OpenAPIType.STRING,
        description="Secret that signs the deliveries: whsec_ followed by 24 to 64 bytes in base64.",
        pattern=KEY,
    ),
}
_NEW_SECRET: Final = Schema(
    type=[OpenAPIType.STRING, OpenAPIType.NULL],
    description="Secret that signs the deliveries: whsec_ followed by 24 to 64 bytes in base64. If null or missing, a "
    "secret is generated.",
    pattern=KEY,
)

CREATE: Final = Schema(
    type=OpenAPIType.OBJECT,
    title="WebhookRequest",
    description="A webhook to create.",
    required=["url"],
    properties={**_FIELDS, "secret": _NEW_SECRET},
    additional_properties=False,
)
CHANGE: Final = Schema(
    type=OpenAPIType.OBJECT,
    title="WebhookChange",
    description="Changes of a webhook. Missing fields are not changed.",
    min_properties=1,
    properties={
        **_FIELDS,
        "enabled": Schema(
            type=OpenAPIType.BOOLEAN, description="Whether events are sent to the webhook."
        ),
    },
    additional_properties=False,
)
REPLAY: Final = Schema(
    type=OpenAPIType.OBJECT,
    title="ReplayRequest",
    description="The choice of the dead deliveries to retry.",
    properties={
        "event_id": Schema(
            type=[OpenAPIType.STRING, OpenAPIType.NULL],
            format=OpenAPIFormat.UUID,
            description="Id of the event to deliver. If null or missing, all dead deliveries are retried.",
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
class PostWebhookOperation(DocumentedOperation):
    """`POST /v1/webhook`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.request_body = describe_json_body(CREATE, EXAMPLE)


@dataclass
class PatchWebhookOperation(DocumentedOperation):
    """`PATCH /v1/webhook/{webhook_id}`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.request_body = describe_json_body(CHANGE, {"enabled": True})


@dataclass
class PostReplayOperation(DocumentedOperation):
    """`POST /v1/webhook/{webhook_id}/deliveries/replay`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        example = {"event_id": "ea3015b1-c25c-47e5-beb7-2679ac7c89a7"}
        self.request_body = describe_json_body(REPLAY, example, required=False)
