"""OpenAPI descriptions of the bodies of transactions and users, which `saldo.parsing.transactions` parses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from litestar.openapi.spec import (
    Example,
    OpenAPIMediaType,
    OpenAPIResponse,
    Operation,
    Parameter,
    RequestBody,
    Schema,
)
from litestar.openapi.spec.enums import OpenAPIType

from saldo.encoding.json import encode_json
from saldo.http.openapi.patterns import AMOUNT, INSTANT, NAME, POSITIVE, UUID
from saldo.ledger.model import USER_ID_MAX
from saldo.ledger.money import TEXT_LENGTH_MAX

_UUID: Final = Schema(
    type=[OpenAPIType.STRING, OpenAPIType.NULL],
    description="Idempotency key of the transaction, chosen by the client. Each uuid is processed exactly once. "
    "`uid` is an alias of `uuid`: send only one of them.",
    pattern=UUID,
)

USER_ID: Final = Schema(
    one_of=[
        Schema(type=OpenAPIType.INTEGER, minimum=1, maximum=USER_ID_MAX),
        Schema(type=OpenAPIType.STRING, pattern=POSITIVE, max_length=30),
    ],
    description="Id of a user.",
)

TRANSACTION: Final = Schema(
    type=OpenAPIType.OBJECT,
    title="TransactionRequest",
    required=["type", "amount", "user_id"],
    properties={
        "uuid": _UUID,
        "uid": _UUID,
        "type": Schema(
            type=OpenAPIType.STRING,
            description="Direction of the transaction.",
            enum=["DEPOSIT", "WITHDRAW"],
        ),
        "amount": Schema(
            # JSON numbers are accepted, too, but not documented: generated clients would use floats for amounts.
            type=OpenAPIType.STRING,
            description="Amount as a decimal string, greater than zero, with at most as many decimals as the currency "
            "has.",
            pattern=AMOUNT,
            max_length=TEXT_LENGTH_MAX,
        ),
        "user_id": USER_ID,
        "timestamp": Schema(
            type=[OpenAPIType.STRING, OpenAPIType.NULL],
            description="Time at which the transaction takes effect, in ISO 8601. A time without an offset is in the "
            "service's time zone. The default is the current time.",
            pattern=INSTANT,
            max_length=64,
        ),
    },
    additional_properties=False,
)

USER: Final = Schema(
    type=OpenAPIType.OBJECT,
    title="UserRequest",
    required=["name"],
    properties={
        "name": Schema(
            type=OpenAPIType.STRING,
            description="Unique name of the user.",
            pattern=NAME,
            max_length=200,
        )
    },
    additional_properties=False,
)


EXAMPLE: Final = {
    "uuid": "ea3015b1-c25c-47e5-beb7-2679ac7c89a7",
    "type": "DEPOSIT",
    "amount": "100.00",
    "user_id": 1,
    "timestamp": "2023-10-30T00:00:00Z",
}


def describe_json_body(schema: Schema, example: Any, *, required: bool = True) -> RequestBody:
    """Return the description of a JSON body."""
    media_type = OpenAPIMediaType(schema=schema, examples={"example": Example(value=example)})
    return RequestBody(content={"application/json": media_type}, required=required)


@dataclass
class DocumentedOperation(Operation):
    """An operation without the framework's response 400, because the service responds with 422 instead."""

    def __post_init__(self) -> None:
        if self.responses is not None:
            self.responses.pop("400", None)


@dataclass
class PostTransactionOperation(DocumentedOperation):
    """`POST /v1/transaction`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.request_body = describe_json_body(TRANSACTION, EXAMPLE)
        header = Parameter(
            name="Idempotency-Key",
            param_in="header",
            description="Uuid of the transaction, if it is not in the body. Double quotes around it are allowed.",
            schema=Schema(type=OpenAPIType.STRING),
        )
        self.parameters = [*(self.parameters or ()), header]


@dataclass
class PostTransactionsOperation(DocumentedOperation):
    """`POST /v1/transactions`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        items = Schema(type=OpenAPIType.ARRAY, items=TRANSACTION, min_items=1)
        self.request_body = describe_json_body(items, [EXAMPLE])
        # OpenAPI 3.1 has no schema for a sequence of JSON documents, so the description contains it in words.
        lines = Schema(
            type=OpenAPIType.STRING,
            description="One TransactionRequest per line. The number of lines is not limited.",
        )
        example = Example(value=encode_json(EXAMPLE).decode() + "\n")
        media_type = OpenAPIMediaType(schema=lines, examples={"example": example})
        self.request_body.content["application/x-ndjson"] = media_type
        if self.responses is not None and isinstance(self.responses["200"], OpenAPIResponse):
            outcomes = Schema(type=OpenAPIType.STRING, description="One BulkOutcome per line.")
            content = self.responses["200"].content or {}
            content["application/x-ndjson"] = OpenAPIMediaType(schema=outcomes)


@dataclass
class PostUserOperation(DocumentedOperation):
    """`POST /v1/user`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.request_body = describe_json_body(USER, {"name": "customer-4711"})


@dataclass
class GetEventsOperation(DocumentedOperation):
    """`GET /v1/events`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        header = Parameter(
            name="Last-Event-ID",
            param_in="header",
            description="The last `id` that the client received. The stream continues after it. Browsers send this "
            "header "
            "automatically.",
            schema=Schema(type=OpenAPIType.STRING, max_length=1000),
        )
        self.parameters = [*(self.parameters or ()), header]
        if self.responses is not None and isinstance(self.responses["200"], OpenAPIResponse):
            stream = Schema(
                type=OpenAPIType.STRING,
                description="Server-sent events. `data` is a CloudEvent, and `event` is its type.",
            )
            self.responses["200"].content = {"text/event-stream": OpenAPIMediaType(schema=stream)}
