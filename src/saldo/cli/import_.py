"""`saldo import`: a file of transactions, of any length, posted once each however often it is imported."""

from __future__ import annotations

import stat
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec
import typer

from saldo import settings as settings_module
from saldo.cli.ahead import ahead
from saldo.cli.clock import zone
from saldo.cli.connecting import Key, KeyFile, Service, Target, Url, connected
from saldo.cli.counts import Counts, counted, tell
from saldo.cli.exits import CommandError, Exit
from saldo.cli.files import Files, files_of
from saldo.cli.mapping import BadRowError, Meaning, Reader, meaning_of
from saldo.cli.options import Json
from saldo.cli.output import note
from saldo.cli.progress import display
from saldo.cli.rejects import NOTHING_SHA256, Rejects, sha256_of
from saldo.cli.resumption import FileIdentity, alone, identity_of, read_state, write_state
from saldo.cli.sending import Sender
from saldo.cli.stopping import Stop, stopping
from saldo.cli.tables import (
    Format,
    Row,
    Table,
    UnreadableError,
    delimiter_of,
    format_of,
    open_table,
)
from saldo.client.batch import Item
from saldo.client.errors import RefusedError, SaldoError
from saldo.client.models import Posted
from saldo.http.wire import InvalidError, Reading, parse_transaction

CHUNK_ROWS = 10_000
"""Sent in one request: some megabytes, and a third of a second. So much is sent again after a kill at most."""


FAULTS_SHOWN_MAX = 20
"""By a dry run in a terminal; elsewhere all are, for nothing scrolls away there."""


class State(msgspec.Struct):
    """What is kept beside the input.

    Attributes:
        meaning: the options by which it was read. target: which service.
        rejects_bytes, rejects_sha256: of the rows put aside that are sure.
    """

    file: FileIdentity
    meaning: str
    target: str
    rejects_bytes: int
    rejects_sha256: str
    counts: Counts


class Chunk(NamedTuple):
    """Some rows, in their order: those that can be sent, and those that can't."""

    items: list[Item[Row]]
    bad: list[tuple[Row, str]]
    position: int


@dataclass(frozen=True, slots=True)
class Source:
    """The file and how it is read."""

    path: Path
    format: Format
    delimiter: str
    meaning: Meaning

    def identity(self) -> FileIdentity:
        """Of the file as it is now."""
        try:
            # To open a pipe is to wait for whoever writes it; and what goes on where it was is read twice.
            if not stat.S_ISREG(self.path.stat().st_mode):
                raise CommandError(f"{self.path}: not a regular file", Exit.USAGE)
            return identity_of(self.path)
        except OSError as error:
            raise CommandError(f"{self.path}: {error.strerror}", Exit.USAGE) from None


def import_(
    file: Annotated[
        Path, typer.Argument(help="CSV with a heading, newline-delimited JSON, or Parquet.")
    ],
    format_: Annotated[
        Format | None, typer.Option("--format", help="Not given: by the name of the file.")
    ] = None,
    map_: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            help="FIELD=COLUMN, several times: where uuid, type, amount, user_id, timestamp or outcome stands. "
            "Not given: in the column of that name; FIELD= is nowhere. Other columns are passed over. Rows whose "
            "outcome is not posted "
            "were refused where they come from, and are put aside.",
        ),
    ] = None,
    signed: Annotated[
        bool, typer.Option("--signed", help="Amounts below zero are withdrawals; no column type.")
    ] = False,
    deposit: Annotated[str, typer.Option(help="What says deposit in the column type.")] = "DEPOSIT",
    withdraw: Annotated[str, typer.Option(help="What says withdrawal.")] = "WITHDRAW",
    id_: Annotated[
        str | None,
        typer.Option(
            "--id",
            help="A name that stands for this file for ever: rows without a uuid get one made of it and of the row's "
            "number, the same each time.",
        ),
    ] = None,
    delimiter: Annotated[
        str | None,
        typer.Option(
            help="Of a CSV file. Not given: a comma, and a tab for .tsv.", show_default=False
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Read and check every row; post nothing.")
    ] = False,
    resume: Annotated[
        bool, typer.Option(help="Go on where an import of this file was interrupted.")
    ] = True,
    state_directory: Annotated[
        Path | None,
        typer.Option(
            help="Where FILE.rejected.csv goes, and what is kept to go on with. Not given: the directory of the file."
        ),
    ] = None,
    patience: Annotated[
        float,
        typer.Option(help="Seconds to wait for a service that is away, before giving up.", min=1),
    ] = 300.0,
    url: Url = None,
    key: Key = None,
    key_file: KeyFile = None,
    json_: Json = False,
) -> None:
    """Post every row of a file, each once, however often it is imported.

    Interrupted, it goes on with the same command. Rows that are refused or can't be read go to FILE.rejected.csv with
    the reason, and the rest goes on; then the exit code is 1. Times without an offset are read in SALDO_ZONE, or else
    in this machine's zone.
    """
    meaning = meaning_of(
        map_ or (), signed=signed, deposit=deposit, withdraw=withdraw, identity=id_
    )
    source = Source(file, format_of(file, format_), delimiter_of(file, delimiter), meaning)
    source.identity()
    began = time.monotonic()
    if dry_run:
        with stopping() as stop:
            counts = _check(source, stop)
        rejects, before = None, 0
    else:
        files = files_of(file, source.format, state_directory)
        with alone(files.lock, f"another import of {file} is running"):
            files.check()
            with (
                connected(Target(url, key, key_file), timeout_seconds=patience) as service,
                stopping() as stop,
            ):
                run = Import(source, files, service, stop)
                counts = run.run(resume=resume)
        rejects = files.rejects if counts.refused + counts.bad else None
        before = run.rows_before
    tell(counts, before, rejects, time.monotonic() - began, dry_run=dry_run, as_json=json_)
    if counts.refused + counts.bad:
        raise typer.Exit(Exit.REFUSED)


class Import:
    """One run.

    Attributes:
        rows_before: that earlier runs have done.
    """

    def __init__(self, source: Source, files: Files, service: Service, stop: Stop) -> None:
        self.rows_before = 0
        self._source = source
        self._files = files
        self._stop = stop
        self._sender = Sender(service.connection, stop)
        self._state = State(
            source.identity(),
            repr((source.format, source.delimiter, source.meaning, str(zone()))),
            service.name,
            0,
            NOTHING_SHA256,
            Counts(),
        )

    def run(self, *, resume: bool) -> Counts:
        """Posts everything that no earlier run did.

        Raises:
            CommandError: interrupted. SaldoError: the service can't go on.
        """
        source = self._source
        if resume:
            self._go_on()
        state = self._state
        wanted = list(source.meaning.columns.values())
        with (
            open_table(source.path, source.format, source.delimiter, wanted) as table,
            display("importing", state.counts.rows) as progress,
        ):
            reader = Reader(
                source.meaning, table.columns, headed=source.format is not Format.NDJSON
            )
            delimiter = source.delimiter if source.format is Format.CSV else ","
            with Rejects(
                self._files.rejects, reader.told_columns, delimiter, state.rejects_bytes
            ) as rejects:
                try:
                    for chunk in ahead(_chunks(table, reader, state.counts.rows)):
                        self._post(chunk, reader, rejects)
                        progress.show(state.counts.rows, chunk.position, table.total)
                        if self._stop.asked:
                            raise self._interrupted()
                except UnreadableError as error:
                    raise CommandError(
                        f"{source.path}: {error} {self._done()}, and nothing after them was read: mend it, and give "
                        f"the same command again: what is posted is not posted again{self._aside()}"
                    ) from None
        self._files.state.unlink(missing_ok=True)
        return state.counts

    def _go_on(self) -> None:
        kept = read_state(self._files.state, State)
        if kept is None:
            if self._files.state.exists():  # of another version, perhaps
                self._begin_again(f"{self._files.state} can't be read")
            return
        ours = self._state
        if (kept.file, kept.meaning, kept.target) != (ours.file, ours.meaning, ours.target):
            self._begin_again(f"{self._files.state} is of another file, service or way to read it")
            return
        if sha256_of(self._files.rejects, kept.rejects_bytes) != kept.rejects_sha256:
            self._begin_again(f"{self._files.rejects} is not as it was written")
            return
        self._state = kept
        self.rows_before = kept.counts.rows
        note(f"saldo: going on after row {kept.counts.rows:,}")

    @staticmethod
    def _begin_again(why: str) -> None:
        note(
            f"saldo: {why}: beginning at the first row; what was posted before is not posted again"
        )

    def _post(self, chunk: Chunk, reader: Reader, rejects: Rejects) -> None:
        try:
            settled = self._sender.deliver(chunk.items) if chunk.items else []
        except KeyboardInterrupt:
            raise self._interrupted() from None
        except SaldoError as error:
            note(f"saldo: {self._done()}; the same command goes on from there")
            raise error from None
        counts = self._state.counts
        rejected = list(chunk.bad)
        requests = {id(item.future): item.request for item in chunk.items}
        for row, outcome in settled:
            if isinstance(outcome, Posted):
                counted(counts, requests[id(row)], outcome.replayed)
            elif isinstance(outcome, RefusedError):
                counts.refused += 1
                rejected.append((row, str(outcome)))
            else:
                counts.bad += 1
                rejected.append((row, str(outcome)))
        counts.bad += len(chunk.bad)
        counts.rows += len(chunk.items) + len(chunk.bad)
        rejected.sort(key=lambda each: each[0].number)
        rejects.write([(str(row.line), reason, *reader.told(row)) for row, reason in rejected])
        self._state.rejects_bytes = rejects.size_bytes
        self._state.rejects_sha256 = rejects.sha256
        write_state(self._files.state, self._state)

    def _interrupted(self) -> CommandError:
        return CommandError(
            f"interrupted: {self._done()}; the same command goes on from there", Exit.INTERRUPTED
        )

    def _aside(self) -> str:
        counts = self._state.counts
        there = counts.refused + counts.bad
        return f"; rows put aside ({there:,}) are in {self._files.rejects}" if there else ""

    def _done(self) -> str:
        return f"{self._state.counts.rows:,} rows are done"


def _chunks(table: Table, reader: Reader, done: int) -> Iterator[Chunk]:
    rows = islice(_rows(table, reader), done, None)
    unreadable: UnreadableError | None = None
    while unreadable is None:
        some: list[Row] = []
        try:
            for row in islice(rows, CHUNK_ROWS):
                some.append(row)  # noqa: PERF402 - what came before the fault stays
        except UnreadableError as error:
            unreadable = error
        if not some:
            break
        items: list[Item[Row]] = []
        bad: list[tuple[Row, str]] = []
        for row in some:
            try:
                items.append(Item(reader.request(row), row))
            except BadRowError as error:
                bad.append((row, str(error)))
        yield Chunk(items, bad, table.position())
    if unreadable is not None:  # what came before is posted first
        raise unreadable


def _rows(table: Table, reader: Reader) -> Iterator[Row]:
    """
    Raises:
        UnreadableError: from there on they can't be told apart.
    """
    for row in table.rows:
        if row.following and reader.swallows(row):
            raise UnreadableError(
                row.line - len(row.following), row.line, "there are rows within a quoted text"
            )
        yield row


def _until_unreadable(path: Path, rows: Iterator[Row], counts: Counts) -> Iterator[Row]:
    try:
        yield from rows
    except UnreadableError as error:
        raise CommandError(
            f"{path}: {error} {counts.rows:,} rows before it were checked: {counts.bad:,} are bad"
        ) from None


def _check(source: Source, stop: Stop) -> Counts:
    """Reads every row as the service would, without one."""
    settings = settings_module.load()
    reading = Reading(
        settings.tzinfo,
        settings.currency_decimals,
        settings.amount_max_minor,
        settings.name_length_max,
    )
    counts = Counts()
    shown_max = FAULTS_SHOWN_MAX if sys.stderr.isatty() else None
    wanted = list(source.meaning.columns.values())
    with (
        open_table(source.path, source.format, source.delimiter, wanted) as table,
        display("checking") as progress,
    ):
        reader = Reader(source.meaning, table.columns, headed=source.format is not Format.NDJSON)
        for row in _until_unreadable(source.path, _rows(table, reader), counts):
            counts.rows += 1
            try:
                request = reader.request(row)
                parse_transaction(request.body(), None, reading)
                counted(counts, request, replayed=False)
            except (BadRowError, InvalidError) as error:
                counts.bad += 1
                if shown_max is None or counts.bad <= shown_max:
                    note(f"line {row.line}: {error}")
            if counts.rows % CHUNK_ROWS == 0:
                progress.show(counts.rows, table.position(), table.total)
                if stop.asked:
                    raise CommandError(
                        f"interrupted: {counts.rows:,} rows are checked", Exit.INTERRUPTED
                    )
    if shown_max is not None and counts.bad > shown_max:
        note(f"and {counts.bad - shown_max:,} more: with 2> FILE all are in the file")
    return counts
