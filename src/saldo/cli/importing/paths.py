"""Paths of the files that an import writes next to its input."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import NamedTuple

from saldo.cli.exit_codes import CommandError, ExitCode
from saldo.cli.file_formats import Format
from saldo.cli.state_file import build_sibling_path


class ImportPaths(NamedTuple):
    """The files that an import writes."""

    rejects: Path
    state: Path
    lock: Path

    def check(self) -> None:
        """Check, before any row is posted, that no directory has the name of the state file or the rejects file.

        Raises:
            CommandError: One of the files can't be written.
        """
        try:
            for path in (self.state, self.rejects):
                if path.is_dir():
                    raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        except OSError as error:
            raise CommandError(
                f"can't write {error.filename}: {error.strerror}", ExitCode.USAGE
            ) from None


def build_import_paths(file: Path, format_: Format, directory: Path | None) -> ImportPaths:
    """Return the files of an import.

    Args:
        directory: The directory of these files. None means the directory of the input.

    Raises:
        CommandError: The directory does not exist.
    """
    if directory is not None and not directory.is_dir():
        raise CommandError(
            f"--state-directory {directory}: there is no such directory", ExitCode.USAGE
        )
    named = file if directory is None else directory / file.name
    # The rejects file has the delimiter of the input. If its name ends with .tsv, it is read with a tab by default.
    suffix = ".tsv" if file.suffix.lower() == ".tsv" and format_ is Format.CSV else ".csv"
    return ImportPaths(
        build_sibling_path(named, f".rejected{suffix}"),
        build_sibling_path(named, ".import.json"),
        build_sibling_path(named, ".import.lock"),
    )
