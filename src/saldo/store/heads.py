"""The id of the ledger, its newest signed head, and the lease of the process that publishes heads. See
`saldo.ledger.heads`.

The database only reserves the number of a head: a head is stored before it is published, and the next one is signed
only after that. So two processes can't create two heads with one number, and after a crash the stored head is
published again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import UUID

from saldo.store.connections.connection import fetch

if TYPE_CHECKING:
    # The module needs the library for signatures, which takes long to load.
    from saldo.ledger.heads import SignedHead

SEALS_PER_READ: Final = 2000
"""Maximum number of seals that one query looks up."""


class HeadTurn(NamedTuple):
    """A turn to publish: the state of the ledger's heads, for the holder of the lease.

    Attributes:
        ledger_id: The id of the ledger.
        document: The file of the newest head; None if there is none.
        is_published: False if the newest head still has to be published.
        identity: The identity of the log (`saldo.store.log.Log.read_identity`).
    """

    ledger_id: UUID
    document: bytes | None
    is_published: bool
    identity: str


class HeadStatus(NamedTuple):
    """The progress of publishing.

    Attributes:
        published_count: The number of published heads.
        age_seconds: The time since the last publication, or since the migration if there was none.
    """

    published_count: int
    age_seconds: float


class HeadStore:
    """Reads and writes of the newest head over a pool of connections. Each call is one statement."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    async def acquire_turn(
        self, holder: UUID, *, lease: timedelta, interval: timedelta, at_once: bool = False
    ) -> HeadTurn | None:
        """Take the lease for one publication. Return None if nothing is due, or if another process has the lease.

        Args:
            interval: The interval after which a new head is due.
            at_once: Whether a new head is due in any case.

        Raises:
            StoreError: It is unknown whether the lease was taken. It expires in any case.
        """
        rows = await fetch(self._pool, "heads/acquire_lease", holder, lease, interval, at_once)
        return HeadTurn(*rows[0]) if rows else None

    async def reserve(
        self, holder: UUID, turn: HeadTurn, previous: SignedHead | None, head: SignedHead
    ) -> bool:
        """Store a new head before it is published. Return False if it does not follow the newest head, if another
        process has the lease, or if the database has failed over.

        Raises:
            StoreError: It is unknown whether the head was stored.
        """
        return bool(
            await fetch(
                self._pool,
                "heads/reserve",
                head.head.number,
                head.document,
                b"" if previous is None else previous.hash,
                turn.identity,
                holder,
            )
        )

    async def record_publication(self, holder: UUID, head: SignedHead) -> None:
        """Record that a head is published, and release the lease.

        Raises:
            StoreError: It is unknown whether this was recorded. If not, the head is published again.
        """
        await fetch(self._pool, "heads/record_publication", head.head.number, head.document, holder)

    async def release_lease(self, holder: UUID) -> None:
        """Release the lease after a failure.

        Raises:
            StoreError: It is unknown whether the lease was released. It expires in any case.
        """
        await fetch(self._pool, "heads/release_lease", holder)

    async def read_ledger(self) -> tuple[UUID, bytes | None]:
        """Return the id of the ledger, and the file of its newest published head.

        Raises:
            StoreError: The database can't be read.
        """
        ((ledger_id, document),) = await fetch(self._pool, "heads/ledger_id")
        return ledger_id, document

    async def read_status(self) -> HeadStatus:
        """Return the progress of publishing.

        Raises:
            StoreError: The database can't be queried.
        """
        ((published_count, age_seconds),) = await fetch(self._pool, "heads/status")
        return HeadStatus(published_count, age_seconds)


async def find_seals_ending_at(
    pool: Any, ends: Iterable[tuple[int, int]]
) -> dict[tuple[int, int], bytes]:
    """Return the hashes of the seals that end at the given pairs of shard and `seq`, by that pair.

    Raises:
        StoreError: The database can't be read.
    """
    found: dict[tuple[int, int], bytes] = {}
    places: Sequence[tuple[int, int]] = [*ends]
    for begin in range(0, len(places), SEALS_PER_READ):
        columns = zip(*places[begin : begin + SEALS_PER_READ], strict=True)
        rows = await fetch(pool, "audit_scan/seals_ending_at", *map(list, columns))
        found |= {(shard, last_seq): hash_ for shard, last_seq, hash_ in rows}
    return found
