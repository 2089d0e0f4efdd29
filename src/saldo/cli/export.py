"""`saldo export`: all transactions, or some, to a file."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, BinaryIO

import msgspec
import typer

from saldo.cli.ahead import ahead
from saldo.cli.clock import bounds
from saldo.cli.connecting import Key, KeyFile, Service, Target, Url, connected
from saldo.cli.exits import CommandError, Exit
from saldo.cli.exporting import COLUMNS, Part, Place, Wanted, of_log, of_user
from saldo.cli.options import Json, Since, Until
from saldo.cli.output import note, print_json, say
from saldo.cli.progress import Display, display
from saldo.cli.resumption import beside, read_state, write_state
from saldo.cli.stopping import Stop, stopping
from saldo.cli.tables import Format, format_of, pyarrow
from saldo.cli.written import encoded, heading, make_parquet
from saldo.ledger.model import SHARDS

KEPT_SECONDS = 2.0
"""Between two writes of the state: so much is asked for again after a kill at most."""

DECIMALS_DEFAULT = 2
"""Of an empty Parquet file: there is no amount to see it by."""


class State(msgspec.Struct):
    """What is kept beside the output. wanted: the options; size: bytes of the part that are sure."""

    wanted: str
    target: str
    place: Place
    size: int
    rows: int
    decimals: int


def export(
    file: Annotated[
        Path, typer.Argument(help="Where to write; - is stdout (CSV, unless --format says else).")
    ],
    format_: Annotated[
        Format | None, typer.Option("--format", help="Not given: by the name of the file.")
    ] = None,
    user: Annotated[int | None, typer.Option(help="Only of this user.", min=1)] = None,
    since: Since = None,
    until: Until = None,
    recorded_from: Annotated[str | None, typer.Option(help="Recorded from then on.")] = None,
    recorded_to: Annotated[str | None, typer.Option(help="Recorded before then.")] = None,
    posted: Annotated[bool, typer.Option("--posted", help="Without refused ones.")] = False,
    columns: Annotated[
        str | None,
        typer.Option(help=f"Which columns, in which order. Not given: {','.join(COLUMNS)}."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a file that is there.")
    ] = False,
    patience: Annotated[
        float,
        typer.Option(help="Seconds to wait for a service that is away, before giving up.", min=1),
    ] = 300.0,
    url: Url = None,
    key: Key = None,
    key_file: KeyFile = None,
    json_: Json = False,
) -> None:
    """Write all transactions to a file, the oldest of each user first; what it has can be imported again.

    Interrupted, it goes on with the same command; the file has its name only when it is whole. It needs a key for all
    users, or --user.
    """
    to_stdout = str(file) == "-"
    written = format_ or Format.CSV if to_stdout else format_of(file, format_)
    if written is Format.PARQUET:
        pyarrow("pyarrow.parquet")
        if to_stdout:
            raise CommandError("Parquet can't be written to stdout", Exit.USAGE)
    if not to_stdout and file.exists() and not overwrite:
        raise CommandError(f"{file} is there already: see --overwrite", Exit.USAGE)
    if not to_stdout and not file.parent.is_dir():
        raise CommandError(f"{file}: there is no directory {file.parent}", Exit.USAGE)
    wanted = Wanted(
        posted,
        *bounds("--from", since, "--to", until),
        *bounds("--recorded-from", recorded_from, "--recorded-to", recorded_to),
    )
    names = _columns(columns)
    began = time.monotonic()
    with (
        connected(Target(url, key, key_file), timeout_seconds=patience) as service,
        stopping() as stop,
    ):
        if to_stdout:
            sys.stdout.buffer.write(heading(written, names))
            for part in ahead(_parts(service, user, wanted, Place())):
                if stop.asked:
                    raise CommandError("interrupted", Exit.INTERRUPTED)
                sys.stdout.buffer.write(encoded(written, names, wanted.of(part.lines)))
            sys.stdout.buffer.flush()
            return
        rows = Export(file, written, names, user, wanted, service, stop).run()
    seconds = time.monotonic() - began
    if json_:
        print_json({"file": str(file), "rows": rows, "seconds": round(seconds, 3)})
    else:
        rate = rows / max(seconds, 0.001)
        say(f"{file}: {rows:,} transactions, {seconds:.1f} s, {rate:,.0f} rows/s")


class Export:
    """One run, to a file."""

    def __init__(
        self,
        path: Path,
        format_: Format,
        columns: tuple[str, ...],
        user_id: int | None,
        wanted: Wanted,
        service: Service,
        stop: Stop,
    ) -> None:
        self._path = path
        self._format = format_
        self._columns = columns
        self._user_id = user_id
        self._wanted = wanted
        self._service = service
        self._stop = stop
        self._part = beside(path, ".part")
        self._state_path = beside(path, ".export.json")
        options = repr((format_, columns, user_id, wanted))
        self._state = State(options, service.name, Place(), 0, 0, DECIMALS_DEFAULT)

    def run(self) -> int:
        """Writes what an earlier run has not, and gives the file its name; how many rows it has."""
        try:
            with self._open() as file:
                self._fetch(file)
            if self._format is Format.PARQUET:
                self._convert()
            else:
                self._part.replace(self._path)
        except OSError as error:
            raise CommandError(f"{error.filename or self._path}: {error.strerror}") from None
        self._state_path.unlink(missing_ok=True)
        return self._state.rows

    def _open(self) -> BinaryIO:
        kept = read_state(self._state_path, State)
        ours = self._state
        # A user's list is read from its newest end: there is no place in it to go on from.
        if (
            kept is not None
            and self._user_id is None
            and (kept.wanted, kept.target) == (ours.wanted, ours.target)
            and self._part.exists()
            and self._part.stat().st_size >= kept.size
        ):
            self._state = kept
            note(f"saldo: going on after {kept.rows:,} rows")
            kept_part = self._part.open("r+b")
            kept_part.truncate(kept.size)
            kept_part.seek(kept.size)
            return kept_part
        part = self._part.open("wb")
        ours.size = part.write(heading(self._format, self._columns))
        return part

    def _fetch(self, file: BinaryIO) -> None:
        state = self._state
        kept_at = time.monotonic()
        parts = _parts(self._service, self._user_id, self._wanted, state.place)
        with display("exporting", state.rows) as progress:
            for part in ahead(parts):
                lines = self._wanted.of(part.lines)
                state.size += file.write(encoded(self._format, self._columns, lines))
                state.rows += len(lines)
                state.place = part.place
                if lines:
                    state.decimals = len(lines[0].amount.partition(".")[2])
                self._show(progress, part)
                if self._stop.asked:
                    self._keep(file)
                    after = "goes on from there" if self._user_id is None else "begins again"
                    raise CommandError(
                        f"interrupted: {state.rows:,} rows are written; the same command {after}",
                        Exit.INTERRUPTED,
                    )
                if time.monotonic() > kept_at + KEPT_SECONDS:
                    self._keep(file)
                    kept_at = time.monotonic()

    def _show(self, progress: Display, part: Part) -> None:
        # Users are spread evenly over the shards.
        progress.show(self._state.rows, part.place.shard, SHARDS)

    def _keep(self, file: BinaryIO) -> None:
        file.flush()
        write_state(self._state_path, self._state)

    def _convert(self) -> None:
        """Of the lines that were fetched."""
        made = beside(self._path, ".parquet-part")
        with display("writing Parquet") as progress, made.open("wb") as target:
            make_parquet(
                self._part,
                target,
                self._columns,
                self._state.decimals,
                lambda rows: progress.show(rows, rows, self._state.rows),
            )
        made.replace(self._path)
        self._part.unlink()


def _parts(service: Service, user_id: int | None, wanted: Wanted, place: Place) -> Iterator[Part]:
    if user_id is None:
        return of_log(service.connection, place)
    return of_user(service.connection, user_id, wanted)


def _columns(given: str | None) -> tuple[str, ...]:
    names = COLUMNS if given is None else tuple(name.strip() for name in given.split(","))
    if len(set(names)) != len(names) or not set(names) <= set(COLUMNS):
        raise CommandError(f"--columns: expected some of {','.join(COLUMNS)}", Exit.USAGE)
    return names
