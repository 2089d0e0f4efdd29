"""Classification of httpx's errors, and their messages."""

from __future__ import annotations

import time
from typing import Final

import httpx


def add_proxy_to_message(error: httpx.TransportError, variable: str) -> httpx.TransportError:
    """Return the same error with the environment variable of the proxy in its message."""
    return type(error)(f"{error} ({PROXY_NOTE.format(variable)})")


PROXY_NOTE: Final = "through the proxy in {}; NO_PROXY lists hosts that are reached without a proxy"


def is_transport_failure(error: Exception) -> bool:
    """Return whether an error comes from the network, or from a response that can't be decompressed.

    Other errors can't be fixed by another attempt: the calling program has closed the client, or uses it wrongly.
    """
    return isinstance(error, httpx.TransportError | httpx.DecodingError) and not isinstance(
        error, httpx.UnsupportedProtocol | httpx.LocalProtocolError
    )


def may_have_been_sent(error: Exception) -> bool:
    """Return whether the service may have received the request."""
    return not isinstance(
        error,
        httpx.ConnectError
        | httpx.ConnectTimeout
        | httpx.PoolTimeout
        | httpx.UnsupportedProtocol
        | httpx.LocalProtocolError,
    )


def check_deadline(deadline: float) -> None:
    """Check the deadline of a response that arrives piece by piece.

    Args:
        deadline: The deadline, by `time.monotonic`.

    Raises:
        httpx.ReadTimeout: The deadline has passed.
    """
    if time.monotonic() >= deadline:
        raise httpx.ReadTimeout("the response did not end before the deadline")
