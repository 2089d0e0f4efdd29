"""Which files an import writes beside the one that it reads."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import NamedTuple

from saldo.cli.exits import CommandError, Exit
from saldo.cli.resumption import beside
from saldo.cli.tables import Format


class Files(NamedTuple):
    """What an import writes."""

    rejects: Path
    state: Path
    lock: Path

    def check(self) -> None:
        """
        Raises:
            CommandError: one of them can't be written. Rather than when rows are posted that it should tell of.
        """
        try:
            for path in (self.state, beside(self.state, ".new")):
                if path.is_dir():
                    raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
            if self.rejects.exists():
                self.rejects.open("r+b").close()
        except OSError as error:
            raise CommandError(
                f"{error.filename} can't be written: {error.strerror}", Exit.USAGE
            ) from None


def files_of(file: Path, format_: Format, directory: Path | None) -> Files:
    """Of an import of a file.

    Args:
        directory: where they are; None: in the file's.

    Raises:
        CommandError: there is no such directory.
    """
    if directory is not None and not directory.is_dir():
        raise CommandError(f"--state-directory {directory}: there is no such directory", Exit.USAGE)
    named = file if directory is None else directory / file.name
    # It is separated as the input is, and a .tsv is read so without an option.
    suffix = ".tsv" if file.suffix.lower() == ".tsv" and format_ is Format.CSV else ".csv"
    return Files(
        beside(named, f".rejected{suffix}"),
        beside(named, ".import.json"),
        beside(named, ".import.lock"),
    )
