"""Exact balances at moments in time, without summing all entries for each query. Tests compare these balances with
sums."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from itertools import accumulate, repeat

from torture.checker.entry import ZERO, Entry


class Timeline:
    """The balance at any moment, computed from the first `count` entries.

    The structure is a Fenwick tree over numbers (Fenwick, *A new data structure for cumulative frequency tables*,
    1994). Node i has the entries whose numbers are greater than i minus the lowest bit of i, and at most i. They are
    sorted by timestamp and have running sums. A query reads one node for each bit of the count. The tree has n log n
    entries in all.
    """

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._moments: list[list[datetime]] = [[]]
        self._sums: list[list[Decimal]] = [[ZERO]]
        for number in range(1, len(entries) + 1):
            covered = entries[number & (number - 1) : number]
            node = sorted((entry.timestamp, entry.change) for entry in covered)
            self._moments.append([moment for moment, _ in node])
            self._sums.append([*accumulate((change for _, change in node), initial=ZERO)])

    def balance(self, count: int, date: datetime) -> Decimal:
        """Return the sum of the posted entries among the first `count` ones whose timestamp is not after the date."""
        total = ZERO
        while count:
            total += self._sums[count][bisect_right(self._moments[count], date)]
            count &= count - 1
        return total


class Balances:
    """The balance at every moment of effective time, updated entry by entry, and its minimum.

    The structure is a segment tree over the moments that are given to the constructor. A node has the sum of the
    changes at its moments, and the minimum of the running sums of these changes.
    """

    def __init__(self, moments: Iterable[datetime]) -> None:
        self._moments = sorted(set(moments))
        self._size = 1 << len(self._moments).bit_length()
        self._sums = [*repeat(ZERO, 2 * self._size)]
        self._lowest = [*repeat(ZERO, 2 * self._size)]

    @property
    def lowest(self) -> Decimal:
        """The lowest balance at any moment. The balance of zero before the first moment is not included."""
        return self._lowest[1]

    def lowest_from(self, moment: datetime) -> Decimal:
        """Return the lowest balance at or after `moment`, which must be one of those given to the constructor."""
        node = self._leaf(moment)
        lowest, before = self._lowest[node], ZERO
        total = self._sums[node]
        while node > 1:
            sibling = node ^ 1
            if node & 1:
                before += self._sums[sibling]
            else:
                lowest = min(lowest, total + self._lowest[sibling])
                total += self._sums[sibling]
            node >>= 1
        return before + lowest

    def add(self, moment: datetime, change: Decimal) -> None:
        """Change the balance at `moment` and at every later moment. `moment` must be one of those given to the
        constructor."""
        node = self._leaf(moment)
        self._sums[node] += change
        self._lowest[node] = self._sums[node]
        while node > 1:
            node >>= 1
            left, right = 2 * node, 2 * node + 1
            self._sums[node] = self._sums[left] + self._sums[right]
            self._lowest[node] = min(self._lowest[left], self._sums[left] + self._lowest[right])

    def _leaf(self, moment: datetime) -> int:
        return self._size + bisect_left(self._moments, moment)
