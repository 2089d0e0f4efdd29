"""The wire schemas of keys: what requests and answers look like."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from saldo.access.grant import Scope
from saldo.http.schemas import Instant


class Key(Struct):
    """A key, without what opens the door: that is shown once, in the answer to its creation."""

    id: int
    name: str
    scopes: list[Scope]
    user_ids: Annotated[list[int] | None, Meta(description="null: all.")]
    networks: Annotated[list[str] | None, Meta(description="null: from anywhere.")]
    valid: Annotated[bool, Meta(description="Neither revoked nor expired.")]
    created_at: Instant
    expires_at: Instant | None
    revoked_at: Instant | None
    replaced_by: Annotated[int | None, Meta(description="The key that took its place.")]
    key: Annotated[
        str | UnsetType,
        Meta(description="What its holder sends. Only in the answer that makes it."),
    ] = UNSET


class KeyList(Struct):
    """A page of keys by id."""

    items: list[Key]
    next_cursor: str | None
