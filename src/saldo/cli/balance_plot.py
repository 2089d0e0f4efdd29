"""A step chart of a balance over time, drawn with block characters. Each column stands for a time, and is filled up to
the balance."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final, NamedTuple

from saldo.cli.output import format_amount
from saldo.cli.times import format_time

HEIGHT: Final = 12
"""Height of the chart in lines: half of a small terminal."""

_EIGHTHS: Final = " ▁▂▃▄▅▆▇█"


class PlotPoint(NamedTuple):
    """A balance at a time."""

    at: datetime
    balance: Decimal


def draw_chart(points: Sequence[PlotPoint], width: int) -> list[str]:
    """Return the lines of the chart. The axis begins at zero, because a balance is never negative."""
    top = max(point.balance for point in points)
    heights = [_compute_height_in_eighths(point.balance, top) for point in points]
    labels = {
        HEIGHT - 1: format_amount(top),
        HEIGHT // 2: format_amount(_round_half_down(top)),
        0: format_amount(top * 0),
    }
    margin = max(map(len, labels.values()))
    lines = []
    for row in reversed(range(HEIGHT)):
        bar = "".join(_EIGHTHS[max(0, min(8, height - row * 8))] for height in heights)
        axis = "┤" if row in labels else "│"
        lines.append(f"{labels.get(row, ''):>{margin}} {axis}{bar.rstrip()}")
    lines.append(f"{'':>{margin}} └{'─' * len(points)}")
    first, last = format_time(points[0].at), format_time(points[-1].at)
    gap = max(2, min(len(points), width - margin - 2) - len(first) - len(last))
    lines.append(f"{'':>{margin}}  {first}{' ' * gap}{last}")
    return lines


def _compute_height_in_eighths(balance: Decimal, top: Decimal) -> int:
    """Return the height of a balance in eighths of a line. Every balance above zero is visible."""
    if not balance:
        return 0
    return max(1, int(balance * HEIGHT * 8 / top))


def _round_half_down(top: Decimal) -> Decimal:
    return (top / 2).quantize(top)
