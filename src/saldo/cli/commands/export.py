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
    read_log,
    read_user,
)
from saldo.cli.exporting.writers import encode_lines, header_row, make_parquet
from saldo.cli.importing.prefetch import prefetch
from saldo.cli.options import Json, Since, Until
from saldo.cli.output import format_count, print_json, print_line, print_note
from saldo.cli.private_files import create_or_replace, write_atomically
from saldo.cli.private_files import open_existing as open_kept
from saldo.cli.progress import ProgressDisplay, show_progress
from saldo.cli.row_files import Format, detect_format, import_pyarrow
from saldo.cli.signals import StopRequest, handle_stop_signals
from saldo.cli.state_file import read_state, sibling_path, write_state
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
        wanted: The options of the export.
        target: The name of the service.
        place: The position in the log up to which transactions were exported.
        size: The size of the unfinished output file at this position, in bytes. Bytes after it are discarded.
    """

    wanted: str
    target: str
    place: ExportPosition
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
    json_: Json = False,
) -> None:
    """Write all transactions to a file.

    The transactions of each user are sorted from the oldest to the newest. `saldo import` can read the file. If the
    export is interrupted, the same command continues it (with --user, it starts again). The file gets its name when it
    is complete. The key must have access to all users, unless --user is given.
    """
    to_stdout = str(file) == "-"
    written = format_ or Format.CSV if to_stdout else detect_format(file, format_)
    if written is Format.PARQUET:
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
    wanted = ExportFilter(
        posted,
        *parse_time_range("--from", since, "--to", until),
        *parse_time_range("--recorded-from", recorded_from, "--recorded-to", recorded_to),
    )
    names = _columns(columns)
    began = time.monotonic()
    with (
        connect(ServiceOptions(url, key, key_file), timeout_seconds=patience) as service,
        handle_stop_signals() as stop,
    ):
        if to_stdout:
            sys.stdout.buffer.write(header_row(written, names))
            for part in prefetch(_parts(service, user, wanted, ExportPosition())):
                if stop.is_requested:
                    raise CommandError("interrupted", ExitCode.INTERRUPTED)
                sys.stdout.buffer.write(encode_lines(written, names, wanted.apply(part.lines)))
            sys.stdout.buffer.flush()
            return
        rows = ExportRun(file, written, names, user, wanted, service, stop).run()
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
        wanted: ExportFilter,
        service: ConnectedService,
        stop: StopRequest,
    ) -> None:
        self._path = path
        self._format = format_
        self._columns = columns
        self._user_id = user_id
        self._wanted = wanted
        self._service = service
        self._stop = stop
        self._part = sibling_path(path, ".part")
        self._state_path = sibling_path(path, ".export.json")
        options = repr((format_, columns, user_id, wanted))
        self._state = ExportState(options, service.name, ExportPosition(), 0, 0, DECIMALS_DEFAULT)

    def run(self) -> int:
        """Write the rows that earlier runs have not written, give the file its final name, and return the number of all
        its rows."""
        try:
            with self._open() as file:
                self._fetch(file)
                _flush(file)
            if self._format is Format.PARQUET:
                self._convert()
            else:
                self._part.replace(self._path)
        except OSError as error:
            raise CommandError(
                f"can't write {error.filename or self._path}: {error.strerror}"
            ) from None
        self._state_path.unlink(missing_ok=True)
        return self._state.rows

    def _open(self) -> BinaryIO:
        kept = read_state(self._state_path, ExportState)
        ours = self._state
        # An export of one user can't be continued, because the list is read from its newest transaction on.
        if (
            kept is not None
            and self._user_id is None
            and (kept.wanted, kept.target) == (ours.wanted, ours.target)
            and self._part.exists()
            and self._part.stat().st_size >= kept.size
        ):
            self._state = kept
            print_note(
                f"saldo: continuing the interrupted export after {format_count(kept.rows, 'row')}"
            )
            kept_part = open_kept(self._part)
            kept_part.truncate(kept.size)
            kept_part.seek(kept.size)
            return kept_part
        part = create_or_replace(self._part)
        ours.size = part.write(header_row(self._format, self._columns))
        return part

    def _fetch(self, file: BinaryIO) -> None:
        state = self._state
        kept_at = time.monotonic()
        parts = _parts(self._service, self._user_id, self._wanted, state.place)
        with show_progress("exporting", count=state.rows) as progress:
            for part in prefetch(parts):
                lines = self._wanted.apply(part.lines)
                state.size += file.write(encode_lines(self._format, self._columns, lines))
                state.rows += len(lines)
                state.place = part.place
                if lines:
                    state.decimals = len(lines[0].amount.partition(".")[2])
                self._show(progress, part)
                if self._stop.is_requested:
                    self._save_state(file)
                    after = (
                        "to continue" if self._user_id is None else "to start from the beginning"
                    )
                    raise CommandError(
                        f"interrupted after {format_count(state.rows, 'row')}; repeat the same command {after}",
                        ExitCode.INTERRUPTED,
                    )
                if time.monotonic() > kept_at + STATE_SECONDS:
                    self._save_state(file)
                    kept_at = time.monotonic()

    def _show(self, progress: ProgressDisplay, part: ExportPart) -> None:
        # The number of the shard shows the progress, because users are distributed evenly over the shards.
        progress.show(self._state.rows, part.place.shard, SHARDS)

    def _save_state(self, file: BinaryIO) -> None:
        _flush(file)
        write_state(self._state_path, self._state)

    def _convert(self) -> None:
        """Convert the fetched lines to Parquet."""
        with show_progress("writing Parquet") as progress, write_atomically(self._path) as target:
            make_parquet(
                self._part,
                target,
                self._columns,
                self._state.decimals,
                lambda rows: progress.show(rows, rows, self._state.rows),
            )
        self._part.unlink()


def _flush(file: BinaryIO) -> None:
    """Flush the file to the disk. After a power loss it must contain all rows that the state file counts. Under its
    final name it must be complete."""
    file.flush()
    os.fsync(file.fileno())


def _parts(
    service: ConnectedService, user_id: int | None, wanted: ExportFilter, place: ExportPosition
) -> Iterator[ExportPart]:
    if user_id is None:
        return read_log(service.connection, place)
    return read_user(service.connection, user_id, wanted)


def _columns(given: str | None) -> tuple[str, ...]:
    names = COLUMNS if given is None else tuple(name.strip() for name in given.split(","))
    if len(set(names)) != len(names) or not set(names) <= set(COLUMNS):
        raise CommandError(
            f"--columns {given!r}: expected different names out of {','.join(COLUMNS)}",
            ExitCode.USAGE,
        )
    return names
