"""The published heads that `saldo verify --seals` reads, and the options with the verifier's knowledge about them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from saldo.cli.exit_codes import CommandError, ExitCode
from saldo.ledger.audit.head_chain import HeadFile
from saldo.ledger.heads import DOCUMENT_BYTES_MAX, parse_public_key
from saldo.store.errors import ConfigurationError


def read_head_files(directories: Sequence[Path]) -> Iterator[HeadFile]:
    """Yield the files in directories. Subdirectories, and files whose names begin with a dot, are left out.

    Raises:
        ConfigurationError: A directory or a file can't be read.
    """
    for directory in directories:
        try:
            for path in sorted(directory.iterdir()):
                if path.name.startswith(".") or path.is_dir():
                    continue
                with path.open("rb") as file:
                    yield HeadFile(path.name, file.read(DOCUMENT_BYTES_MAX + 1))
        except OSError as error:
            raise ConfigurationError(
                f"--seals {directory}: can't read {error.filename or directory}: {error.strerror}"
            ) from None


def parse_public_keys(texts: Sequence[str]) -> frozenset[bytes]:
    """Return the public keys of the option --key.

    Raises:
        CommandError: A text is not a public key.
    """
    try:
        return frozenset(parse_public_key(text) for text in texts)
    except ValueError as error:
        raise CommandError(f"--key: {error}", ExitCode.USAGE) from None
