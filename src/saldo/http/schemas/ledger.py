"""The wire schemas of users, balances, transactions, problems and health."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from msgspec import UNSET, Meta, Struct, UnsetType

Money = Annotated[
    str,
    Meta(
        description="Decimal string with as many decimals as the currency has.", examples=["100.00"]
    ),
]
DATE_TIME = {"extra": {"format": "date-time"}}
"""Meta of a time. The framework reads the field `extra`, and only from the outermost `Annotated` of a field."""

Instant = Annotated[
    str,
    Meta(
        description="Time in RFC 3339, with an offset.",
        examples=["2023-10-30T00:00:00+00:00"],
        extra_json_schema=DATE_TIME,
    ),
]


OutcomeName = Literal["posted", "insufficient_funds", "balance_above_maximum"]
TransactionTypeName = Literal["DEPOSIT", "WITHDRAW"]
HealthStatus = Literal["ok", "draining", "unavailable"]


class User(Struct):
    """A user and the current balance."""

    id: int
    name: str
    balance: Money
    created_at: Instant


class UserList(Struct):
    """A page of users, ordered by id."""

    items: list[User]
    next_cursor: str | None


class Balance(Struct):
    """A user's balance, current or at a date, as known now or as known at an earlier time."""

    user_id: int
    balance: Money
    date: Instant | None
    before: Instant | None
    known_at: Instant | None


class Transaction(Struct):
    """A recorded transaction."""

    uuid: UUID
    type: TransactionTypeName
    amount: Money
    user_id: int
    timestamp: Instant
    outcome: Annotated[
        OutcomeName,
        Meta(description="Outcome of the transaction. It is recorded once and never changes."),
    ]
    balance: Annotated[
        str,
        Meta(description="Balance of the user immediately after this transaction was recorded."),
    ]
    number: Annotated[
        int,
        Meta(
            description="Number of the transaction among the user's transactions, including refused ones: 1, 2, 3 … "
            "without gaps."
        ),
    ]
    recorded_at: Instant


class TransactionList(Struct):
    """A page of transactions, newest first.

    A page may be short or even empty although older transactions match. Clients request the next page as long as there
    is a `next_cursor`.
    """

    items: list[Transaction]
    next_cursor: str | None


class TransactionLog(Struct):
    """A page of a shard's log.

    A page may be short or even empty although more entries follow, because the log also contains entries that are not
    transactions, such as the creation of a user. Clients request the next page as long as `more` is true.
    """

    items: list[Transaction]
    reached: Annotated[
        int,
        Meta(
            description="Position to send as `after` to get the next page, or later the new entries."
        ),
    ]
    more: Annotated[bool, Meta(description="Whether more entries are recorded already.")]


class FieldFault(Struct):
    """One invalid field."""

    field: str
    message: str


class RecordedFields(Struct):
    """The recorded values of the fields that differ from the request."""

    user_id: int | UnsetType = UNSET
    type: TransactionTypeName | UnsetType = UNSET
    amount: Money | UnsetType = UNSET
    timestamp: Instant | UnsetType = UNSET


class BulkOutcome(Struct):
    """The outcome of one transaction of a bulk request. `code` is `posted`, or the code of the error."""

    line: Annotated[
        int, Meta(description="Number of the line or of the item in the request, from 1.")
    ]
    status: Annotated[
        int,
        Meta(description="HTTP status that this transaction would get in a request of its own."),
    ]
    code: Annotated[
        str,
        Meta(description="`posted`, or the stable code of the error.", examples=["posted"]),
    ]
    uuid: Annotated[
        UUID | None,
        Meta(description="Uuid of the transaction. It is null if it could not be parsed."),
    ]
    balance: Annotated[
        Money | UnsetType,
        Meta(
            description="Balance after the transaction, or at the time of its refusal. Present if the transaction is "
            "recorded."
        ),
    ] = UNSET
    number: Annotated[
        int | UnsetType,
        Meta(
            description="Number of the transaction among the user's transactions. Present if the transaction is "
            "recorded."
        ),
    ] = UNSET
    replayed: Annotated[
        bool | UnsetType,
        Meta(
            description="Whether an earlier request recorded the transaction. Present if the transaction is recorded."
        ),
    ] = UNSET
    needed: Annotated[
        Money | UnsetType,
        Meta(description="Amount of the transaction. Present if the transaction was refused."),
    ] = UNSET
    differing_fields: Annotated[
        list[str] | UnsetType,
        Meta(
            description="Fields that differ from the recorded transaction. Present with `uuid_conflict`."
        ),
    ] = UNSET
    recorded: Annotated[
        RecordedFields | UnsetType,
        Meta(
            description="Recorded values of the fields that differ. Present with `uuid_conflict`."
        ),
    ] = UNSET
    errors: Annotated[
        list[FieldFault] | UnsetType,
        Meta(description="Invalid fields, at most the first 20."),
    ] = UNSET
    detail: Annotated[
        str | UnsetType,
        Meta(
            description="Explanation for people, in English. Present if the transaction was not posted."
        ),
    ] = UNSET


class Problem(Struct):
    """Problem details (RFC 9457). Clients decide by `code`, which also determines the optional fields."""

    type: Annotated[str, Meta(examples=["urn:saldo:problem:insufficient_funds"])]
    title: str
    status: int
    code: Annotated[
        str, Meta(description="Stable code of the error.", examples=["insufficient_funds"])
    ]
    detail: Annotated[str, Meta(description="Explanation for people, in English.")]
    request_id: Annotated[
        str | UnsetType,
        Meta(
            description="Id of the request, which is also in the header `X-Request-Id`. It is missing in a recorded "
            "refusal, whose body is the same for every retry."
        ),
    ] = UNSET
    instance: Annotated[
        str | UnsetType, Meta(description="Path of the transaction. Present in a recorded refusal.")
    ] = UNSET
    errors: Annotated[
        list[FieldFault] | UnsetType,
        Meta(description="Invalid fields, at most the first 20."),
    ] = UNSET
    balance: Annotated[
        Money | UnsetType,
        Meta(description="Balance at the time of the refusal. Present in a recorded refusal."),
    ] = UNSET
    needed: Annotated[
        Money | UnsetType,
        Meta(description="Amount of the transaction. Present in a recorded refusal."),
    ] = UNSET
    transaction: Annotated[
        Transaction | UnsetType,
        Meta(description="The recorded transaction. Present in a recorded refusal."),
    ] = UNSET
    differing_fields: Annotated[
        list[str] | UnsetType,
        Meta(
            description="Fields that differ from the recorded transaction. Present with `uuid_conflict`."
        ),
    ] = UNSET
    recorded: Annotated[
        RecordedFields | UnsetType,
        Meta(
            description="Recorded values of the fields that differ. Present with `uuid_conflict`."
        ),
    ] = UNSET
    user_id: Annotated[
        int | UnsetType,
        Meta(description="Id of the user who has the name. Present with `name_taken`."),
    ] = UNSET
    item: Annotated[
        int | UnsetType,
        Meta(
            description="Index, from 0, of the first item that can't be posted in an atomic array."
        ),
    ] = UNSET
    uuid: Annotated[UUID | UnsetType, Meta(description="Uuid of the item at the index `item`.")] = (
        UNSET
    )


class Health(Struct):
    """The result of a health check."""

    status: HealthStatus
