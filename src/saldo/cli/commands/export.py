"""`saldo export` writes all transactions, or some of them, to a file."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, BinaryIO

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
from saldo.cli.exporting.sources import (
    COLUMNS,
    ExportFilter,
    ExportPart,
    ExportPosition,
    read_log_parts,
    read_user_parts,
)
from saldo.cli.exporting.writers import convert_to_parquet, encode_header, encode_lines
from saldo.cli.file_formats import Format, detect_format, import_pyarrow
from saldo.cli.importing.prefetch import prefetch
from saldo.cli.options import Json, Since, Until
from saldo.cli.output import format_count, print_json, print_line, print_note
from saldo.cli.private_files import create_or_replace_file, write_atomically
from saldo.cli.private_files import open_existing_file as open_kept
from saldo.cli.progress import ProgressDisplay, show_progress
from saldo.cli.signals import StopRequest, handle_stop_signals
from saldo.cli.state_file import build_sibling_path, read_state, write_state
from saldo.cli.times import parse_time_range
from saldo.ledger.model import SHARDS

STATE_SECONDS = 2.0
"""Interval between two writes of the state file, in seconds. If the command is killed, at most this much work is
repeated."""

DECIMALS_DEFAULT = 2
"""Number of decimals in a Parquet file without rows. In a file with rows, the number is derived from the amounts."""


class ExportState(msgspec.Struct):
    """The state file of an export, next to the output.

    Attributes:
        options: The options of the export.
        target: The name of the service.
        position: The position in the log up to which transactions were exported.
        size: The size of the unfinished output file at this position, in bytes. Bytes after it are discarded.
    """

    options: str
    target: str
    position: ExportPosition
    size: int
    rows: int
    decimals: int


def export(
    file: Annotated[
        Path,
        typer.Argument(help="File to write. - writes to stdout, in CSV unless --format is given."),
    ],
    format_: Annotated[
        Format | None,
        typer.Option(
            "--format", help="Format of the file. The default is that of the file's extension."
        ),
    ] = None,
    user: Annotated[
        int | None, typer.Option(help="Export the transactions of this user only.", min=1)
    ] = None,
    since: Since = None,
    until: Until = None,
    recorded_from: Annotated[
        str | None,
        typer.Option(help="Export transactions that were recorded at this time or later."),
    ] = None,
    recorded_to: Annotated[
        str | None, typer.Option(help="Export transactions that were recorded before this time.")
    ] = None,
    posted: Annotated[
        bool,
        typer.Option("--posted", help="Export posted transactions only, without refused ones."),
    ] = False,
    columns: Annotated[
        str | None,
        typer.Option(help=f"Columns to write, in this order. The default is {','.join(COLUMNS)}."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing file.")
    ] = False,
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
    """Write all transactions to a file.

    The transactions of each user are sorted from the oldest to the newest. `saldo import` can read the file. If the
    export is interrupted, the same command continues it (with --user, it starts again). The file gets its name when it
    is complete. The key must have access to all users, unless --user is given.
    """
    to_stdout = str(file) == "-"
    file_format = format_ or Format.CSV if to_stdout else detect_format(file, format_)
    if file_format is Format.PARQUET:
        import_pyarrow("pyarrow.parquet")
        if to_stdout:
            raise CommandError(
                "--format parquet can't be written to stdout: give the name of a file",
                ExitCode.USAGE,
            )
    if not to_stdout and file.exists() and not overwrite:
        raise CommandError(f"{file} already exists: use --overwrite to replace it", ExitCode.USAGE)
    if not to_stdout and not file.parent.is_dir():
        raise CommandError(
            f"can't write {file}: the directory {file.parent} does not exist", ExitCode.USAGE
        )
    export_filter = ExportFilter(
        posted,
        *parse_time_range("--from", since, "--to", until),
        *parse_time_range("--recorded-from", recorded_from, "--recorded-to", recorded_to),
    )
    names = _parse_columns(columns)
    began = time.monotonic()
    with (
        connect(ServiceOptions(url, key, key_file, local), timeout_seconds=patience) as service,
        handle_stop_signals() as stop,
    ):
        if to_stdout:
            sys.stdout.buffer.write(encode_header(file_format, names))
            for part in prefetch(_read_parts(service, user, export_filter, ExportPosition())):
                if stop.is_requested:
                    raise CommandError("interrupted", ExitCode.INTERRUPTED)
                sys.stdout.buffer.write(
                    encode_lines(file_format, names, export_filter.apply(part.lines))
                )
            sys.stdout.buffer.flush()
            return
        rows = ExportRun(file, file_format, names, user, export_filter, service, stop).run()
    seconds = time.monotonic() - began
    if json_:
        print_json({"file": str(file), "rows": rows, "seconds": round(seconds, 3)})
    else:
        rate = rows / max(seconds, 0.001)
        print_line(
            f"{file}: {format_count(rows, 'transaction')} in {seconds:.1f} s, {rate:,.0f} rows/s"
        )


class ExportRun:
    """A run of an export to a file."""

    def __init__(
        self,
        path: Path,
        format_: Format,
        columns: tuple[str, ...],
        user_id: int | None,
        export_filter: ExportFilter,
        service: ConnectedService,
        stop: StopRequest,
    ) -> None:
        self._path = path
        self._format = format_
        self._columns = columns
        self._user_id = user_id
        self._filter = export_filter
        self._service = service
        self._stop = stop
        self._part_path = build_sibling_path(path, ".part")
        self._state_path = build_sibling_path(path, ".export.json")
        options = repr((format_, columns, user_id, export_filter))
        self._state = ExportState(options, service.name, ExportPosition(), 0, 0, DECIMALS_DEFAULT)

    def run(self) -> int:
        """Write the rows that earlier runs have not written, give the file its final name, and return the number of all
        its rows."""
        try:
            with self._open_part_file() as file:
                self._fetch_rows(file)
                _flush_to_disk(file)
            if self._format is Format.PARQUET:
                self._convert_to_parquet()
            else:
                self._part_path.replace(self._path)
        except OSError as error:
            raise CommandError(
                f"can't write {error.filename or self._path}: {error.strerror}"
            ) from None
        self._state_path.unlink(missing_ok=True)
        return self._state.rows

    def _open_part_file(self) -> BinaryIO:
        earlier_state = read_state(self._state_path, ExportState)
        new_state = self._state
        # An export of one user can't be continued, because the list is read from its newest transaction on.
        if (
            earlier_state is not None
            and self._user_id is None
            and (earlier_state.options, earlier_state.target)
            == (new_state.options, new_state.target)
            and self._part_path.exists()
            and self._part_path.stat().st_size >= earlier_state.size
        ):
            self._state = earlier_state
            print_note(
                f"saldo: continuing the interrupted export after {format_count(earlier_state.rows, 'row')}"
            )
            kept_part = open_kept(self._part_path)
            kept_part.truncate(earlier_state.size)
            kept_part.seek(earlier_state.size)
            return kept_part
        part = create_or_replace_file(self._part_path)
        new_state.size = part.write(encode_header(self._format, self._columns))
        return part

    def _fetch_rows(self, file: BinaryIO) -> None:
        state = self._state
        saved_at = time.monotonic()
        parts = _read_parts(self._service, self._user_id, self._filter, state.position)
        with show_progress("exporting", count=state.rows) as progress:
            for part in prefetch(parts):
                lines = self._filter.apply(part.lines)
                state.size += file.write(encode_lines(self._format, self._columns, lines))
                state.rows += len(lines)
                state.position = part.position
                if lines:
                    state.decimals = len(lines[0].amount.partition(".")[2])
                self._show_progress(progress, part)
                if self._stop.is_requested:
                    self._save_state(file)
                    after = (
                        "to continue" if self._user_id is None else "to start from the beginning"
                    )
                    raise CommandError(
                        f"interrupted after {format_count(state.rows, 'row')}; repeat the same command {after}",
                        ExitCode.INTERRUPTED,
                    )
                if time.monotonic() > saved_at + STATE_SECONDS:
                    self._save_state(file)
                    saved_at = time.monotonic()

    def _show_progress(self, progress: ProgressDisplay, part: ExportPart) -> None:
        # The number of the shard shows the progress, because users are distributed evenly over the shards.
        progress.show(self._state.rows, part.position.shard, SHARDS)

    def _save_state(self, file: BinaryIO) -> None:
        _flush_to_disk(file)
        write_state(self._state_path, self._state)

    def _convert_to_parquet(self) -> None:
        """Convert the fetched lines to Parquet."""
        with show_progress("writing Parquet") as progress, write_atomically(self._path) as target:
            convert_to_parquet(
                self._part_path,
                target,
                self._columns,
                self._state.decimals,
                lambda rows: progress.show(rows, rows, self._state.rows),
            )
        self._part_path.unlink()


def _flush_to_disk(file: BinaryIO) -> None:
    """Flush the file to the disk. After a power loss it must contain all rows that the state file counts. Under its
    final name it must be complete."""
    file.flush()
    os.fsync(file.fileno())


def _read_parts(
    service: ConnectedService,
    user_id: int | None,
    export_filter: ExportFilter,
    position: ExportPosition,
) -> Iterator[ExportPart]:
    if user_id is None:
        return read_log_parts(service.connection, position)
    return read_user_parts(service.connection, user_id, export_filter)


def _parse_columns(option: str | None) -> tuple[str, ...]:
    names = COLUMNS if option is None else tuple(name.strip() for name in option.split(","))
    if len(set(names)) != len(names) or not set(names) <= set(COLUMNS):
        raise CommandError(
            f"--columns {option!r}: expected different names out of {','.join(COLUMNS)}",
            ExitCode.USAGE,
        )
    return names
