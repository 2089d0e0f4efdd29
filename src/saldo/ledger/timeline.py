"""A user's balance at every instant, kept while entries arrive in the order in which they were recorded.

A segment tree over the instants: each node holds the sum of its amounts and the least of its prefix sums, so that an
entry costs a walk from its leaf to the root, and the root tells the lowest balance of all time. Entries of one instant
share a leaf: between them there is no moment to ask about.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable


class UnknownInstantError(Exception):
    """An entry at an instant that the timeline was not made for."""


class Timeline:
    """The balance from an instant on; what was before it counts at it."""

    def __init__(self, since: int, through: int, instants: Iterable[int]) -> None:
        """
        Args:
            since: the first instant, microseconds; earlier ones count as this one.
            through: the number of the user's last entry whose instant is known here.
            instants: all that will be added at, those before `since` too; in any order, with repetitions.
        """
        self.since = since
        self.through = through
        self._instants = [since, *sorted({each for each in instants if each > since})]
        # A power of two: then the leaves stand in the order of time.
        self._leaves = 1 << (len(self._instants) - 1).bit_length()
        self._sums = [0] * (2 * self._leaves)
        self._leasts = [0] * (2 * self._leaves)

    def __len__(self) -> int:
        """How many instants it has: what it takes of memory."""
        return len(self._instants)

    def fill(self, amounts: Iterable[tuple[int, int]]) -> None:
        """Adds many amounts at once, each with its instant; the tree is then made from below.

        Raises:
            UnknownInstantError: one of the instants is not known here.
        """
        for instant, amount in amounts:
            leaf = self._leaf(instant)
            self._sums[leaf] += amount
            self._leasts[leaf] = self._sums[leaf]
        for node in range(self._leaves - 1, 0, -1):
            self._join(node)

    def add(self, instant: int, amount: int) -> None:
        """Adds one amount.

        Raises:
            UnknownInstantError: the instant is not known here.
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
        """The first instant with the lowest balance."""
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
            raise UnknownInstantError(instant)
        return self._leaves + place

    def _join(self, node: int) -> None:
        left, right = 2 * node, 2 * node + 1
        self._sums[node] = self._sums[left] + self._sums[right]
        self._leasts[node] = min(self._leasts[left], self._sums[left] + self._leasts[right])
