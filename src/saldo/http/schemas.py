"""The wire schemas of the OpenAPI document: what requests and answers look like."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from msgspec import UNSET, Meta, Struct, UnsetType

Money = Annotated[
    str, Meta(description="Decimal string with the currency's decimals.", examples=["100.00"])
]
Instant = Annotated[
    str, Meta(description="RFC 3339 with offset.", examples=["2023-10-30T00:00:00+00:00"])
]


OutcomeName = Literal["posted", "insufficient_funds", "balance_above_maximum"]


class User(Struct):
    """A user and the balance of now."""

    id: int
    name: str
    balance: Money
    created_at: Instant


class UserList(Struct):
    """A page of users by id."""

    items: list[User]
    next_cursor: str | None


class Balance(Struct):
    """A balance: now, or at a moment, as known now or at a moment."""

    user_id: int
    balance: Money
    date: Instant | None
    before: Instant | None
    known_at: Instant | None


class Transaction(Struct):
    """A transaction as it is recorded."""

    uuid: UUID
    type: Literal["DEPOSIT", "WITHDRAW"]
    amount: Money
    user_id: int
    timestamp: Instant
    outcome: Annotated[
        OutcomeName,
        Meta(description="Recorded once and final."),
    ]
    balance: Annotated[
        str, Meta(description="The balance right after this transaction was recorded.")
    ]
    number: Annotated[int, Meta(description="1, 2, 3 … per user, without gaps, refusals counted.")]
    recorded_at: Instant


class TransactionList(Struct):
    """A page of transactions, newest first. It may come short: go on while there is a cursor."""

    items: list[Transaction]
    next_cursor: str | None


class TransactionLog(Struct):
    """A page of a shard's log. It may come short, or empty: go on while there is more."""

    items: list[Transaction]
    reached: Annotated[
        int, Meta(description="What to give as `after` to go on, now or when more is recorded.")
    ]
    more: Annotated[bool, Meta(description="Whether there is more now.")]


class BulkOutcome(Struct):
    """A posted transaction of many: a line of the answer, in the order of the input."""

    line: Annotated[int, Meta(description="Number of the input's line or item, from 1.")]
    status: Annotated[
        Literal[200], Meta(description="What a POST of it alone would have answered.")
    ]
    code: Literal["posted"]
    uuid: UUID
    balance: Money
    number: Annotated[int, Meta(description="1, 2, 3 … per user, without gaps, refusals counted.")]
    replayed: Annotated[bool, Meta(description="Whether it was recorded by an earlier request.")]


class FieldError(Struct):
    """One bad field."""

    field: str
    message: str


class Recorded(Struct):
    """What is recorded under a uuid, as far as it differs."""

    user_id: int | UnsetType = UNSET
    type: Literal["DEPOSIT", "WITHDRAW"] | UnsetType = UNSET
    amount: Money | UnsetType = UNSET
    timestamp: Instant | UnsetType = UNSET


class BulkProblem(Struct):
    """Why one transaction of many was not posted: a line of the answer."""

    line: Annotated[int, Meta(description="Number of the input's line or item, from 1.")]
    status: int
    code: Annotated[str, Meta(description="Stable.", examples=["insufficient_funds"])]
    uuid: UUID | None
    detail: str
    balance: Money | UnsetType = UNSET
    needed: Money | UnsetType = UNSET
    number: int | UnsetType = UNSET
    replayed: bool | UnsetType = UNSET
    differing_fields: list[str] | UnsetType = UNSET
    recorded: Recorded | UnsetType = UNSET
    errors: list[FieldError] | UnsetType = UNSET


class Problem(Struct):
    """RFC 9457 problem details. Decide by `code`; which members there are beside it depends on it."""

    type: Annotated[str, Meta(examples=["urn:saldo:problem:insufficient_funds"])]
    title: str
    status: int
    code: Annotated[str, Meta(description="Stable.", examples=["insufficient_funds"])]
    detail: Annotated[str, Meta(description="For people.")]
    request_id: Annotated[
        str | UnsetType,
        Meta(description="Not of a recorded refusal, whose body is the same for every retry."),
    ] = UNSET
    instance: Annotated[
        str | UnsetType, Meta(description="The transaction: of a recorded refusal.")
    ] = UNSET
    errors: Annotated[
        list[FieldError] | UnsetType, Meta(description="Every field that is at fault.")
    ] = UNSET
    balance: Annotated[
        Money | UnsetType, Meta(description="The balance then: of a recorded refusal.")
    ] = UNSET
    needed: Annotated[Money | UnsetType, Meta(description="The amount: of a recorded refusal.")] = (
        UNSET
    )
    transaction: Annotated[
        Transaction | UnsetType, Meta(description="As it is recorded: of a recorded refusal.")
    ] = UNSET
    differing_fields: Annotated[
        list[str] | UnsetType,
        Meta(description="What differs from the recorded: of `uuid_conflict`."),
    ] = UNSET
    recorded: Annotated[
        Recorded | UnsetType,
        Meta(description="The recorded values of those: of `uuid_conflict`."),
    ] = UNSET
    user_id: Annotated[
        int | UnsetType, Meta(description="The user who has the name: of `name_taken`.")
    ] = UNSET
    item: Annotated[
        int | UnsetType, Meta(description="Which of an atomic array can't be posted, from 0.")
    ] = UNSET
    uuid: Annotated[str | UnsetType, Meta(description="Of that item.")] = UNSET


class Health(Struct):
    """Whether it lives, or is ready."""

    status: Literal["ok", "draining", "unavailable"]
