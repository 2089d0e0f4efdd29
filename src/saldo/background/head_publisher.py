"""The publisher: signs the ends of all shards, and publishes the signed head outside of the database.

Several processes may run it. The database decides when a publication is due, gives the lease to one of them, and
reserves the number of a head before it is published. A head that was stored and not published, because the process or
the destination failed, is published before the next one is signed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import uuid4

from saldo.background.head_destinations import HeadDestination, PublicationError
from saldo.background.head_signer import HeadRefusedError, HeadSigner
from saldo.background.seal_worker import Sealer
from saldo.ledger.heads import NO_SEAL, SealEnd, SignedHead
from saldo.ledger.model import SHARDS
from saldo.store.errors import StoreError
from saldo.store.heads import HeadStore, HeadTurn, find_seals_ending_at
from saldo.store.seals import SealStore

POLL_SECONDS: Final = 5.0
"""Maximum interval at which a process asks the database whether a publication is due."""

RETRY_SECONDS: Final = 30.0
"""Maximum pause after a failure."""

LEASE_MARGIN: Final = timedelta(seconds=30)
"""Duration of the lease beyond the timeout of a publication."""

STOP_SECONDS_MAX: Final = 4.0
"""Maximum time for the last seals and the last head at the stop of the process."""

_log = logging.getLogger("saldo.relay")


class PublisherLimits(NamedTuple):
    """The interval between two heads, and the timeout of a publication."""

    interval: timedelta
    timeout_seconds: float


class HeadPublisher:
    """A worker that publishes a signed head at each interval."""

    def __init__(
        self,
        pool: Any,
        signer: HeadSigner,
        destination: HeadDestination,
        limits: PublisherLimits,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """
        Args:
            now: The clock of this machine. The clock of the database belongs to its administrators.
        """
        self._pool = pool
        self._heads = HeadStore(pool)
        self._seals = SealStore(pool)
        self._signer = signer
        self._destination = destination
        self._limits = limits
        self._now = now
        self._holder = uuid4()

    async def run(self) -> None:
        """Publish heads until cancelled."""
        interval_seconds = self._limits.interval.total_seconds()
        while True:
            pause_seconds = min(POLL_SECONDS, interval_seconds)
            try:
                await self.publish_if_due()
            except (StoreError, PublicationError, HeadRefusedError) as error:
                _log.error("can't publish a signed head: %s", error)
                pause_seconds = min(RETRY_SECONDS, interval_seconds)
            except Exception:
                _log.exception("publishing a signed head failed unexpectedly")
                pause_seconds = min(RETRY_SECONDS, interval_seconds)
            await asyncio.sleep(pause_seconds)

    async def publish_last(self, sealer: Sealer) -> None:
        """Seal the remaining entries, and publish a head that covers them, at the stop of the process. If this takes
        too long or fails, another process or the next start publishes them."""
        try:
            async with asyncio.timeout(STOP_SECONDS_MAX):
                # Other hosts may go on posting, so sealing gets a part of the time only.
                sealing_until = time.monotonic() + STOP_SECONDS_MAX / 2
                while await sealer.run_pass() and time.monotonic() < sealing_until:
                    pass
                head = await self.publish_if_due(at_once=True)
                if head is not None and not head.is_new:
                    await self.publish_if_due(at_once=True)
        except (StoreError, PublicationError, HeadRefusedError, TimeoutError) as error:
            _log.warning("can't publish a last signed head: %s", error or "timeout")
        except Exception:
            _log.exception("publishing a last signed head failed unexpectedly")

    async def publish_if_due(self, *, at_once: bool = False) -> PublishedHead | None:
        """Publish the head that waits for its publication, or else a new one. Return None if nothing is due, or if
        another process publishes.

        Args:
            at_once: Whether a head is due in any case.

        Raises:
            HeadRefusedError: The database contradicts the heads before.
            PublicationError: The head could not be published.
            StoreError: The database can't be used.
        """
        lease = timedelta(seconds=self._limits.timeout_seconds) + LEASE_MARGIN
        turn = await self._heads.acquire_turn(
            self._holder, lease=lease, interval=self._limits.interval, at_once=at_once
        )
        if turn is None:
            return None
        try:
            newest = self._signer.read_newest(turn)
            is_new = newest is None or turn.is_published
            head = await self._sign_next(turn, newest) if newest is None or is_new else newest
            await self._destination.publish(head.file_name, head.document)
            await self._heads.record_publication(self._holder, head)
        except BaseException:
            with contextlib.suppress(StoreError):
                await self._heads.release_lease(self._holder)
            raise
        self._signer.remember(head)
        return PublishedHead(head, is_new)

    async def _sign_next(self, turn: HeadTurn, previous: SignedHead | None) -> SignedHead:
        """Sign the head after the newest one, and store it."""
        if previous is not None:
            await self._check_published_seals(previous)
        ends = [NO_SEAL] * SHARDS
        for seal in await self._seals.list_last_seals():
            ends[seal.shard] = SealEnd(seal.last_seq, seal.hash)
        head = self._signer.sign(turn, previous, ends, self._now())
        if not await self._heads.reserve(self._holder, turn, previous, head):
            raise HeadRefusedError("the database has failed over, or another process publishes")
        self._signer.remember(head)
        return head

    async def _check_published_seals(self, previous: SignedHead) -> None:
        """Check that the database still has the seals of the head before.

        Raises:
            HeadRefusedError: A seal is missing or differs.
        """
        ends = {
            (shard, end.seq): end.hash
            for shard, end in enumerate(previous.head.seals)
            if end != NO_SEAL
        }
        found = await find_seals_ending_at(self._pool, ends)
        for (shard, seq), hash_ in ends.items():
            if found.get((shard, seq)) != hash_:
                raise HeadRefusedError(
                    f"the seal of shard {shard} that ends at {seq} is not the one of head {previous.head.number}: "
                    "entries were changed or cut off after they were published"
                )


class PublishedHead(NamedTuple):
    """A head that was published.

    Attributes:
        is_new: Whether the head was signed for this publication. Otherwise an earlier publication had failed.
    """

    signed: SignedHead
    is_new: bool
