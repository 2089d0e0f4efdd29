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


class BalanceTimeline:
    """The balance of a user from an instant on. Earlier amounts count at that instant."""

    def __init__(self, first_instant: int, last_number: int, instants: Iterable[int]) -> None:
        """
        Args:
            first_instant: the first instant, in microseconds. Earlier instants count as this one.
            last_number: the upper bound of the entry numbers whose instants were collected. Later entries may have
                instants that the timeline lacks.
            instants: all instants at which amounts will be added, including those before `first_instant`, in any order
                and with repetitions.
        """
        self.first_instant = first_instant
        self.last_number = last_number
        self._instants = [
            first_instant,
            *sorted({each for each in instants if each > first_instant}),
        ]
        # The number of leaves is a power of two, so that the leaves are in the order of time.
        self._leaf_count = 1 << (len(self._instants) - 1).bit_length()
        self._sums = [0] * (2 * self._leaf_count)
        self._minima = [0] * (2 * self._leaf_count)

    def __len__(self) -> int:
        """Return the number of instants, to which the memory is proportional."""
        return len(self._instants)

    def add_amounts(self, amounts: Iterable[tuple[int, int]]) -> None:
        """Add many amounts with their instants, and then build the tree from the leaves.

        Raises:
            InstantOutsideTimelineError: the timeline does not have one of the instants.
        """
        for instant, amount in amounts:
            leaf = self._find_leaf(instant)
            self._sums[leaf] += amount
            self._minima[leaf] = self._sums[leaf]
        for node in range(self._leaf_count - 1, 0, -1):
            self._update_parent(node)

    def add_amount(self, instant: int, amount: int) -> None:
        """Add an amount at an instant.

        Raises:
            InstantOutsideTimelineError: the timeline does not have the instant.
        """
        node = self._find_leaf(instant)
        self._sums[node] += amount
        self._minima[node] = self._sums[node]
        while node > 1:
            node //= 2
            self._update_parent(node)

    @property
    def lowest_balance(self) -> int:
        """The lowest balance from `first_instant` on."""
        return self._minima[1]

    def find_lowest_balance_instant(self) -> int:
        """Return the first instant with the lowest balance."""
        node, before = 1, 0
        while node < self._leaf_count:
            left, right = 2 * node, 2 * node + 1
            if self._minima[left] <= self._sums[left] + self._minima[right]:
                node = left
            else:
                before += self._sums[left]
                node = right
        return self._instants[min(node - self._leaf_count, len(self._instants) - 1)]

    def _find_leaf(self, instant: int) -> int:
        place = bisect_left(self._instants, instant)
        if instant > self.first_instant and (
            place == len(self._instants) or self._instants[place] != instant
        ):
            raise InstantOutsideTimelineError(instant)
        return self._leaf_count + place

    def _update_parent(self, node: int) -> None:
        left, right = 2 * node, 2 * node + 1
        self._sums[node] = self._sums[left] + self._sums[right]
        self._minima[node] = min(self._minima[left], self._sums[left] + self._minima[right])
