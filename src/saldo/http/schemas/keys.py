"""The wire schemas of API keys."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from saldo.auth.grants import Scope
from saldo.http.schemas.ledger import Instant


class Key(Struct):
    """An API key. The field `key`, which is the secret, is only in the response that creates the key."""

    id: int
    name: str
    scopes: list[Scope]
    user_ids: Annotated[
        list[int] | None,
        Meta(description="Users that the key may access. Null means all users."),
    ]
    networks: Annotated[
        list[str] | None,
        Meta(description="Networks from which the key may be used. Null means all networks."),
    ]
    valid: Annotated[
        bool, Meta(description="Whether the key can be used: it is neither revoked nor expired.")
    ]
    created_at: Instant
    expires_at: Instant | None
    revoked_at: Instant | None
    replaced_by: Annotated[int | None, Meta(description="Id of the key that replaced this one.")]
    key: Annotated[
        str | UnsetType,
        Meta(
            description="The key itself. It is only in the response to the request that creates or rotates a key."
        ),
    ] = UNSET


class KeyList(Struct):
    """A page of keys, ordered by id."""

    items: list[Key]
    next_cursor: str | None
