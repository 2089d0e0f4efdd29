"""`saldo import` posts a file of any length. Each row is posted once, however often the file is imported."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec
import typer

from saldo.cli.connection.service import (
    ConnectedService,
    Key,
    KeyFile,
    Local,
    ServiceOptions,
    Url,
    connect,
)
from saldo.cli.exit_codes import CommandError, ExitCode
from saldo.cli.file_formats import Format, detect_format
from saldo.cli.importing.bulk_sender import BulkSender
from saldo.cli.importing.dry_run import DryRun
from saldo.cli.importing.paths import ImportPaths, build_import_paths
from saldo.cli.importing.prefetch import prefetch
from saldo.cli.importing.rejects_file import EMPTY_SHA256, RejectsFile, hash_file
from saldo.cli.importing.row_counts import ImportSummary, RowCounts, count_posted
from saldo.cli.importing.row_mapping import InvalidRowError, RowMapper, parse_mapping
from saldo.cli.importing.row_readers import (
    Row,
    RowFile,
    UnreadableRowsError,
    detect_delimiter,
    open_row_file,
)
from saldo.cli.importing.source_file import SourceFile, read_rows
from saldo.cli.options import Json
from saldo.cli.output import print_note
from saldo.cli.progress import show_progress
from saldo.cli.signals import StopRequest, handle_stop_signals
from saldo.cli.state_file import FileIdentity, hold_lock, read_state, write_state
from saldo.cli.times import load_time_zone
from saldo.client.batch import Item
from saldo.client.errors import RefusedError, SaldoError
from saldo.client.models import Posted

CHUNK_ROWS = 10_000
"""Number of rows per request. Such a request has some megabytes and takes a third of a second. If the command is
killed, at most this many rows are sent again."""


class ImportState(msgspec.Struct):
    """The state file of an import, next to the input.

    Attributes:
        options: The options that determine how the file is read.
        target: The name of the service.
        rejects_bytes: The size of the rejects file at this position, in bytes.
        rejects_sha256: The SHA-256 of these bytes.
    """

    file: FileIdentity
    options: str
    target: str
    rejects_bytes: int
    rejects_sha256: str
    counts: RowCounts


class RowChunk(NamedTuple):
    """Consecutive rows of the file, divided into valid rows, which can be sent, and invalid ones."""

    items: list[Item[Row]]
    invalid_rows: list[tuple[Row, str]]
    position: int


def import_(
    file: Annotated[
        Path,
        typer.Argument(
            help="File to import: CSV with a header row, newline-delimited JSON, or Parquet."
        ),
    ],
    format_: Annotated[
        Format | None,
        typer.Option(
            "--format", help="Format of the file. The default is that of the file's extension."
        ),
    ] = None,
    map_: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            help="Column that contains a field, as FIELD=COLUMN. Repeatable. The fields are uuid, type, amount, "
            "user_id, timestamp and outcome. By default a field is read from the column of the same name; FIELD= "
            "ignores that column. All other columns are ignored. Rows whose outcome is not posted were refused by "
            "the ledger that exported them, and are rejected.",
        ),
    ] = None,
    signed: Annotated[
        bool,
        typer.Option(
            "--signed",
            help="Derive the type from the sign of the amount: negative amounts are withdrawals.",
        ),
    ] = False,
    deposit: Annotated[
        str, typer.Option(help="Value in the type column that means a deposit.")
    ] = "DEPOSIT",
    withdraw: Annotated[
        str, typer.Option(help="Value in the type column that means a withdrawal.")
    ] = "WITHDRAW",
    id_: Annotated[
        str | None,
        typer.Option(
            "--id",
            help="Permanent name of this file. A row without a uuid gets one that is derived from this name and "
            "the row's number, so that it is the same in every import of the file.",
        ),
    ] = None,
    delimiter: Annotated[
        str | None,
        typer.Option(
            help="Delimiter of a CSV file. The default is a comma, and a tab for .tsv.",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check every row without posting any.")
    ] = False,
    resume: Annotated[
        bool, typer.Option(help="Continue an interrupted import of this file.")
    ] = True,
    state_directory: Annotated[
        Path | None,
        typer.Option(
            help="Directory for the rejects file (FILE.rejected.csv) and the state file. The default is the "
            "directory of the imported file."
        ),
    ] = None,
    patience: Annotated[
        float,
        typer.Option(help="Seconds to wait if the service is unavailable.", min=1),
    ] = 300.0,
    url: Url = None,
    key: Key = None,
    key_file: KeyFile = None,
    local: Local = False,
    json_: Json = False,
) -> None:
    """Post every row of a file as a transaction.

    Each row is posted once, however often the file is imported. If the import is interrupted, the same command
    continues it. Rows that are refused or invalid are written to FILE.rejected.csv with the reason, the other rows are
    posted, and the exit code is 1. Times without an offset are in SALDO_TIMEZONE, or else in this machine's time zone.
    """
    mapping = parse_mapping(
        map_ or (), signed=signed, deposit=deposit, withdraw=withdraw, identity=id_
    )
    source = SourceFile(
        file, detect_format(file, format_), detect_delimiter(file, delimiter), mapping
    )
    source.identify()
    began = time.monotonic()
    rejects, before, stopped = None, 0, None
    if dry_run:
        with handle_stop_signals() as stop:
            checked = DryRun(source, stop)
            checked.run()
        counts = checked.counts
        if checked.stopped is not None:
            stopped = (
                f"{file}: {checked.stopped}. {counts.rows:,} rows before it were checked, "
                f"{counts.invalid:,} of them are invalid"
            )
    else:
        files = build_import_paths(file, source.format, state_directory)
        with hold_lock(files.lock, f"another import of {file} is running: wait until it ends"):
            files.check()
            with (
                connect(
                    ServiceOptions(url, key, key_file, local), timeout_seconds=patience
                ) as service,
                handle_stop_signals() as stop,
            ):
                run = ImportRun(source, files, service, stop)
                try:
                    counts = run.run(resume=resume)
                except UnreadableRemainderError as error:
                    counts, stopped = run.counts, str(error)
        rejects = files.rejects if counts.refused + counts.invalid else None
        before = run.rows_before
    summary = ImportSummary(counts, before, rejects, time.monotonic() - began, stopped)
    summary.print(dry_run=dry_run, as_json=json_)
    if stopped is not None:
        raise CommandError(stopped)
    if counts.refused + counts.invalid:
        raise typer.Exit(ExitCode.REFUSED)


class UnreadableRemainderError(Exception):
    """The rest of the file can't be read. The rows before it are posted. The message contains both facts."""


class ImportRun:
    """A run of an import.

    Attributes:
        rows_before: The number of rows that earlier runs have processed.
    """

    def __init__(
        self, source: SourceFile, files: ImportPaths, service: ConnectedService, stop: StopRequest
    ) -> None:
        self.rows_before = 0
        self._source = source
        self._files = files
        self._stop = stop
        self._sender = BulkSender(service.connection, stop)
        self._state = ImportState(
            source.identify(),
            repr((source.format, source.delimiter, source.mapping, str(load_time_zone()))),
            service.name,
            0,
            EMPTY_SHA256,
            RowCounts(),
        )

    @property
    def counts(self) -> RowCounts:
        """The counts of the rows so far."""
        return self._state.counts

    def run(self, *, resume: bool) -> RowCounts:
        """Post every row that no earlier run has posted.

        Raises:
            CommandError: The run was interrupted.
            SaldoError: The service rejects a request, or could not be reached for too long.
            UnreadableRemainderError: The rest of the file can't be read.
        """
        source = self._source
        if resume:
            self._resume()
        state = self._state
        field_columns = list(source.mapping.columns.values())
        with (
            open_row_file(source.path, source.format, source.delimiter, field_columns) as table,
            show_progress("importing", count=state.counts.rows) as progress,
        ):
            reader = RowMapper(
                source.mapping, table.columns, has_header=source.format is not Format.NDJSON
            )
            delimiter = source.delimiter if source.format is Format.CSV else ","
            with RejectsFile(
                self._files.rejects, reader.rejected_columns, delimiter, state.rejects_bytes
            ) as rejects:
                try:
                    for chunk in prefetch(_read_chunks(table, reader, state.counts.rows)):
                        self._post_chunk(chunk, reader, rejects)
                        progress.show(state.counts.rows, chunk.position, table.total)
                        if self._stop.is_requested:
                            raise self._build_interruption_error()
                except UnreadableRowsError as error:
                    raise UnreadableRemainderError(
                        f"{source.path}: {error}. {self._format_progress()}, and the rest of the file was not read. "
                        "Correct the file and repeat the same command; posted rows are not posted again"
                        f"{self._format_rejected()}"
                    ) from None
        self._files.state.unlink(missing_ok=True)
        return state.counts

    def _resume(self) -> None:
        earlier_state = read_state(self._files.state, ImportState)
        if earlier_state is None:
            if self._files.state.exists():  # perhaps another version has written it
                self._note_restart(f"can't read {self._files.state}")
            return
        new_state = self._state
        if (earlier_state.file, earlier_state.options, earlier_state.target) != (
            new_state.file,
            new_state.options,
            new_state.target,
        ):
            self._note_restart(
                f"{self._files.state} belongs to an import of another file, to another service or with other options"
            )
            return
        if (
            hash_file(self._files.rejects, earlier_state.rejects_bytes)
            != earlier_state.rejects_sha256
        ):
            self._note_restart(f"{self._files.rejects} was changed")
            return
        self._state = earlier_state
        self.rows_before = earlier_state.counts.rows
        print_note(
            f"saldo: continuing the interrupted import after row {earlier_state.counts.rows:,}"
        )

    @staticmethod
    def _note_restart(reason: str) -> None:
        print_note(
            f"saldo: {reason}, so the import starts at the first row; posted rows are not posted again"
        )

    def _post_chunk(self, chunk: RowChunk, reader: RowMapper, rejects: RejectsFile) -> None:
        try:
            settled = self._sender.post(chunk.items) if chunk.items else []
        except KeyboardInterrupt:
            raise self._build_interruption_error() from None
        except SaldoError as error:
            print_note(f"saldo: {self._format_progress()}; repeat the same command to continue")
            raise error from None
        counts = self._state.counts
        rejected = list(chunk.invalid_rows)
        requests = {id(item.future): item.request for item in chunk.items}
        for row, outcome in settled:
            if isinstance(outcome, Posted):
                count_posted(counts, requests[id(row)], outcome.replayed)
            elif isinstance(outcome, RefusedError):
                counts.refused += 1
                rejected.append((row, str(outcome)))
            else:
                counts.invalid += 1
                rejected.append((row, str(outcome)))
        counts.invalid += len(chunk.invalid_rows)
        counts.rows += len(chunk.items) + len(chunk.invalid_rows)
        rejected.sort(key=lambda each: each[0].number)
        rejects.write(
            [
                (str(row.line), reason, *reader.build_rejected_values(row))
                for row, reason in rejected
            ]
        )
        self._state.rejects_bytes = rejects.size_bytes
        self._state.rejects_sha256 = rejects.sha256
        write_state(self._files.state, self._state)

    def _build_interruption_error(self) -> CommandError:
        return CommandError(
            f"interrupted: {self._format_progress()}; repeat the same command to continue",
            ExitCode.INTERRUPTED,
        )

    def _format_rejected(self) -> str:
        counts = self._state.counts
        there = counts.refused + counts.invalid
        return f"; rejected rows ({there:,}) are in {self._files.rejects}" if there else ""

    def _format_progress(self) -> str:
        return f"{self._state.counts.rows:,} rows were processed"


def _read_chunks(table: RowFile, reader: RowMapper, skipped_rows: int) -> Iterator[RowChunk]:
    rows = islice(read_rows(table, reader), skipped_rows, None)
    unreadable: UnreadableRowsError | None = None
    while unreadable is None:
        some: list[Row] = []
        try:
            for row in islice(rows, CHUNK_ROWS):
                some.append(row)  # noqa: PERF402 - the rows before an unreadable one are kept
        except UnreadableRowsError as error:
            unreadable = error
        if not some:
            break
        items: list[Item[Row]] = []
        bad: list[tuple[Row, str]] = []
        for row in some:
            try:
                items.append(Item(reader.build_request(row), row))
            except InvalidRowError as error:
                bad.append((row, str(error)))
        yield RowChunk(items, bad, table.position())
    if unreadable is not None:  # the rows before the unreadable one are posted first
        raise unreadable
