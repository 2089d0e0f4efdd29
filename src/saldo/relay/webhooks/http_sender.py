"""One attempt to deliver an event to an endpoint by HTTP, signed after the Standard Webhooks specification.

Endpoints are not trusted: they may hang, redirect, send an endless response, or have a name that leads into the
operator's own network. Only the status and one header of a response are used. A limited part of the body is read and
discarded, so that the connection can be reused.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import socket
import traceback
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, NamedTuple

import aiohttp
from aiohttp.abc import AbstractResolver
from standardwebhooks import Webhook
from yarl import URL

from saldo import __version__
from saldo.events.event import CONTENT_TYPE, Event
from saldo.relay.webhooks.backoff import parse_retry_after
from saldo.relay.webhooks.destinations import DestinationPolicy
from saldo.relay.webhooks.resolver import ThreadPerNameResolver

ANSWER_BYTES_MAX = 4096
"""Maximum number of bytes of a response body that are read and discarded."""

CONNECTION_IDLE_SECONDS_MAX = 4.0
"""Maximum time for which an idle connection is kept for the next event. Many servers close idle connections after 5 s,
and an event that is sent at that moment would count as failed."""

FAILURE_LENGTH_MAX = 300
"""Maximum length, in characters, of a failure's stored description."""

SECRET_LENGTH_MIN = 6
"""Minimum length, in characters, of a part of a URL that is treated as a possible token. Shorter parts, such as `v1`,
occur in many messages."""

GONE = 410

_log = logging.getLogger("saldo.relay")


class ForbiddenAddressError(OSError):
    """Raised when the destination policy does not allow the address."""


class Attempt(NamedTuple):
    """The result of one attempt.

    Attributes:
        failure: a description in one line; None if the event was delivered.
        is_gone: whether the endpoint has responded with 410, which means that it wants no more events.
        retry_after: the delay that the endpoint asked for.
    """

    failure: str | None
    is_gone: bool = False
    retry_after: timedelta | None = None


class HttpSender:
    """A sender of events to any endpoint. It keeps idle connections for a while, and is a context manager."""

    def __init__(
        self,
        *,
        timeout_seconds: float,
        destinations: DestinationPolicy,
        resolver: AbstractResolver | None = None,
    ) -> None:
        """
        Args:
            timeout_seconds: time limit of a whole attempt, from the name lookup to the end of the response.
            destinations: the policy for destinations.
            resolver: the resolver of host names; None means the system's.
        """
        self._timeout_seconds = timeout_seconds
        self._destinations = destinations
        self._resolver = resolver
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> HttpSender:
        connector = aiohttp.TCPConnector(
            limit=0,  # the number of connections is limited for each endpoint
            keepalive_timeout=CONNECTION_IDLE_SECONDS_MAX,
            socket_factory=self._create_socket,
            resolver=self._resolver or ThreadPerNameResolver(),
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=self._timeout_seconds),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,  # a proxy could connect to addresses that the policy denies
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
        """Send the event once, signed with each secret.

        Every error becomes a failed attempt, which is counted and retried later. If an exception left this method, the
        whole batch would be delivered again, endlessly.
        """
        try:
            fault = self._destinations.find_url_fault(URL(url))
            if fault is not None:
                return Attempt(f"the URL {fault}")
            return await self._post(url, secrets, event)
        except TimeoutError:
            return Attempt(f"no response within {self._timeout_seconds:g} s")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # ValueError: the URL was accepted when it was set, but no connection to it is possible.
            return Attempt(describe_failure(error, url))
        except Exception as error:
            # Only the frames are logged, since the message may contain the URL.
            frames = "".join(traceback.format_tb(error.__traceback__))
            _log.error(
                "a delivery attempt failed unexpectedly: %s\n%s", type(error).__name__, frames
            )
            return Attempt(f"failed unexpectedly: {type(error).__name__}")

    async def _post(self, url: str, secrets: Sequence[str], event: Event) -> Attempt:
        assert self._session is not None
        now = datetime.now(UTC)
        body = event.body.decode()
        signatures = [Webhook(secret).sign(event.id, now, body) for secret in secrets]
        headers = {
            "webhook-id": event.id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": " ".join(signatures),
        }
        async with self._session.post(
            url, data=event.body, headers=headers, allow_redirects=False
        ) as response:
            attempt = _convert_response_to_attempt(response)
            # The status decides, even if reading the rest of the response fails.
            with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
                await _discard_body(response)
            return attempt

    def _create_socket(self, address_info: Any) -> socket.socket:
        """Create the socket for a connection, after the actual address of this connection has been checked.

        Raises:
            ForbiddenAddressError: the policy denies the address.
        """
        family, kind, protocol, _, address = address_info
        fault = self._destinations.find_address_fault(str(address[0]))
        if fault is not None:
            raise ForbiddenAddressError(errno.EACCES, f"{address[0]} {fault}")
        return socket.socket(family, kind, protocol)


def _convert_response_to_attempt(response: aiohttp.ClientResponse) -> Attempt:
    status = response.status
    if 200 <= status < 300:
        return Attempt(None)
    failure = f"answered {status}"
    if 300 <= status < 400:
        failure += ", a redirect, which is not followed"
    retry_after = parse_retry_after(response.headers.get("retry-after"), datetime.now(UTC))
    return Attempt(failure, status == GONE, retry_after)


async def _discard_body(response: aiohttp.ClientResponse) -> None:
    left = ANSWER_BYTES_MAX
    while left > 0:
        read = await response.content.read(left)
        if not read:
            return
        left -= len(read)
    response.close()


def describe_failure(error: Exception, url: str) -> str:
    """Describe a failure in one line, without the path and the query of the URL, since these may be a token."""
    match error:
        case aiohttp.ClientConnectorError() if error.os_error.strerror:
            text = error.os_error.strerror
        case aiohttp.ClientResponseError():
            # The text of this error ends with the whole URL.
            text = f"{error.status} {error.message}".strip()
        case _:
            text = str(error).strip()
    lines = text.splitlines()
    line = "".join(each if each.isprintable() else " " for each in lines[0]) if lines else ""
    if not line or any(secret in line for secret in _find_secret_parts(url)):
        return type(error).__name__
    return line[:FAILURE_LENGTH_MAX]


def _find_secret_parts(url: str) -> list[str]:
    """Return the secret parts of a URL, as they may occur in messages."""
    try:
        parsed = URL(url)
    except ValueError:
        return [url]
    parts = [parsed.raw_path, parsed.path, parsed.raw_query_string, parsed.query_string]
    parts += [*parsed.raw_parts, *parsed.parts, *parsed.query.values()]
    return [url, *(part for part in parts if len(part) >= SECRET_LENGTH_MIN)]
