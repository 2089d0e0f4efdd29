"""What httpx's errors mean for an attempt."""

from __future__ import annotations

import httpx


def is_lost(error: httpx.TransportError) -> bool:
    """Whether it is of the network; else it is of the program that calls, and no attempt mends it."""
    return not isinstance(error, httpx.UnsupportedProtocol | httpx.LocalProtocolError)


def was_sent(error: httpx.TransportError) -> bool:
    """Whether the service may have got the request."""
    return not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
