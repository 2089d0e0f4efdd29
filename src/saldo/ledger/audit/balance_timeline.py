"""A user's balance at every instant, updated as entries arrive in the order of recording.

It is a segment tree over the instants. Each node stores the sum of its amounts and the minimum of its prefix sums, so
that adding an entry updates one path from a leaf to the root, and the root has the lowest balance of all instants.
Entries of one instant share a leaf, because there is no moment between them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable


class InstantOutsideTimelineError(Exception):
    """Raised for an entry at an instant that the timeline does not have."""


class Timeline:
    """The balance of a user from an instant on. Earlier amounts count at that instant."""

    def __init__(self, since: int, through: int, instants: Iterable[int]) -> None:
        """
        Args:
            since: the first instant, in microseconds. Earlier instants count as this one.
            through: the upper bound of the entry numbers whose instants were collected. Later entries may have instants
                that the timeline lacks.
            instants: all instants at which amounts will be added, including those before `since`, in any order and
                with repetitions.
        """
        self.since = since
        self.through = through
        self._instants = [since, *sorted({each for each in instants if each > since})]
        # The number of leaves is a power of two, so that the leaves are in the order of time.
        self._leaves = 1 << (len(self._instants) - 1).bit_length()
        self._sums = [0] * (2 * self._leaves)
        self._leasts = [0] * (2 * self._leaves)

    def __len__(self) -> int:
        """Return the number of instants, to which the memory is proportional."""
        return len(self._instants)

    def fill(self, amounts: Iterable[tuple[int, int]]) -> None:
        """Add many amounts with their instants, and then build the tree from the leaves.

        Raises:
            InstantOutsideTimelineError: the timeline does not have one of the instants.
        """
        for instant, amount in amounts:
            leaf = self._leaf(instant)
            self._sums[leaf] += amount
            self._leasts[leaf] = self._sums[leaf]
        for node in range(self._leaves - 1, 0, -1):
            self._join(node)

    def add(self, instant: int, amount: int) -> None:
        """Add an amount at an instant.

        Raises:
            InstantOutsideTimelineError: the timeline does not have the instant.
        """
        node = self._leaf(instant)
        self._sums[node] += amount
        self._leasts[node] = self._sums[node]
        while node > 1:
            node //= 2
            self._join(node)

    @property
    def lowest(self) -> int:
        """The lowest balance from `since` on."""
        return self._leasts[1]

    def lowest_at(self) -> int:
        """Return the first instant with the lowest balance."""
        node, before = 1, 0
        while node < self._leaves:
            left, right = 2 * node, 2 * node + 1
            if self._leasts[left] <= self._sums[left] + self._leasts[right]:
                node = left
            else:
                before += self._sums[left]
                node = right
        return self._instants[min(node - self._leaves, len(self._instants) - 1)]

    def _leaf(self, instant: int) -> int:
        place = bisect_left(self._instants, instant)
        if instant > self.since and (
            place == len(self._instants) or self._instants[place] != instant
        ):
            raise InstantOutsideTimelineError(instant)
        return self._leaves + place

    def _join(self, node: int) -> None:
        left, right = 2 * node, 2 * node + 1
        self._sums[node] = self._sums[left] + self._sums[right]
        self._leasts[node] = min(self._leasts[left], self._sums[left] + self._leasts[right])
