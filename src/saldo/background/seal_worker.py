"""The sealer: appends seals for new entries in the background, usually within a second after they were recorded.

On a machine without a free processor it slows down under heavy load, unless the entries have waited for too long.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from saldo.background.throttle import CpuThrottle, PostingActivity
from saldo.ledger.seals import SEAL_ENTRIES_MAX, leaf_hash, merkle_root, seal_hash
from saldo.store.errors import StoreError
from saldo.store.seals import ENTRIES_MAX, LastSeal, NewSeal, SealStore

SEAL_SECONDS: Final = 0.8
"""Maximum pause between two passes. An entry waits for the next pass, and then until its seal is written."""

RETRY_SECONDS: Final = 5.0
"""Pause after a failed pass."""

STEP_BACK: Final = 2.0
"""Maximum pause after a pass that reached the limit of entries, as a multiple of its duration. On a machine without a
free processor, the sealer then uses a third of a processor and of a connection. Longer pauses would save nothing,
because entries that are sealed later need the same work."""

PAUSE_FACTOR_POSTING: Final = 3.0
"""Maximum pause after a pass that reached the limit of entries, while transactions are being posted, as a multiple of
the pass's duration. The sealer then uses a quarter of a processor."""

UNSEALED_SECONDS_MAX: Final = 0.4
"""Waiting time of the oldest unsealed entry from which the sealer does not pause. It is short, because the next pass
and its seals take time, too."""

BACKLOG_SECONDS: Final = 10.0
"""Waiting time of the oldest unsealed entry from which the sealer pauses again. Such an entry belongs to a backlog from
a time without a sealer, which is not urgent."""

TAKE_OVER_SECONDS: Final = 3.0
"""Time after which a sealer on standby takes over, if no other sealer has appended a seal."""

_SEQ: Final = slice(6, 14)
"""Position of the `seq` in an entry's bytes."""

_log = logging.getLogger("saldo.relay")


class Sealer:
    """A worker that seals new entries. Several may run; one of them seals, and the others are on standby."""

    def __init__(self, seals: SealStore, beside: PostingActivity) -> None:
        """
        Args:
            beside: the posting activity. The sealer slows down while transactions are being posted.
        """
        self._seals = seals
        self._beside = beside
        self._pace = CpuThrottle()
        self._turn = StandbyTurn()
        self._stopped: set[tuple[int, int]] = set()
        self._told: set[tuple[int, int]] = set()
        self.reached_limit = False
        """True if the last pass reached a limit of entries: the maximum of a pass, or in one shard the maximum of a
        seal."""
        self.waited_seconds = 0.0
        """Waiting time of the oldest entry that the last pass found."""

    async def run(self) -> None:
        """Run the sealer until it is cancelled."""
        round_began, entries = time.monotonic(), 0
        while True:
            began = time.monotonic()
            if not self.reached_limit:
                round_began, entries = began, 0
            try:
                entries += await self.run_pass()
            except StoreError as error:
                _log.warning("can't seal the log: %s", error)
                await asyncio.sleep(RETRY_SECONDS)
            except Exception:
                _log.exception("sealing failed unexpectedly")
                await asyncio.sleep(RETRY_SECONDS)
            else:
                now, tired = time.monotonic(), self._pace.pause_seconds()
                if self.reached_limit:
                    rest = pause_seconds_at_limit(
                        now - began, tired, self.waited_seconds, posting=self._beside.is_recent
                    )
                else:
                    rest = pause_seconds(now - round_began, entries)
                await asyncio.sleep(rest)

    async def run_pass(self) -> int:
        """Seal the new entries, oldest first, up to the limit of one pass, and return their number.

        Raises:
            StoreError: the database can't be queried.
        """
        self.reached_limit = False
        behind = await self._seals.unsealed_shards()
        if not behind or not self._turn.should_seal(
            {shard: last.seq for shard, last in behind.items()}
        ):
            return 0
        entries = await self._seals.read_unsealed()
        new = [
            seal
            for shard, last in behind.items()
            if (seal := build_seal(shard, last, entries.get(shard, ()))) is not None
        ]
        self._log_gaps(behind, entries)
        if not new:
            return 0
        if await self._seals.append(new) < len(new):
            self._turn.lost_race()
        sealed = [seal.last_seq - seal.first_seq + 1 for seal in new]
        self.waited_seconds = max(last.waited_seconds for last in behind.values())
        self.reached_limit = sum(sealed) >= ENTRIES_MAX or max(sealed) == SEAL_ENTRIES_MAX
        return sum(sealed)

    def _log_gaps(
        self, behind: Mapping[int, LastSeal], entries: Mapping[int, Sequence[bytes]]
    ) -> None:
        """Log, once for each gap, that a `seq` of the log is missing. Nothing can be sealed beyond it."""
        stopped = {
            (shard, last.seq)
            for shard, last in behind.items()
            if shard in entries and _seq(entries[shard][0]) != last.seq + 1
        }
        # A gap that only one pass sees comes from another sealer, which has just sealed these entries.
        missing = stopped & self._stopped
        for shard, seq in sorted(missing - self._told):
            _log.error("can't seal shard %s, because its entry %s is missing", shard, seq + 1)
        self._stopped, self._told = stopped, missing


class StandbyTurn:
    """Decides whether a sealer is on standby. If two sealers seal the same entries, the loser of the race waits, and
    takes over if the entries stay unsealed."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._standing_back = False
        self._seen: Mapping[int, int] = {}
        self._since = 0.0

    def lost_race(self) -> None:
        """Go on standby, because another sealer has sealed the same entries."""
        self._standing_back = True
        self._seen, self._since = {}, self._clock()

    def should_seal(self, behind: Mapping[int, int]) -> bool:
        """Return whether to seal now.

        Args:
            behind: for each shard with unsealed entries, the `seq` up to which it is sealed.
        """
        if not self._standing_back:
            return True
        # If the entries that were unsealed at the last pass still are, no other sealer is running.
        if not self._seen or any(behind.get(shard) != seq for shard, seq in self._seen.items()):
            self._seen, self._since = behind, self._clock()
        self._standing_back = self._clock() - self._since < TAKE_OVER_SECONDS
        return not self._standing_back


def build_seal(shard: int, last: LastSeal, entries: Sequence[bytes]) -> NewSeal | None:
    """Return the seal of a shard's next entries, up to the first gap; None if the first entry does not follow the last
    seal.

    Args:
        entries: the bytes of the shard's entries after the last seal (`entry_bytes`), in the order of `seq`.
    """
    first_seq = last.seq + 1
    if not entries or _seq(entries[0]) != first_seq:
        return None
    if _seq(entries[-1]) != last.seq + len(entries):
        entries = [
            entry for seq, entry in enumerate(entries, start=first_seq) if _seq(entry) == seq
        ]
    last_seq = last.seq + len(entries)
    root = merkle_root([leaf_hash(entry) for entry in entries])
    hash_ = seal_hash(last.hash, shard, first_seq, last_seq, root)
    return NewSeal(shard, first_seq, last_seq, last.hash, root, hash_)


def pause_seconds_at_limit(seconds: float, tired: float, waited: float, *, posting: bool) -> float:
    """Return the pause before more waiting entries are sealed. It is 0 if the machine has free processors.

    Args:
        seconds: duration of the last pass, which reached the limit of entries.
        tired: pause that the CPU throttle has computed (`CpuThrottle`).
        waited: waiting time of the oldest entry that the pass found.
        posting: whether transactions are being posted.
    """
    longest = seconds * (PAUSE_FACTOR_POSTING if posting else STEP_BACK)
    if waited < BACKLOG_SECONDS:
        longest = min(longest, max(UNSEALED_SECONDS_MAX - waited, 0.0))
    return min(longest, tired, SEAL_SECONDS)


def pause_seconds(seconds: float, entries: int) -> float:
    """Return the pause after all entries have been sealed.

    Args:
        seconds: time since the round's first pass began. The oldest new entry has already waited for that time, and the
            next pass will take about as long.
        entries: number of entries sealed in the round. If it is large, the pause is halved, so that the next pass does
            not reach the limit of entries.
    """
    longest = SEAL_SECONDS if entries < ENTRIES_MAX // 2 else SEAL_SECONDS / 2
    return max(longest - 2 * seconds, SEAL_SECONDS / 4)


def _seq(entry: bytes) -> int:
    return int.from_bytes(entry[_SEQ], "big")
