"""Seals the log behind whoever posts, in the background: what has been recorded is provable within a second.

On a machine that has no processor to spare it steps back under a bulk, as long as nothing waits too long.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from saldo.ledger.seal import SEAL_ENTRIES_MAX, leaf_hash, merkle_root, seal_hash
from saldo.relay.pace import Beside, Pace
from saldo.store.errors import StoreError
from saldo.store.seals import ENTRIES_MAX, LastSeal, NewSeal, Seals

SEAL_SECONDS: Final = 0.8
"""From one look at what is new to the next: an entry waits for it, and for its seal to be written. Also the longest
rest."""

FAILED_SECONDS: Final = 5.0
"""After a look that has failed."""

STEP_BACK: Final = 2.0
STEP_BACK_POSTING: Final = 3.0
"""At most, so many times as long as a look took that took as much as it may: so it gets a third of a processor and of
a connection on the busiest machine, a quarter while somebody posts. What is sealed later is no less work."""

WAITED_SECONDS_MAX: Final = 0.4
BACKLOG_SECONDS: Final = 10.0
"""What has waited for so long when it was found lets nobody rest: the next look, and its seals, take some time, too.
Unless it has waited for so long that it is a backlog, of a time without a sealer: that may take its time."""

TAKE_OVER_SECONDS: Final = 3.0
"""After so long without a seal by somebody else, one who stood back for him seals again."""

_SEQ: Final = slice(6, 14)
"""Where an entry's bytes have its `seq`."""

_log = logging.getLogger("saldo.relay")


class Sealer:
    """Seals whatever is new. However many there are, one of them does it; the others look on."""

    def __init__(self, seals: Seals, beside: Beside) -> None:
        """
        Args:
            beside: whom it steps back for.
        """
        self._seals = seals
        self._beside = beside
        self._pace = Pace()
        self._turn = Turn()
        self._stopped: set[tuple[int, int]] = set()
        self._told: set[tuple[int, int]] = set()
        self.more = False
        """Whether the last look took as much as it may: of all, or of one shard, where one user has all."""
        self.waited_seconds = 0.0
        """For how long the oldest entry had waited that it found."""

    async def run(self) -> None:
        """Seals until it is cancelled."""
        round_began, entries = time.monotonic(), 0
        while True:
            began = time.monotonic()
            if not self.more:
                round_began, entries = began, 0
            try:
                entries += await self.look()
            except StoreError as error:
                _log.warning("the log can't be sealed: %s", error)
                await asyncio.sleep(FAILED_SECONDS)
            except Exception:
                _log.exception("sealing failed in a way nobody foresaw")
                await asyncio.sleep(FAILED_SECONDS)
            else:
                now, tired = time.monotonic(), self._pace.rest_seconds()
                if self.more:
                    rest = step_back_seconds(
                        now - began, tired, self.waited_seconds, posting=self._beside.posting
                    )
                else:
                    rest = rest_seconds(now - round_began, entries)
                await asyncio.sleep(rest)

    async def look(self) -> int:
        """Seals what is new, or the oldest of it if it is much; how many entries.

        Raises:
            StoreError: the database can't be asked.
        """
        self.more = False
        behind = await self._seals.behind()
        if not behind or not self._turn.comes({shard: last.seq for shard, last in behind.items()}):
            return 0
        entries = await self._seals.entries()
        new = [
            seal
            for shard, last in behind.items()
            if (seal := seal_of(shard, last, entries.get(shard, ()))) is not None
        ]
        self._tell_gaps(behind, entries)
        if not new:
            return 0
        if await self._seals.append(new) < len(new):
            self._turn.lost()
        sealed = [seal.last_seq - seal.first_seq + 1 for seal in new]
        self.waited_seconds = max(last.waited_seconds for last in behind.values())
        self.more = sum(sealed) >= ENTRIES_MAX or max(sealed) == SEAL_ENTRIES_MAX
        return sum(sealed)

    def _tell_gaps(
        self, behind: Mapping[int, LastSeal], entries: Mapping[int, Sequence[bytes]]
    ) -> None:
        """Says so, once, if a position of the log is missing: nothing can be sealed beyond it."""
        stopped = {
            (shard, last.seq)
            for shard, last in behind.items()
            if shard in entries and _seq(entries[shard][0]) != last.seq + 1
        }
        # At one look alone it is another sealer, who has just gone on.
        missing = stopped & self._stopped
        for shard, seq in sorted(missing - self._told):
            _log.error("shard %s has no entry %s: it can't be sealed any further", shard, seq + 1)
        self._stopped, self._told = stopped, missing


class Turn:
    """Whether it is ours to seal: of two who do, one does it for nothing. So the one who was late stands back."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._standing_back = False
        self._seen: Mapping[int, int] = {}
        self._since = 0.0

    def lost(self) -> None:
        """Somebody else has sealed the same."""
        self._standing_back = True
        self._seen, self._since = {}, self._clock()

    def comes(self, behind: Mapping[int, int]) -> bool:
        """Whether to seal now.

        Args:
            behind: the shards that have something to seal, and up to where they are sealed.
        """
        if not self._standing_back:
            return True
        # The entries that waited at the last look wait still: nobody seals.
        if not self._seen or any(behind.get(shard) != seq for shard, seq in self._seen.items()):
            self._seen, self._since = behind, self._clock()
        self._standing_back = self._clock() - self._since < TAKE_OVER_SECONDS
        return not self._standing_back


def seal_of(shard: int, last: LastSeal, entries: Sequence[bytes]) -> NewSeal | None:
    """The seal of these entries of a shard, as far as they follow each other and the last seal; None: they don't.

    Args:
        entries: `entry_bytes` of some, in their order.
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


def step_back_seconds(seconds: float, tired: float, waited: float, *, posting: bool) -> float:
    """How long to rest before going on with what is there: not at all, where there are processors to spare.

    Args:
        seconds: the look took that took as much as it may.
        tired: how long to rest for what had to be waited for a processor (`Pace`).
        waited: for how long the oldest entry had waited that was found.
        posting: whether somebody posts.
    """
    longest = seconds * (STEP_BACK_POSTING if posting else STEP_BACK)
    if waited < BACKLOG_SECONDS:
        longest = min(longest, max(WAITED_SECONDS_MAX - waited, 0.0))
    return min(longest, tired, SEAL_SECONDS)


def rest_seconds(seconds: float, entries: int) -> float:
    """How long to rest when all has been sealed that was there.

    Args:
        seconds: since the first look of it, which what is new by now has just missed. The next one will take as long.
        entries: that were found. Of many more come meanwhile than one look takes.
    """
    longest = SEAL_SECONDS if entries < ENTRIES_MAX // 2 else SEAL_SECONDS / 2
    return max(longest - 2 * seconds, SEAL_SECONDS / 4)


def _seq(entry: bytes) -> int:
    return int.from_bytes(entry[_SEQ], "big")
