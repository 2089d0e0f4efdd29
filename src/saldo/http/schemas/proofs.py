"""The wire schemas of proofs and seals. Values are exact, because verifiers hash them (`saldo.client.proof`)."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from msgspec import Meta, Struct

from saldo.http.schemas.ledger import OutcomeName

Hash = Annotated[
    str,
    Meta(description="SHA-256 hash in lower-case hexadecimal.", pattern="^[0-9a-f]{64}$"),
]
# This has no format `date-time`, because a generated client would parse it, and write another text than the hashed one.
ExactInstant = Annotated[
    str,
    Meta(
        description="Time in RFC 3339, in UTC and with microseconds.",
        examples=["2023-10-30T00:00:00.000000+00:00"],
        pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00$",
    ),
]
MinorUnits = Annotated[int, Meta(description="Amount in minor units of the currency.")]
EntryKind = Literal["OPENING", "DEPOSIT", "WITHDRAW"]


class ProvenEntry(Struct):
    """An entry of the log, with all fields that are part of its hash."""

    shard: Annotated[int, Meta(description="Shard of the entry, which is `user_id` modulo 64.")]
    seq: Annotated[int, Meta(description="Sequence number in the shard: 1, 2, 3 … without gaps.")]
    user_id: int
    number: Annotated[
        int,
        Meta(
            description="Number of the entry among the user's entries, from 0 for the opening entry."
        ),
    ]
    uuid: UUID
    kind: Annotated[
        EntryKind, Meta(description="Kind of the entry. `OPENING` is the creation of the user.")
    ]
    outcome: OutcomeName
    amount: Annotated[
        MinorUnits,
        Meta(description="Amount in minor units of the currency, negative for a withdrawal."),
    ]
    balance: MinorUnits
    timestamp: Annotated[
        ExactInstant | None,
        Meta(
            description="Time at which the transaction took effect. It is null for an opening entry."
        ),
    ]
    horizon: Annotated[
        ExactInstant | None,
        Meta(
            description="Greatest timestamp of the user's posted transactions so far. It is null before the first "
            "one."
        ),
    ]
    recorded_at: ExactInstant


class Seal(Struct):
    """A hash over consecutive entries of a shard and the previous seal."""

    shard: int
    first_seq: int
    last_seq: int
    previous: Annotated[
        Hash,
        Meta(description="`hash` of the previous seal. It consists of zeros in the first seal."),
    ]
    root: Annotated[Hash, Meta(description="Root of the Merkle tree over the entries (RFC 6962).")]
    hash: Annotated[
        Hash, Meta(description="Hash over `previous`, `shard`, `first_seq`, `last_seq` and `root`.")
    ]
    sealed_at: Annotated[
        ExactInstant,
        Meta(
            description="Time at which the seal was created, by the database's clock. It is not part of the hash."
        ),
    ]


class Proof(Struct):
    """A proof that an entry is part of the sealed log."""

    version: Literal[1]
    entry: ProvenEntry
    leaf_index: Annotated[
        int, Meta(description="Index of the entry among the entries of its seal, from 0.")
    ]
    path: Annotated[
        list[Hash],
        Meta(
            description="Sibling hashes on the path from the entry to the root of the Merkle tree, from the bottom up."
        ),
    ]
    seal: Seal


class SealList(Struct):
    """A list of seals.

    Attributes:
        next_after: Value of `after` for the next page of a shard's seals. It is null on the last page.
    """

    items: list[Seal]
    next_after: int | None
