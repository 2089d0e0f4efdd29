"""One attempt to deliver an event to an endpoint: HTTP, signed after the Standard Webhooks specification.

The endpoint is somebody else's: it may hang, redirect, answer without an end, or have a name that leads into our
own network. Nothing of its answer is read but the status, one header, and a bounded rest of the body, which
leaves the connection fit for the next attempt.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, NamedTuple

import aiohttp
from aiohttp.abc import AbstractResolver
from standardwebhooks import Webhook

from saldo import __version__
from saldo.relay.events import CONTENT_TYPE, Event
from saldo.relay.webhooks.addresses import is_public
from saldo.relay.webhooks.resolver import ThreadPerNameResolver
from saldo.relay.webhooks.retry import parse_retry_after

ANSWER_BYTES_MAX = 4096
"""Of an answer's body; nobody reads it."""

CONNECTION_IDLE_SECONDS_MAX = 4.0
"""How long a connection is kept for the next event: many servers close theirs after 5 s, and an event sent at
that moment would count as failed."""

FAILURE_LENGTH_MAX = 300
"""Characters of what is kept of a failure."""

GONE = 410


class ForbiddenAddressError(OSError):
    """The address is not one of the public internet."""


class Attempt(NamedTuple):
    """What came of one attempt.

    Attributes:
        failure: one line; None: it was delivered.
        gone: the endpoint wants nothing any more.
        retry_after: how long it wants to be left alone.
    """

    failure: str | None
    gone: bool = False
    retry_after: timedelta | None = None


class Sender:
    """Sends to any endpoint; keeps connections for a while. A context manager."""

    def __init__(
        self,
        *,
        timeout_seconds: float,
        allow_private: bool,
        resolver: AbstractResolver | None = None,
    ) -> None:
        """
        Args:
            timeout_seconds: of a whole attempt, from looking up the name to the end of the answer.
            allow_private: whether addresses that are not public may be reached.
            resolver: of names; None: the system's.
        """
        self._timeout_seconds = timeout_seconds
        self._allow_private = allow_private
        self._resolver = resolver
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Sender:
        connector = aiohttp.TCPConnector(
            limit=0,  # each endpoint has a bound of its own
            keepalive_timeout=CONNECTION_IDLE_SECONDS_MAX,
            socket_factory=self._socket,
            resolver=self._resolver or ThreadPerNameResolver(),
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=self._timeout_seconds),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,  # a proxy would connect where we would not
            headers={"user-agent": f"saldo/{__version__}", "content-type": CONTENT_TYPE},
            skip_auto_headers=("accept", "accept-encoding"),
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def send(self, url: str, secrets: Sequence[str], event: Event) -> Attempt:
        """Sends the event once, signed with each secret. Faults of the endpoint are told, not raised."""
        assert self._session is not None
        now = datetime.now(UTC)
        body = event.body.decode()
        signatures = [Webhook(secret).sign(event.id, now, body) for secret in secrets]
        headers = {
            "webhook-id": event.id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": " ".join(signatures),
        }
        try:
            async with self._session.post(
                url, data=event.body, headers=headers, allow_redirects=False
            ) as response:
                attempt = _judged(response)
                # The status has decided, whatever becomes of the rest.
                with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
                    await _read_rest(response)
                return attempt
        except TimeoutError:
            return Attempt(f"no answer in {self._timeout_seconds:g} s")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # ValueError: the URL, which was read when it was given, can't be connected to.
            return Attempt(_one_line(error))

    def _socket(self, address_info: Any) -> socket.socket:
        """The socket that is connected to exactly this address next, whatever the name was looked up to before.

        Raises:
            ForbiddenAddressError: it must not be.
        """
        family, kind, protocol, _, address = address_info
        if not self._allow_private and not is_public(str(address[0])):
            raise ForbiddenAddressError(
                errno.EACCES, f"{address[0]} is not an address of the public internet"
            )
        return socket.socket(family, kind, protocol)


def _judged(response: aiohttp.ClientResponse) -> Attempt:
    status = response.status
    if 200 <= status < 300:
        return Attempt(None)
    failure = f"answered {status}"
    if 300 <= status < 400:
        failure += ", a redirect, which is not followed"
    retry_after = parse_retry_after(response.headers.get("retry-after"), datetime.now(UTC))
    return Attempt(failure, status == GONE, retry_after)


async def _read_rest(response: aiohttp.ClientResponse) -> None:
    left = ANSWER_BYTES_MAX
    while left > 0:
        read = await response.content.read(left)
        if not read:
            return
        left -= len(read)
    response.close()


def _one_line(error: BaseException) -> str:
    if isinstance(error, aiohttp.ClientConnectorError) and error.os_error.strerror:
        return error.os_error.strerror[:FAILURE_LENGTH_MAX]
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:FAILURE_LENGTH_MAX]
