"""`saldo verify`: holds the whole ledger against its rules and its seals."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Protocol

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from saldo import settings as settings_module
from saldo.bootstrap.audits import verification
from saldo.bootstrap.database import Database
from saldo.cli.checkpoint import read_checkpoint, read_heads, write_checkpoint
from saldo.ledger.audit import Fault
from saldo.ledger.chain import Seal
from saldo.settings import WrongSettingsError
from saldo.store.errors import SetUpError, StoreError
from saldo.store.verify import OtherLogError, Verification

CHECKPOINT_SECONDS = 2.0
"""Between two writes of the state: so much is looked at again at most."""

LINE_SECONDS = 10.0
"""Between two lines where there is no terminal to draw a bar on."""

FAULTS_MAX = 1000
"""With --all: then it ends, for what is wrong is known well enough."""

WRONG = 1
NOT_DONE = 2


class Report(NamedTuple):
    """How it ended. sealed: entries under a seal, of the shards that were finished."""

    entries: int
    sealed: int
    seconds: float
    faults: list[Fault]
    stopped: bool


class Display(Protocol):
    """Shows how far it is."""

    def show(self, entries: int, total: int) -> None: ...


def verify(
    state: Annotated[
        Path | None,
        typer.Option(help="File that keeps the position: if it is there, go on from it."),
    ] = None,
    heads: Annotated[
        Path | None,
        typer.Option(help="Seals kept elsewhere (JSON, as GET /v1/seals gives): still the same?"),
    ] = None,
    all_: Annotated[
        bool, typer.Option("--all", help="Don't stop at the first fault; not with --state.")
    ] = False,
    json_: Annotated[bool, typer.Option("--json", help="Report as one JSON object.")] = False,
) -> None:
    """Check every entry, every balance at every instant and every seal; works beside a running service.

    Exit code 0: the ledger is whole. 1: it is not, and what is printed says where. 2: it could not be found out.
    """
    try:
        if all_ and state is not None:
            raise SetUpError("--all finds everything in one walk: not with --state")
        settings = settings_module.load()
        kept = [] if heads is None else read_heads(heads)
        with Database(settings, beside_service=True) as database_url, _display() as display:

            async def work() -> Report:
                async with verification(settings, database_url) as walk:
                    return await _walk(walk, display, state, kept, FAULTS_MAX if all_ else 1)

            report = asyncio.run(work())
    except (WrongSettingsError, StoreError) as error:
        print(f"saldo: {error}", file=sys.stderr)  # noqa: T201
        raise typer.Exit(NOT_DONE) from None
    _say(report, state, as_json=json_)
    raise typer.Exit(WRONG if report.faults else NOT_DONE if report.stopped else 0)


async def _walk(
    walk: Verification, display: Display, state: Path | None, kept: list[Seal], faults_max: int
) -> Report:
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    began = written = time.monotonic()
    try:
        await walk.start(None if state is None else read_checkpoint(state))
    except OtherLogError:
        raise SetUpError(
            f"{state} is of another log (restored, promoted, or another database): remove it to begin anew"
        ) from None
    before = walk.entries
    faults = (await walk.kept(kept))[:faults_max]
    try:
        if len(faults) < faults_max:
            async for found in walk.steps():
                faults += found
                if stopped.is_set() or len(faults) >= faults_max:
                    break
                display.show(walk.entries, walk.entries_total)
                if state is not None and time.monotonic() > written + CHECKPOINT_SECONDS:
                    write_checkpoint(state, walk.checkpoint)
                    written = time.monotonic()
            else:
                # Whole: the next one begins at the beginning, for what was whole may be altered later.
                _forget(state, faults)
                state = None
    finally:
        if state is not None:
            write_checkpoint(state, walk.checkpoint)
    return Report(
        walk.entries - before,
        walk.checkpoint.sealed,
        time.monotonic() - began,
        faults[:faults_max],
        stopped.is_set() and not faults,
    )


def _forget(state: Path | None, faults: list[Fault]) -> None:
    if state is not None and not faults:
        state.unlink(missing_ok=True)


def _say(report: Report, state: Path | None, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(_object(report)))  # noqa: T201
        return
    console = Console()

    def line(text: str) -> None:
        console.print(text, soft_wrap=True, highlight=False, markup=False)

    for fault in report.faults:
        line(str(fault))
    entries, seconds = f"{report.entries:,} entries", f"{report.seconds:.1f} s"
    if report.faults:
        line(f"the ledger is not whole: {len(report.faults):,} found, after {entries} in {seconds}")
    elif report.stopped:
        again = "" if state is None else f": go on with --state {state}"
        line(f"stopped after {entries} in {seconds}; no fault so far{again}")
    else:
        line(f"the ledger is whole: {entries} in {seconds}, {report.sealed:,} of all under seals")


def _object(report: Report) -> dict[str, Any]:
    return {
        "whole": None if report.stopped else not report.faults,
        "entries": report.entries,
        "entries_sealed": report.sealed,
        "seconds": round(report.seconds, 3),
        "faults": [
            fault._asdict() | {"uuid": None if fault.uuid is None else str(fault.uuid)}
            for fault in report.faults
        ],
    }


@contextmanager
def _display() -> Iterator[Display]:
    console = Console(stderr=True)
    if not console.is_terminal:
        yield Lines(console)
        return
    with Progress(
        TextColumn("verifying"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:,.0f}/s"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    ) as progress:
        yield Bar(progress)


class Bar:
    """In a terminal: a bar, the rate and the time left."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("", total=None, rate=0.0)

    def show(self, entries: int, total: int) -> None:
        rate = self._progress.tasks[0].speed or 0.0
        self._progress.update(self._task, completed=entries, total=max(entries, total), rate=rate)


class Lines:
    """Elsewhere: a line now and then."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._at = time.monotonic()
        self._entries: int | None = None

    def show(self, entries: int, total: int) -> None:
        now = time.monotonic()
        if self._entries is None:
            self._entries = entries
        if now < self._at + LINE_SECONDS:
            return
        rate = (entries - self._entries) / (now - self._at)
        self._console.print(
            f"{entries:,} of {max(entries, total):,} entries, {rate:,.0f}/s, "
            f"{(total - entries) / max(rate, 1):,.0f} s left",
            highlight=False,
            soft_wrap=True,
        )
        self._at, self._entries = now, entries
