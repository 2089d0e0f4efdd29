"""How far it is: a bar with the rate and the time left in a terminal, a line now and then elsewhere. On stderr."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

LINE_SECONDS: Final = 10.0
"""Between two lines where there is no terminal to draw a bar on."""


class Display(Protocol):
    """Shows how far it is: so many rows, and so much of the whole."""

    def show(self, rows: int, done: int, total: int) -> None: ...


@contextmanager
def display(doing: str, rows: int = 0) -> Iterator[Display]:
    """
    Args:
        doing: such as "importing".
        rows: that were done before.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines(console, rows)
        return
    with Progress(
        TextColumn(doing),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[rows]:,} rows, {task.fields[rate]:,.0f}/s"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    ) as progress:
        yield _Bar(progress, rows)


class _Rate:
    """Of the last seconds."""

    def __init__(self, rows: int) -> None:
        self._marks = [(time.monotonic(), rows)]

    def at(self, rows: int) -> float:
        now = time.monotonic()
        self._marks.append((now, rows))
        while len(self._marks) > 2 and now - self._marks[0][0] > LINE_SECONDS:
            del self._marks[0]
        begun, before = self._marks[0]
        return (rows - before) / max(now - begun, 0.001)


class _Bar:
    def __init__(self, progress: Progress, rows: int) -> None:
        self._progress = progress
        self._rate = _Rate(rows)
        self._task = progress.add_task("", total=None, rows=rows, rate=0.0)

    def show(self, rows: int, done: int, total: int) -> None:
        rate = self._rate.at(rows)
        self._progress.update(
            self._task, completed=done, total=max(done, total), rows=rows, rate=rate
        )


class _Lines:
    def __init__(self, console: Console, rows: int) -> None:
        self._console = console
        self._rate = _Rate(rows)
        self._at = self._begun = time.monotonic()
        self._done: int | None = None

    def show(self, rows: int, done: int, total: int) -> None:
        now = time.monotonic()
        if self._done is None:
            self._done = done
        rate = self._rate.at(rows)
        if now < self._at + LINE_SECONDS:
            return
        self._at = now
        speed = max(done - self._done, 1) / (now - self._begun)
        self._console.print(
            f"{rows:,} rows, {rate:,.0f}/s, {100 * done / max(total, 1):.0f} %, {(total - done) / speed:,.0f} s left",
            highlight=False,
            soft_wrap=True,
        )
