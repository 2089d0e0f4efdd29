"""What httpx's errors mean for an attempt."""

from __future__ import annotations

import time

import httpx


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
