"""A balance over time as a step chart of block characters: a column a moment, filled up to the balance."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final, NamedTuple

from saldo.cli.clock import shown
from saldo.cli.output import money

HEIGHT: Final = 12
"""Lines: half of a small terminal."""

_EIGHTHS: Final = " ▁▂▃▄▅▆▇█"


class Point(NamedTuple):
    """A balance at a moment."""

    at: datetime
    balance: Decimal


def drawn(points: Sequence[Point], width: int) -> list[str]:
    """The lines of the chart. A balance is never below zero, so it begins there."""
    top = max(point.balance for point in points)
    heights = [_eighths(point.balance, top) for point in points]
    labels = {HEIGHT - 1: money(top), HEIGHT // 2: money(_half(top)), 0: money(top * 0)}
    margin = max(map(len, labels.values()))
    lines = []
    for row in reversed(range(HEIGHT)):
        bar = "".join(_EIGHTHS[max(0, min(8, height - row * 8))] for height in heights)
        axis = "┤" if row in labels else "│"
        lines.append(f"{labels.get(row, ''):>{margin}} {axis}{bar.rstrip()}")
    lines.append(f"{'':>{margin}} └{'─' * len(points)}")
    first, last = shown(points[0].at), shown(points[-1].at)
    gap = max(2, min(len(points), width - margin - 2) - len(first) - len(last))
    lines.append(f"{'':>{margin}}  {first}{' ' * gap}{last}")
    return lines


def _eighths(balance: Decimal, top: Decimal) -> int:
    """Of all lines; some money is always seen."""
    if not balance:
        return 0
    return max(1, int(balance * HEIGHT * 8 / top))


def _half(top: Decimal) -> Decimal:
    return (top / 2).quantize(top)
