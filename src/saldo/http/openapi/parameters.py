"""The parameters of paths and queries, with their descriptions in the OpenAPI document.

The framework passes the values on as text, and `saldo.parsing.transactions` parses them. Its error messages name the
expected value, and the framework's messages do not.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, TypeAlias, get_args

from litestar.openapi.spec import Example
from litestar.openapi.spec.enums import OpenAPIFormat, OpenAPIType
from litestar.params import PathParameter, QueryParameter

from saldo.http.openapi.patterns import NAME
from saldo.http.schemas.ledger import TransactionTypeName
from saldo.ledger.model import SEQ_MAX, SHARDS, USER_ID_MAX

LIMIT_MAX: Final = 1000
"""Documented maximum number of items per page, which is the default of the setting `page_items_max`."""

_STRING: Final = {"type": OpenAPIType.STRING, "oneOf": None}
"""Schema of a string that is never null, because a query parameter is either present or missing."""

_ID: Final = {"type": OpenAPIType.INTEGER, "minimum": 1, "maximum": USER_ID_MAX}
_SHARD: Final = {"type": OpenAPIType.INTEGER, "minimum": 0, "maximum": SHARDS - 1}
_SEQ: Final = {"type": OpenAPIType.INTEGER, "minimum": 0, "maximum": SEQ_MAX}


def describe_query(
    description: str, name: str | None = None, example: object = None, **extra: Any
) -> Any:
    """Return the description of a query parameter. It is a string, unless `extra` contains another type."""
    examples = None if example is None else [Example(value=example)]
    return QueryParameter(
        name=name, description=description, examples=examples, schema_extra={**_STRING, **extra}
    )


def describe_path_id(description: str) -> Any:
    """Return the description of an id in a path."""
    return PathParameter(description=description, examples=[Example(value=1)], schema_extra={**_ID})


def _describe_instant(description: str, name: str | None = None) -> Any:
    return describe_query(
        f"{description} A date, such as 2023-10-30, is accepted, too.",
        name,
        "2023-10-30T00:00:00Z",
        format=OpenAPIFormat.DATE_TIME,
    )


UserId: TypeAlias = Annotated[str, describe_path_id("Id of the user.")]
Uuid: TypeAlias = Annotated[
    str,
    PathParameter(
        description="Uuid of the transaction.",
        examples=[Example(value="ea3015b1-c25c-47e5-beb7-2679ac7c89a7")],
        schema_extra={"format": OpenAPIFormat.UUID},
    ),
]
OfUser: TypeAlias = Annotated[
    str | None,
    describe_query(
        "Id of the user to whom the transaction must belong. A distributed ledger then queries one of its workers "
        "instead of all.",
        "user_id",
        1,
        **_ID,
    ),
]

Name: TypeAlias = Annotated[
    str | None,
    describe_query(
        "Returns only the user with this name.", None, "customer-4711", maxLength=200, pattern=NAME
    ),
]
Limit: TypeAlias = Annotated[
    str | None,
    describe_query(
        "Maximum number of items per page. The default is `SALDO_PAGE_ITEMS_DEFAULT`.",
        None,
        100,
        type=OpenAPIType.INTEGER,
        minimum=1,
        maximum=LIMIT_MAX,
    ),
]
Cursor: TypeAlias = Annotated[
    str | None,
    describe_query("Value of `next_cursor` on the previous page.", pattern="^[A-Za-z0-9_-]+$"),
]

Atomic: TypeAlias = Annotated[
    str | None,
    describe_query(
        "If `true`, either all transactions of the array are posted or none. It is allowed for JSON arrays only.",
        None,
        True,
        type=OpenAPIType.BOOLEAN,
    ),
]

Date: TypeAlias = Annotated[str | None, _describe_instant("Time of the balance, inclusive.")]
Before: TypeAlias = Annotated[
    str | None,
    _describe_instant("Time of the balance, exclusive. It can't be combined with `date`."),
]
KnownAt: TypeAlias = Annotated[
    str | None,
    _describe_instant("A time in the past. Everything that was recorded later is left out."),
]

Since: TypeAlias = Annotated[
    str | None,
    _describe_instant("Returns only transactions that take effect at or after this time.", "from"),
]
Until: TypeAlias = Annotated[
    str | None,
    _describe_instant("Returns only transactions that take effect before this time.", "to"),
]
KindName: TypeAlias = Annotated[
    str | None,
    describe_query(
        "Returns only deposits or only withdrawals.",
        "type",
        "DEPOSIT",
        enum=list(get_args(TransactionTypeName)),
    ),
]

Shard: TypeAlias = Annotated[
    str | None,
    describe_query(
        "Returns the seals of this shard, oldest first. By default, the newest seal of each shard is returned.",
        None,
        1,
        **_SHARD,
    ),
]
After: TypeAlias = Annotated[
    str | None,
    describe_query(
        "Returns only seals of entries after this `seq`. It requires `shard`.",
        None,
        7,
        **_SEQ,
    ),
]

SealLimit: TypeAlias = Annotated[
    str | None,
    describe_query(
        "Maximum number of seals per page. It requires `shard`.",
        "limit",
        100,
        type=OpenAPIType.INTEGER,
        minimum=1,
        maximum=LIMIT_MAX,
    ),
]

LogShard: TypeAlias = Annotated[
    str | None,
    QueryParameter(
        name="shard",
        required=True,
        description="Shard of the log, from 0 to 63. The shard of a user is `user_id` modulo 64.",
        examples=[Example(value=1)],
        schema_extra={**_STRING, **_SHARD},
    ),
]
LogAfter: TypeAlias = Annotated[
    str | None,
    describe_query(
        "Value of `reached` on the previous page. The default is the beginning of the log.",
        "after",
        7,
        **_SEQ,
    ),
]

EventUsers: TypeAlias = Annotated[
    str | None,
    describe_query(
        "Streams only events of these users. Separate several ids with commas, or repeat the parameter.",
        "user_id",
        "1,2",
        pattern="^[0-9]{1,30}(,[0-9]{1,30})*$",
    ),
]
EventTypes: TypeAlias = Annotated[
    str | None,
    describe_query(
        "Streams only events of these types. Separate several types with commas, or repeat the parameter.",
        "type",
        "saldo.transaction.posted",
    ),
]
EventsFrom: TypeAlias = Annotated[
    str | None,
    describe_query(
        "Start of the stream: `now` (the default) for new events only, `start` for all events, a time for events "
        "recorded at or after it, or the id of an event for the events after it.",
        "from",
        "now",
    ),
]
LastEventId: TypeAlias = Annotated[
    str | None,
    describe_query(
        "Alternative to the header `Last-Event-ID`, for clients that can't set headers. The header takes "
        "precedence over this parameter, and this parameter over `from`."
    ),
]
