"""What httpx's errors mean for an attempt."""

from __future__ import annotations

import re
import time
from typing import Final

import httpx

_KEY: Final = re.compile(r"[!-~]+", re.ASCII)


def checked_url(url: str) -> str:
    """Where a service is.

    Raises:
        TypeError, ValueError: nothing can be there.
    """
    if not isinstance(url, str):
        raise TypeError(f"url must be a str, not {type(url).__name__}")
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        parsed = httpx.URL("")
    port = 1 if parsed.port is None else parsed.port
    if (
        parsed.scheme not in {"http", "https"}
        or not parsed.host
        or not 1 <= port <= 65535
        or parsed.query
        or parsed.fragment
        or " " in url
    ):
        # What may be a password is not shown.
        shown = "" if "@" in url else f", not {url!r}"
        raise ValueError(f"url must be one of http or https, such as http://localhost:8000{shown}")
    return url


def authorization(key: str) -> str:
    """The header for a key, which no message shows.

    Raises:
        TypeError, ValueError: no service has made it.
    """
    if not isinstance(key, str):
        raise TypeError(f"key must be a str, not {type(key).__name__}")
    if not _KEY.fullmatch(key):
        raise ValueError(
            "key must be what `saldo keys create` has printed, or a token: visible ASCII characters, without spaces "
            "and line breaks"
        )
    return f"Bearer {key}"


def is_lost(error: Exception) -> bool:
    """Whether it is of the network, or of an answer that can't be unpacked; else no attempt mends it: the program that
    calls has closed the client, or misleads it."""
    return isinstance(error, httpx.TransportError | httpx.DecodingError) and not isinstance(
        error, httpx.UnsupportedProtocol | httpx.LocalProtocolError
    )


def was_sent(error: Exception) -> bool:
    """Whether the service may have got the request."""
    return not isinstance(
        error,
        httpx.ConnectError
        | httpx.ConnectTimeout
        | httpx.PoolTimeout
        | httpx.UnsupportedProtocol
        | httpx.LocalProtocolError,
    )


def in_time(deadline: float) -> None:
    """Of an answer that goes on coming, piece by piece.

    Args:
        deadline: of `time.monotonic`.

    Raises:
        httpx.ReadTimeout: it has lasted for too long.
    """
    if time.monotonic() >= deadline:
        raise httpx.ReadTimeout("the answer goes on and on")
