"""The formats of imported and exported files: detection by the file's name, and the optional library for Parquet."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from types import ModuleType
from typing import Final

from saldo.cli.exit_codes import CommandError, ExitCode


class Format(StrEnum):
    """The format of a file."""

    CSV = "csv"
    NDJSON = "ndjson"
    PARQUET = "parquet"


_SUFFIXES: Final = {
    ".csv": Format.CSV,
    ".tsv": Format.CSV,
    ".ndjson": Format.NDJSON,
    ".jsonl": Format.NDJSON,
    ".parquet": Format.PARQUET,
}


def detect_format(path: Path, option: Format | None) -> Format:
    """Return the format from the option, or else from the file's name.

    Raises:
        CommandError: The format is not given, and the name does not show it.
    """
    format_ = option or _SUFFIXES.get(path.suffix.lower())
    if format_ is None:
        raise CommandError(
            f"{path}: the extension does not show the format; use --format", ExitCode.USAGE
        )
    return format_


def import_pyarrow(name: str) -> ModuleType:
    """Import a module of pyarrow, which is an extra.

    Raises:
        CommandError: The extra is not installed.
    """
    from importlib import import_module  # noqa: PLC0415 - next to the import that it serves

    try:
        return import_module(name)
    except ImportError:
        raise CommandError(
            "Parquet files require an extra: pip install 'saldo-ledger[parquet]'", ExitCode.USAGE
        ) from None
