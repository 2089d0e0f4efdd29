"""A dry run of an import. Every row is parsed as the service would parse it, and nothing is posted."""

from __future__ import annotations

import sys
from decimal import Decimal
from typing import Final

from saldo.cli.exit_codes import CommandError, ExitCode
from saldo.cli.file_formats import Format
from saldo.cli.importing.duplicate_uuids import DuplicateFinder
from saldo.cli.importing.row_counts import RowCounts, count_posted
from saldo.cli.importing.row_mapping import InvalidRowError, RowMapper
from saldo.cli.importing.row_readers import RowFile, UnreadableRowsError, open_row_file
from saldo.cli.importing.source_file import SourceFile, read_rows
from saldo.cli.output import print_note
from saldo.cli.progress import ProgressDisplay, show_progress
from saldo.cli.signals import StopRequest
from saldo.parsing.faults import InvalidRequestError
from saldo.parsing.transactions import ParserOptions, parse_transaction
from saldo.settings import model as settings_module

FAULTS_SHOWN_MAX: Final = 20
"""Maximum number of faults that a dry run prints to a terminal. If stderr is not a terminal, it prints all of them."""

PROGRESS_ROWS: Final = 10_000
"""Rows between two updates of the progress."""


class DryRun:
    """A dry run.

    Attributes:
        counts: The numbers of rows by the outcome that an import would have.
        stopped: The reason why the rest of the file could not be read; None if all rows were read.
    """

    def __init__(self, source: SourceFile, stop: StopRequest) -> None:
        self.counts = RowCounts()
        self.stopped: UnreadableRowsError | None = None
        self._source = source
        self._stop = stop
        self._shown_max = FAULTS_SHOWN_MAX if sys.stderr.isatty() else None
        self._options = _load_parser_options()

    def run(self) -> None:
        """Check every row, then find rows with the same uuid.

        Raises:
            CommandError: The file can't be read, or the run is interrupted.
        """
        source = self._source
        field_columns = list(source.mapping.columns.values())
        with (
            open_row_file(source.path, source.format, source.delimiter, field_columns) as table,
            show_progress("checking") as progress,
            DuplicateFinder() as duplicates,
        ):
            headed = source.format is not Format.NDJSON
            reader = RowMapper(source.mapping, table.columns, has_header=headed)
            try:
                self._check_rows(table, reader, duplicates, progress)
            except UnreadableRowsError as error:
                self.stopped = error
            self._count_duplicates(duplicates)
        if self._shown_max is not None and self.counts.invalid > self._shown_max:
            print_note(
                f"and {self.counts.invalid - self._shown_max:,} more invalid rows; redirect stderr to a "
                "file (2> FILE) to "
                "see all"
            )

    def _check_rows(
        self,
        table: RowFile,
        reader: RowMapper,
        duplicates: DuplicateFinder,
        progress: ProgressDisplay,
    ) -> None:
        counts = self.counts
        for row in read_rows(table, reader):
            counts.rows += 1
            try:
                request = reader.build_request(row)
                parsed = parse_transaction(request.encode_body(), None, self._options)
            except (InvalidRowError, InvalidRequestError) as error:
                self._count_invalid(row.line, str(error))
            else:
                count_posted(counts, request, replayed=False)
                duplicates.add(parsed, row.line)
            if counts.rows % PROGRESS_ROWS == 0:
                progress.show(counts.rows, table.position(), table.total)
                if self._stop.is_requested:
                    raise CommandError(
                        f"interrupted: {counts.rows:,} rows were checked", ExitCode.INTERRUPTED
                    )

    def _count_duplicates(self, duplicates: DuplicateFinder) -> None:
        counts = self.counts
        for each in duplicates.find():
            counts.posted -= 1
            amount = Decimal(each.signed_minor).scaleb(-self._options.decimals)
            if amount > 0:
                counts.deposited -= amount
            else:
                counts.withdrawn += amount
            if each.replayed:
                counts.replayed += 1
            else:
                self._count_invalid(
                    each.line,
                    f"uuid is also that of line {each.first_line}, which has another amount, user_id, type "
                    "or timestamp",
                )

    def _count_invalid(self, line: int, reason: str) -> None:
        self.counts.invalid += 1
        if self._shown_max is None or self.counts.invalid <= self._shown_max:
            print_note(f"line {line}: {reason}")


def _load_parser_options() -> ParserOptions:
    settings = settings_module.load_settings()
    return ParserOptions(
        settings.tzinfo,
        settings.currency_decimals,
        settings.amount_max_minor,
        settings.name_length_max,
    )
