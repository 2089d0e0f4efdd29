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
from saldo.ledger.seals import SEAL_ENTRIES_MAX, compute_merkle_root, hash_leaf, hash_seal
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

    def __init__(self, seals: SealStore, posting_activity: PostingActivity) -> None:
        """
        Args:
            posting_activity: the posting activity. The sealer slows down while transactions are being posted.
        """
        self._seals = seals
        self._posting_activity = posting_activity
        self._throttle = CpuThrottle()
        self._standby_turn = SealerStandby()
        self._last_gaps: set[tuple[int, int]] = set()
        self._logged_gaps: set[tuple[int, int]] = set()
        self.is_limit_reached = False
        """True if the last pass reached a limit of entries: the maximum of a pass, or in one shard the maximum of a
        seal."""
        self.waited_seconds = 0.0
        """Waiting time of the oldest entry that the last pass found."""

    async def run(self) -> None:
        """Run the sealer until it is cancelled."""
        round_began_at, entries = time.monotonic(), 0
        while True:
            began_at = time.monotonic()
            if not self.is_limit_reached:
                round_began_at, entries = began_at, 0
            try:
                entries += await self.run_pass()
            except StoreError as error:
                _log.warning("can't seal the log: %s", error)
                await asyncio.sleep(RETRY_SECONDS)
            except Exception:
                _log.exception("sealing failed unexpectedly")
                await asyncio.sleep(RETRY_SECONDS)
            else:
                now, cpu_pause_seconds = time.monotonic(), self._throttle.compute_pause_seconds()
                if self.is_limit_reached:
                    pause_seconds = compute_backlog_pause_seconds(
                        now - began_at,
                        cpu_pause_seconds,
                        self.waited_seconds,
                        is_posting=self._posting_activity.is_recent,
                    )
                else:
                    pause_seconds = compute_pause_seconds(now - round_began_at, entries)
                await asyncio.sleep(pause_seconds)

    async def run_pass(self) -> int:
        """Seal the new entries, oldest first, up to the limit of one pass, and return their number.

        Raises:
            StoreError: the database can't be queried.
        """
        self.is_limit_reached = False
        last_seals = await self._seals.find_unsealed_shards()
        if not last_seals or not self._standby_turn.should_seal(
            {shard: last.seq for shard, last in last_seals.items()}
        ):
            return 0
        entries = await self._seals.read_unsealed()
        new_seals = [
            seal
            for shard, last in last_seals.items()
            if (seal := build_seal(shard, last, entries.get(shard, ()))) is not None
        ]
        self._log_gaps(last_seals, entries)
        if not new_seals:
            return 0
        if await self._seals.append(new_seals) < len(new_seals):
            self._standby_turn.go_on_standby()
        entry_counts = [seal.last_seq - seal.first_seq + 1 for seal in new_seals]
        self.waited_seconds = max(last.waited_seconds for last in last_seals.values())
        self.is_limit_reached = (
            sum(entry_counts) >= ENTRIES_MAX or max(entry_counts) == SEAL_ENTRIES_MAX
        )
        return sum(entry_counts)

    def _log_gaps(
        self, last_seals: Mapping[int, LastSeal], entries: Mapping[int, Sequence[bytes]]
    ) -> None:
        """Log, once for each gap, that a `seq` of the log is missing. Nothing can be sealed beyond it."""
        gaps = {
            (shard, last.seq)
            for shard, last in last_seals.items()
            if shard in entries and _read_seq(entries[shard][0]) != last.seq + 1
        }
        # A gap that only one pass sees comes from another sealer, which has just sealed these entries.
        repeated_gaps = gaps & self._last_gaps
        for shard, seq in sorted(repeated_gaps - self._logged_gaps):
            _log.error("can't seal shard %s, because its entry %s is missing", shard, seq + 1)
        self._last_gaps, self._logged_gaps = gaps, repeated_gaps


class SealerStandby:
    """Decides whether a sealer is on standby. If two sealers seal the same entries, the loser of the race waits, and
    takes over if the entries stay unsealed."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._is_on_standby = False
        self._unsealed_after: Mapping[int, int] = {}
        self._since = 0.0

    def go_on_standby(self) -> None:
        """Go on standby, because another sealer has sealed the same entries."""
        self._is_on_standby = True
        self._unsealed_after, self._since = {}, self._clock()

    def should_seal(self, sealed_seqs: Mapping[int, int]) -> bool:
        """Return whether to seal now.

        Args:
            sealed_seqs: for each shard with unsealed entries, the `seq` up to which it is sealed.
        """
        if not self._is_on_standby:
            return True
        # If the entries that were unsealed at the last pass still are, no other sealer is running.
        if not self._unsealed_after or any(
            sealed_seqs.get(shard) != seq for shard, seq in self._unsealed_after.items()
        ):
            self._unsealed_after, self._since = sealed_seqs, self._clock()
        self._is_on_standby = self._clock() - self._since < TAKE_OVER_SECONDS
        return not self._is_on_standby


def build_seal(shard: int, last: LastSeal, entries: Sequence[bytes]) -> NewSeal | None:
    """Return the seal of a shard's next entries, up to the first gap; None if the first entry does not follow the last
    seal.

    Args:
        entries: the bytes of the shard's entries after the last seal (`encode_entry`), in the order of `seq`.
    """
    first_seq = last.seq + 1
    if not entries or _read_seq(entries[0]) != first_seq:
        return None
    if _read_seq(entries[-1]) != last.seq + len(entries):
        entries = [
            entry for seq, entry in enumerate(entries, start=first_seq) if _read_seq(entry) == seq
        ]
    last_seq = last.seq + len(entries)
    root = compute_merkle_root([hash_leaf(entry) for entry in entries])
    hash_ = hash_seal(last.hash, shard, first_seq, last_seq, root)
    return NewSeal(shard, first_seq, last_seq, last.hash, root, hash_)


def compute_backlog_pause_seconds(
    pass_seconds: float, cpu_pause_seconds: float, waited_seconds: float, *, is_posting: bool
) -> float:
    """Return the pause before more waiting entries are sealed. It is 0 if the machine has free processors.

    Args:
        pass_seconds: duration of the last pass, which reached the limit of entries.
        cpu_pause_seconds: pause that the CPU throttle has computed (`CpuThrottle`).
        waited_seconds: waiting time of the oldest entry that the pass found.
        is_posting: whether transactions are being posted.
    """
    pause_seconds_max = pass_seconds * (PAUSE_FACTOR_POSTING if is_posting else STEP_BACK)
    if waited_seconds < BACKLOG_SECONDS:
        pause_seconds_max = min(pause_seconds_max, max(UNSEALED_SECONDS_MAX - waited_seconds, 0.0))
    return min(pause_seconds_max, cpu_pause_seconds, SEAL_SECONDS)


def compute_pause_seconds(round_seconds: float, entries: int) -> float:
    """Return the pause after all entries have been sealed.

    Args:
        round_seconds: time since the round's first pass began. The oldest new entry has already waited for that time,
            and the next pass will take about as long.
        entries: number of entries sealed in the round. If it is large, the pause is halved, so that the next pass does
            not reach the limit of entries.
    """
    pause_seconds_max = SEAL_SECONDS if entries < ENTRIES_MAX // 2 else SEAL_SECONDS / 2
    return max(pause_seconds_max - 2 * round_seconds, SEAL_SECONDS / 4)


def _read_seq(entry: bytes) -> int:
    return int.from_bytes(entry[_SEQ], "big")
