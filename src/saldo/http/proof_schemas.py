"""The wire schemas of proofs and seals. Numbers are exact: a verifier makes bytes of them (`saldo.client.proof`)."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from msgspec import Meta, Struct

from saldo.http.schemas import OutcomeName

Hash = Annotated[
    str,
    Meta(description="SHA-256, in lower-case hexadecimal.", pattern="^[0-9a-f]{64}$"),
]
ExactInstant = Annotated[
    str,
    Meta(
        description="RFC 3339 in UTC, to the microsecond.",
        examples=["2023-10-30T00:00:00.000000+00:00"],
        pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00$",
    ),
]
MinorUnits = Annotated[int, Meta(description="In minor units of the currency.")]
EntryKind = Literal["OPENING", "DEPOSIT", "WITHDRAW"]


class ProvenEntry(Struct):
    """An entry of the log, with everything that is hashed."""

    shard: Annotated[int, Meta(description="`user_id` modulo 64.")]
    seq: Annotated[int, Meta(description="1, 2, 3 … per shard, without gaps.")]
    user_id: int
    number: Annotated[int, Meta(description="1, 2, 3 … per user; 0: the opening entry.")]
    uuid: UUID
    kind: Annotated[EntryKind, Meta(description="`OPENING`: that the user was created.")]
    outcome: OutcomeName
    amount: Annotated[MinorUnits, Meta(description="Below zero: a withdrawal. Minor units.")]
    balance: MinorUnits
    timestamp: Annotated[
        ExactInstant | None, Meta(description="When it took effect; null: an opening entry.")
    ]
    horizon: Annotated[
        ExactInstant | None,
        Meta(description="The greatest timestamp posted for the user so far; null: none was."),
    ]
    recorded_at: ExactInstant


class Seal(Struct):
    """A hash over consecutive entries of a shard and over the seal before."""

    shard: int
    first_seq: int
    last_seq: int
    previous: Annotated[Hash, Meta(description="`hash` of the seal before; zeros: the first.")]
    root: Annotated[Hash, Meta(description="Of the Merkle tree over the entries (RFC 6962).")]
    hash: Annotated[
        Hash, Meta(description="Over `previous`, `shard`, `first_seq`, `last_seq` and `root`.")
    ]
    sealed_at: Annotated[ExactInstant, Meta(description="By the database's clock; not hashed.")]


class Proof(Struct):
    """That an entry is in the log as it was sealed."""

    version: Literal[1]
    entry: ProvenEntry
    leaf_index: Annotated[int, Meta(description="The entry's place in its seal, from 0.")]
    path: Annotated[
        list[Hash],
        Meta(description="The hashes that lead from the entry to the seal's root, from below."),
    ]
    seal: Seal


class SealList(Struct):
    """Seals. next_after: of a shard's page, what to give as `after` to go on; null: that was all."""

    items: list[Seal]
    next_after: int | None
