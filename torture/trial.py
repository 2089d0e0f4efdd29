"""Trials of the suite itself: a bug is planted in both services, and the checker must detect it.

A trial ends with the first round after which the checker has found one of the bug's expected kinds of fault. With
nothing planted, the checker must find nothing after one round with each of the faults that provoke any of the bugs.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import repeat
from pathlib import Path
from typing import Final

from torture.checker import FindingKind, check
from torture.faults.all import KINDS
from torture.faults.fault import Fault
from torture.mutants import NAMES
from torture.rounds import SETTINGS, Rounds
from torture.run import keep_logs
from torture.threads import run_in_thread
from torture.verdict import Verdict
from torture.world.world import World

NO_MUTANT: Final = "none"
"""Name of the trial without a bug: the real service under the same conditions."""

SECONDS_MAX = 90.0
"""Time after which no further round begins, in seconds. If the checker has not found the bug by then, the bug counts as
not caught."""


class Trial:
    """The trial of one bug, in a directory of its own."""

    def __init__(self, name: str, directory: Path, seed: str, say: Callable[[str], None]) -> None:
        """Prepare the trial.

        Args:
            name: one of `NAMES`, or `NO_MUTANT`.
        """
        self._name = name
        self._planted = None if name == NO_MUTANT else NAMES[name]
        self._directory = directory
        self._seed = seed
        self._say = say
        self._expected = tuple(map(FindingKind, self._planted.caught_as)) if self._planted else ()
        self._found: frozenset[FindingKind] | None = None
        self._broken: dict[str, None] = {}

    async def run(self, seconds: float) -> Verdict:
        """Run the trial and return the verdict. A failure of the suite is part of the verdict."""
        began = time.monotonic()
        self._directory.mkdir(parents=True, exist_ok=True)
        place = Path(tempfile.mkdtemp(prefix="saldo-world-"))
        place.chmod(0o755)
        try:
            await self._try(place, min(seconds, SECONDS_MAX))
        except Exception as error:  # whatever a bug does to the suite, the next bug is tried
            self._broken[f"the suite broke: {error!r}"] = None
        finally:
            keep_logs(place, self._directory)
            shutil.rmtree(place, ignore_errors=True)
        verdict = Verdict(
            self._name,
            self._expected,
            self._found or frozenset(),
            tuple(self._broken),
            self._found is not None,
            time.monotonic() - began,
        )
        self._say(str(verdict))
        return verdict

    async def _try(self, world_directory: Path, seconds: float) -> None:
        has_consumers = self._planted is None or any(
            kind.startswith("event") for kind in self._expected
        )
        planted = None if self._planted is None else self._name
        settings = SETTINGS | {"SALDO_RELAY_ENABLED": str(has_consumers).lower()}
        async with (
            World(
                world_directory, None, standby=False, settings=settings, planted=planted
            ) as world,
            Rounds(
                world, self._directory, self._seed, self._say, has_consumers=has_consumers
            ) as rounds,
        ):
            deadline = time.monotonic() + seconds
            for kind in self._faults(world):
                report = await run_in_thread(check, await rounds.run_round(kind))
                self._found = frozenset(fault.kind for fault in report.faults)
                self._broken |= {f"user {each}: {why}": None for each, why in rounds.unread.items()}
                for fault in report.faults[:3]:
                    self._say(str(fault))
                if not self._found.isdisjoint(self._expected) or time.monotonic() > deadline:
                    break

    def _faults(self, world: World) -> Iterator[type[Fault] | None]:
        """Yield the fault of each round.

        With a bug, that is the fault that provokes it most reliably, repeatedly; without a bug, it is each fault
        once.
        """
        mutants = NAMES.values() if self._planted is None else [self._planted]
        names = {name: None for mutant in mutants for name in mutant.provoked_by}
        possible = [KINDS[name] for name in names if not KINDS[name].reason_unavailable(world)]
        if self._planted is None:
            yield from possible
        elif not names:
            yield from repeat(None)
        elif not possible:
            raise RuntimeError("nothing that provokes it can be done here")
        else:
            yield from repeat(possible[0])
