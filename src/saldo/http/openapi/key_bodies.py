"""OpenAPI descriptions of the bodies of requests for keys, which `saldo.parsing.keys` parses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from litestar.openapi.spec import Schema
from litestar.openapi.spec.enums import OpenAPIFormat, OpenAPIType

from saldo.auth.grants import SCOPES
from saldo.http.openapi.bodies import USER_ID, DocumentedOperation, describe_json_body
from saldo.http.openapi.patterns import NAME
from saldo.parsing.keys import NAME_LENGTH_MAX, NETWORKS_MAX, OVERLAP_SECONDS_MAX, USERS_MAX

CREATE: Final = Schema(
    type=OpenAPIType.OBJECT,
    title="KeyRequest",
    description="An API key to create.",
    required=["name", "scopes"],
    properties={
        "name": Schema(
            type=OpenAPIType.STRING,
            description="Name of the key's owner, for your information.",
            pattern=NAME,
            max_length=NAME_LENGTH_MAX,
        ),
        "scopes": Schema(
            type=OpenAPIType.ARRAY,
            description="Permissions of the key. The scope admin includes all others.",
            items=Schema(type=OpenAPIType.STRING, enum=[str(scope) for scope in SCOPES]),
            min_items=1,
            max_items=len(SCOPES),
        ),
        "user_ids": Schema(
            type=[OpenAPIType.ARRAY, OpenAPIType.NULL],
            description="Users that the key may access. Only keys with the scopes read and write can be limited to "
            "users. "
            "If null or missing, the key may access all users.",
            items=USER_ID,
            min_items=1,
            max_items=USERS_MAX,
        ),
        "networks": Schema(
            type=[OpenAPIType.ARRAY, OpenAPIType.NULL],
            description="Networks from which the key may be used, in CIDR notation. If null or missing, the key may be "
            "used from "
            "any address.",
            items=Schema(type=OpenAPIType.STRING, min_length=1),
            min_items=1,
            max_items=NETWORKS_MAX,
        ),
        "expires_at": Schema(
            type=[OpenAPIType.STRING, OpenAPIType.NULL],
            format=OpenAPIFormat.DATE_TIME,
            description="Time at which the key expires. If null or missing, the key does not expire.",
        ),
    },
    additional_properties=False,
)
ROTATE: Final = Schema(
    type=OpenAPIType.OBJECT,
    title="RotationRequest",
    description="The rotation of an API key.",
    properties={
        "overlap_seconds": Schema(
            type=[OpenAPIType.INTEGER, OpenAPIType.NULL],
            description="Seconds for which the old key remains valid. The default is `SALDO_KEY_OVERLAP_SECONDS`.",
            minimum=0,
            maximum=OVERLAP_SECONDS_MAX,
        )
    },
    additional_properties=False,
)

EXAMPLE: Final = {"name": "billing", "scopes": ["read", "write"], "networks": ["192.0.2.0/24"]}


@dataclass
class PostKeyOperation(DocumentedOperation):
    """`POST /v1/key`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.request_body = describe_json_body(CREATE, EXAMPLE)


@dataclass
class PostRotationOperation(DocumentedOperation):
    """`POST /v1/key/{key_id}/rotate`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.request_body = describe_json_body(ROTATE, {"overlap_seconds": 3600}, required=False)
