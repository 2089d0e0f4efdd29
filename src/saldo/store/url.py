"""What may be said of a connection string."""

from __future__ import annotations

from urllib.parse import urlsplit


def shown(url: str) -> str:
    """Where the database is, without the password. The hosts of a failover set are several."""
    parts = urlsplit(url)
    return f"{parts.netloc.rpartition('@')[2] or 'local socket'}{parts.path}"


def first_line(error: BaseException) -> str:
    """The line of an error that says what; hints and context follow in others."""
    text = str(getattr(error, "orig", None) or error).strip()
    return text.splitlines()[0] if text else type(error).__name__
