"""The parameters of paths and queries, with their descriptions in the OpenAPI document.

The framework passes them on as text. `saldo.parsing.transactions` parses them, because its faults say what is expected
and the framework's would not.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, TypeAlias

from litestar.openapi.spec import Example
from litestar.openapi.spec.enums import OpenAPIType
from litestar.params import PathParameter, QueryParameter

from saldo.http.openapi.patterns import DIGITS, NAME, QUERY_INSTANT, UUID

LIMIT_MAX: Final = 1000
"""Documented maximum number of items per page, which is the default of the setting `page_items_max`."""

_STRING: Final = {"type": OpenAPIType.STRING, "oneOf": None}
"""Schema of a string that is never null, because a parameter of a query is either present or missing."""


def _query(description: str, name: str | None = None, example: str = "", **extra: Any) -> Any:
    examples = [Example(value=example)] if example else None
    return QueryParameter(
        name=name, description=description, examples=examples, schema_extra={**_STRING, **extra}
    )


def _moment(description: str, name: str | None = None) -> Any:
    return _query(description, name, "2023-10-30T00:00:00Z", maxLength=64, pattern=QUERY_INSTANT)


UserId: TypeAlias = Annotated[
    str,
    PathParameter(
        description="The user's id.",
        examples=[Example(value="1")],
        schema_extra={"pattern": DIGITS},
    ),
]
Uuid: TypeAlias = Annotated[
    str,
    PathParameter(
        description="The transaction's uuid.",
        examples=[Example(value="ea3015b1-c25c-47e5-beb7-2679ac7c89a7")],
        schema_extra={"pattern": UUID},
    ),
]
OfUser: TypeAlias = Annotated[
    str | None,
    _query(
        "Only if it is this user's. A distributed ledger then asks one of its machines.",
        "user_id",
        "1",
        pattern=DIGITS,
    ),
]

Name: TypeAlias = Annotated[
    str | None, _query("Only the user of this name.", None, "Artem", maxLength=200, pattern=NAME)
]
Limit: TypeAlias = Annotated[
    str | None,
    _query("Items of a page.", None, "100", type=OpenAPIType.INTEGER, minimum=1, maximum=LIMIT_MAX),
]
Cursor: TypeAlias = Annotated[
    str | None, _query("`next_cursor` of the page before.", pattern="^[A-Za-z0-9_-]+$")
]

Atomic: TypeAlias = Annotated[
    str | None,
    _query("`true`: all of an array, or nothing.", None, "true", pattern="^(true|false)$"),
]

Date: TypeAlias = Annotated[str | None, _moment("The moment, inclusive.")]
Before: TypeAlias = Annotated[str | None, _moment("The moment, exclusive. Instead of `date`.")]
KnownAt: TypeAlias = Annotated[str | None, _moment("As known then: in the past.")]

Since: TypeAlias = Annotated[str | None, _moment("Effective from, inclusive.", "from")]
Until: TypeAlias = Annotated[str | None, _moment("Effective to, exclusive.", "to")]
KindName: TypeAlias = Annotated[
    str | None,
    _query(
        "Only deposits, or only withdrawals.", "type", "DEPOSIT", pattern="^(DEPOSIT|WITHDRAW)$"
    ),
]

Shard: TypeAlias = Annotated[
    str | None,
    _query(
        "The seals of this shard, the oldest first.",
        None,
        "1",
        pattern="^([0-9]|[1-5][0-9]|6[0-3])$",
    ),
]
After: TypeAlias = Annotated[
    str | None,
    _query("Only seals of entries after this `seq`. Needs `shard`.", None, "7", pattern=DIGITS),
]

SealLimit: TypeAlias = Annotated[
    str | None,
    _query(
        "Maximum number of seals per page. Needs `shard`.",
        "limit",
        "100",
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
        description="The shard, from 0 to 63: `user_id` modulo 64.",
        examples=[Example(value="1")],
        schema_extra={**_STRING, "pattern": "^([0-9]|[1-5][0-9]|6[0-3])$"},
    ),
]
LogAfter: TypeAlias = Annotated[
    str | None,
    _query(
        "`reached` of the page before. Not given: from the beginning.", "after", "7", pattern=DIGITS
    ),
]

EventUsers: TypeAlias = Annotated[
    str | None,
    _query(
        "Only events of these users: one, several with commas, or given several times.",
        "user_id",
        "1,2",
        pattern="^[0-9]{1,30}(,[0-9]{1,30})*$",
    ),
]
EventTypes: TypeAlias = Annotated[
    str | None,
    _query(
        "Only events of these types: one, several with commas, or given several times.",
        "type",
        "saldo.transaction.posted",
    ),
]
EventsFrom: TypeAlias = Annotated[
    str | None,
    _query(
        "`now` (the default): only what comes. `start`: everything. A time: what was recorded from then on. "
        "The id of an event: what is after it.",
        "from",
        "now",
    ),
]
LastEventId: TypeAlias = Annotated[
    str | None,
    _query("As the header `Last-Event-ID`, which wins, for who can't set headers. Before `from`."),
]
