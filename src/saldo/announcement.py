"""Where the service of a data directory answers: a file beside the data, for commands on the same machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

NAME: Final = "service.url"
"""In the data directory. After a kill it is left behind: whoever reads it asks whether somebody answers there."""


@contextmanager
def announced(data_dir: Path, url: str) -> Iterator[None]:
    """The file, as long as the service runs."""
    file = data_dir / NAME
    with suppress(OSError):  # a convenience, no reason not to serve
        file.write_text(f"{url}\n", "utf-8")
    try:
        yield
    finally:
        with suppress(OSError):
            file.unlink(missing_ok=True)


def announced_url(data_dir: Path) -> str | None:
    """What a service has written there, which may not run any more."""
    try:
        return (data_dir / NAME).read_text("utf-8").strip() or None
    except (OSError, UnicodeDecodeError):
        return None
