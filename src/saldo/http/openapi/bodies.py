"""OpenAPI descriptions of the bodies of transactions and users, which `saldo.parsing.transactions` parses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, get_args

from litestar.openapi.spec import (
    Example,
    OpenAPIMediaType,
    OpenAPIResponse,
    Operation,
    Parameter,
    Reference,
    RequestBody,
    Schema,
)
from litestar.openapi.spec.enums import OpenAPIFormat, OpenAPIType

from saldo.encoding.json import encode_json
from saldo.http.openapi.errors import HEADERS
from saldo.http.openapi.patterns import AMOUNT, NAME
from saldo.http.schemas.ledger import TransactionTypeName
from saldo.ledger.model import USER_ID_MAX
from saldo.ledger.money import TEXT_LENGTH_MAX

USER_ID: Final = Schema(
    type=OpenAPIType.INTEGER, minimum=1, maximum=USER_ID_MAX, description="Id of a user."
)
"""Schema of a user's id. Ids as text are accepted, too, but not documented: unions make client code clumsy."""

TRANSACTION: Final = Schema(
    type=OpenAPIType.OBJECT,
    title="TransactionRequest",
    description="A deposit or a withdrawal to post.",
    required=["uuid", "type", "amount", "user_id"],
    properties={
        # `uid` is accepted in its place, and so is the header `Idempotency-Key`. Both are left out here, because a
        # client that can omit the uuid can't retry.
        "uuid": Schema(
            type=OpenAPIType.STRING,
            format=OpenAPIFormat.UUID,
            description="Idempotency key of the transaction, chosen by the client. Each uuid is processed exactly "
            "once.",
        ),
        "type": Schema(
            type=OpenAPIType.STRING,
            description="Direction of the transaction.",
            enum=list(get_args(TransactionTypeName)),
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
            format=OpenAPIFormat.DATE_TIME,
            description="Time at which the transaction takes effect. Other forms of ISO 8601 are accepted, too; a time "
            "without an offset is in the service's time zone. The default is the current time.",
        ),
    },
    additional_properties=False,
)

USER: Final = Schema(
    type=OpenAPIType.OBJECT,
    title="UserRequest",
    description="A user to create.",
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
            description="Uuid of the transaction, for clients that can't send it in the body. Double quotes around it "
            "are allowed.",
            schema=Schema(type=OpenAPIType.STRING),
        )
        self.parameters = [*(self.parameters or ()), header]
        if self.responses is not None and isinstance(self.responses["200"], OpenAPIResponse):
            name = "Idempotent-Replayed"
            self.responses["200"].headers = {
                name: Reference(f"#/components/headers/{HEADERS[name]}")
            }


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
                description="Server-sent events without an end. `data` is a CloudEvent, and `event` is its type. "
                "Generated clients wait for the end of a response, so read the stream with `fetch`, with a library for "
                "server-sent events, or with Saldo's Python client.",
            )
            self.responses["200"].content = {"text/event-stream": OpenAPIMediaType(schema=stream)}
