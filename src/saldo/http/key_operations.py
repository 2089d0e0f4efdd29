"""OpenAPI's description of the bodies about keys, which are read by `saldo.http.key_wire`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from litestar.openapi.spec import Schema
from litestar.openapi.spec.enums import OpenAPIType

from saldo.access.grant import SCOPES
from saldo.http.key_wire import NAME_LENGTH_MAX, NETWORKS_MAX, OVERLAP_SECONDS_MAX, USERS_MAX
from saldo.http.operations import USER_ID, Documented, json_body
from saldo.http.patterns import INSTANT, NAME

CREATE: Final = Schema(
    type=OpenAPIType.OBJECT,
    title="KeyRequest",
    required=["name", "scopes"],
    properties={
        "name": Schema(
            type=OpenAPIType.STRING,
            description="For people: whose it is.",
            pattern=NAME,
            max_length=NAME_LENGTH_MAX,
        ),
        "scopes": Schema(
            type=OpenAPIType.ARRAY,
            description="admin stands for all of them.",
            items=Schema(type=OpenAPIType.STRING, enum=[str(scope) for scope in SCOPES]),
            min_items=1,
            max_items=len(SCOPES),
        ),
        "user_ids": Schema(
            type=[OpenAPIType.ARRAY, OpenAPIType.NULL],
            description="The only users it is about, with the scopes read and write only. null or not given: all.",
            items=USER_ID,
            min_items=1,
            max_items=USERS_MAX,
        ),
        "networks": Schema(
            type=[OpenAPIType.ARRAY, OpenAPIType.NULL],
            description="The only networks it may be used from. null or not given: anywhere.",
            items=Schema(type=OpenAPIType.STRING, min_length=1),
            min_items=1,
            max_items=NETWORKS_MAX,
        ),
        "expires_at": Schema(
            type=[OpenAPIType.STRING, OpenAPIType.NULL],
            description="ISO 8601. null or not given: never.",
            pattern=INSTANT,
            max_length=64,
        ),
    },
    additional_properties=False,
)
ROTATE: Final = Schema(
    type=OpenAPIType.OBJECT,
    title="RotationRequest",
    properties={
        "overlap_seconds": Schema(
            description="How long the old key stays valid. null or not given: SALDO_KEY_OVERLAP_SECONDS.",
            one_of=[
                Schema(type=OpenAPIType.INTEGER, minimum=0, maximum=OVERLAP_SECONDS_MAX),
                Schema(type=OpenAPIType.NULL),
            ],
        )
    },
    additional_properties=False,
)

EXAMPLE: Final = {"name": "billing", "scopes": ["read", "write"], "networks": ["192.0.2.0/24"]}


@dataclass
class PostKey(Documented):
    """`POST /v1/key`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.request_body = json_body(CREATE, EXAMPLE)


@dataclass
class PostRotation(Documented):
    """`POST /v1/key/{key_id}/rotate`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.request_body = json_body(ROTATE, {"overlap_seconds": 3600}, required=False)
