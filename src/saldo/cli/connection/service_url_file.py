"""The file with the URL of the service that runs on a data directory, for commands on the same machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from saldo.cli.private_files import write_atomically

FILE_NAME: Final = "service.url"
"""Name of the file in the data directory. A killed service leaves the file behind, so its readers probe the URL."""


@contextmanager
def announce_url(data_dir: Path, url: str) -> Iterator[None]:
    """Write the file while the block runs."""
    file = data_dir / FILE_NAME
    # The file is a convenience, and the service works without it.
    with suppress(OSError), write_atomically(file) as new:
        new.write(f"{url}\n".encode())
    try:
        yield
    finally:
        with suppress(OSError):
            file.unlink(missing_ok=True)


def read_announced_url(data_dir: Path) -> str | None:
    """Return the URL in the file; None if there is none. The service may no longer run."""
    try:
        return (data_dir / FILE_NAME).read_text("utf-8").strip() or None
    except (OSError, UnicodeDecodeError):
        return None
