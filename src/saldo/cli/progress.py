"""Progress of long commands on stderr.

In a terminal, a bar shows the rate and the remaining time. Otherwise a line is printed every few seconds.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from saldo.cli.output import create_console

LINE_SECONDS: Final = 10.0
"""Interval between two lines if there is no terminal for a bar, in seconds."""


class ProgressDisplay(Protocol):
    """Shows the progress of a command."""

    def show(self, count: int, done: int, total: int) -> None:
        """Show the progress.

        Args:
            count: The number of processed items, such as rows.
            done: How much of `total` is done, in any unit.
            total: The amount of the whole work, in the same unit.
        """


@contextmanager
def show_progress(
    activity: str, *, unit: str = "rows", count: int = 0
) -> Iterator[ProgressDisplay]:
    """Show a progress display while the block runs.

    Args:
        activity: The activity, such as "importing".
        unit: The name of the counted items, in the plural.
        count: The number of items that were processed before.
    """
    shown_on = create_console(stderr=True)
    if not shown_on.is_terminal:
        yield LineDisplay(shown_on, unit, count)
        return
    with Progress(
        TextColumn(activity),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[count]:,} " + unit + ", {task.fields[rate]:,.0f}/s"),
        TimeRemainingColumn(),
        console=shown_on,
        transient=True,
    ) as progress:
        yield BarDisplay(progress, count)


class _Rate:
    """The rate of the last `LINE_SECONDS`, in items per second."""

    def __init__(self, count: int) -> None:
        self._marks = [(time.monotonic(), count)]

    def update(self, count: int) -> float:
        now = time.monotonic()
        self._marks.append((now, count))
        while len(self._marks) > 2 and now - self._marks[0][0] > LINE_SECONDS:
            del self._marks[0]
        begun, before = self._marks[0]
        return (count - before) / max(now - begun, 0.001)


class BarDisplay:
    """The display in a terminal: a bar, the count, the rate and the remaining time."""

    def __init__(self, progress: Progress, count: int) -> None:
        self._progress = progress
        self._rate = _Rate(count)
        self._task = progress.add_task("", total=None, count=count, rate=0.0)

    def show(self, count: int, done: int, total: int) -> None:
        """Update the bar."""
        rate = self._rate.update(count)
        self._progress.update(
            self._task, completed=done, total=max(done, total), count=count, rate=rate
        )


class LineDisplay:
    """The display without a terminal: a line every `LINE_SECONDS`."""

    def __init__(self, create_console: Console, unit: str, count: int) -> None:
        self._console = create_console
        self._unit = unit
        self._rate = _Rate(count)
        self._at = self._begun = time.monotonic()
        self._done: int | None = None

    def show(self, count: int, done: int, total: int) -> None:
        """Print a line if it is due."""
        now = time.monotonic()
        if self._done is None:
            self._done = done
        rate = self._rate.update(count)
        if now < self._at + LINE_SECONDS:
            return
        self._at = now
        total = max(done, total)
        speed = max(done - self._done, 1) / (now - self._begun)
        self._console.print(
            f"{count:,} {self._unit}, {rate:,.0f}/s, {100 * done / max(total, 1):.0f} %, "
            f"{(total - done) / speed:,.0f} s left",
            soft_wrap=True,
        )
