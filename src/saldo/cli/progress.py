"""Progress of long commands on stderr.

In a terminal it is a bar with the rate and the remaining time, otherwise a line every few seconds.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from saldo.cli.output import console

LINE_SECONDS: Final = 10.0
"""Interval between two lines if there is no terminal for a bar."""


class ProgressDisplay(Protocol):
    """Shows the progress: the number of rows, and how much of the whole is done."""

    def show(self, rows: int, done: int, total: int) -> None: ...


@contextmanager
def show_progress(doing: str, rows: int = 0) -> Iterator[ProgressDisplay]:
    """Show a progress display while the block runs.

    Args:
        doing: The activity, such as "importing".
        rows: The number of rows that were done before.
    """
    shown_on = console(stderr=True)
    if not shown_on.is_terminal:
        yield _LineDisplay(shown_on, rows)
        return
    with Progress(
        TextColumn(doing),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[rows]:,} rows, {task.fields[rate]:,.0f}/s"),
        TimeRemainingColumn(),
        console=shown_on,
        transient=True,
    ) as progress:
        yield _BarDisplay(progress, rows)


class _Rate:
    """The rate of the last `LINE_SECONDS`, in rows per second."""

    def __init__(self, rows: int) -> None:
        self._marks = [(time.monotonic(), rows)]

    def update(self, rows: int) -> float:
        now = time.monotonic()
        self._marks.append((now, rows))
        while len(self._marks) > 2 and now - self._marks[0][0] > LINE_SECONDS:
            del self._marks[0]
        begun, before = self._marks[0]
        return (rows - before) / max(now - begun, 0.001)


class _BarDisplay:
    def __init__(self, progress: Progress, rows: int) -> None:
        self._progress = progress
        self._rate = _Rate(rows)
        self._task = progress.add_task("", total=None, rows=rows, rate=0.0)

    def show(self, rows: int, done: int, total: int) -> None:
        rate = self._rate.update(rows)
        self._progress.update(
            self._task, completed=done, total=max(done, total), rows=rows, rate=rate
        )


class _LineDisplay:
    def __init__(self, console: Console, rows: int) -> None:
        self._console = console
        self._rate = _Rate(rows)
        self._at = self._begun = time.monotonic()
        self._done: int | None = None

    def show(self, rows: int, done: int, total: int) -> None:
        now = time.monotonic()
        if self._done is None:
            self._done = done
        rate = self._rate.update(rows)
        if now < self._at + LINE_SECONDS:
            return
        self._at = now
        speed = max(done - self._done, 1) / (now - self._begun)
        self._console.print(
            f"{rows:,} rows, {rate:,.0f}/s, {100 * done / max(total, 1):.0f} %, {(total - done) / speed:,.0f} s left",
            soft_wrap=True,
        )
