"""`GET /v1/events`: the live stream, as server-sent events.

This is raw ASGI, because the framework's server-sent events handle neither clients that don't read nor the stop of the
server. The server's `send` waits until the client has read what was sent before. Therefore one connection holds the
transport's buffer, one piece, and the bounded buffer of the subscription.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any, Final

from saldo.auth.authenticator import Authentication
from saldo.auth.grants import UNAUTHENTICATED_ADMIN, Grant
from saldo.events import sse
from saldo.events.live.hub import (
    Hub,
    PositionGoneError,
    PositionScopeMismatchError,
    TooManySubscribersError,
    shards_of,
)
from saldo.events.live.subscription import Ending, EventFilter, LiveSubscription
from saldo.http import problems
from saldo.http.authorization import admission_of
from saldo.http.problems import ProblemError
from saldo.http.raw_responses import (
    error_response,
    method_of,
    record_response,
    send_response,
)
from saldo.http.request_state import request_state
from saldo.http.responses import RawResponse
from saldo.observability.metrics import EVENTS_CUT_OFF
from saldo.parsing.event_stream import parse_stream_request
from saldo.parsing.faults import InvalidError, InvalidField
from saldo.parsing.transactions import ParserOptions
from saldo.settings.model import Settings
from saldo.store.errors import StoreError

EVENTS_PATH: Final = "/v1/events"
MEDIA_TYPE: Final = "text/event-stream"

RETRY_MILLISECONDS: Final = (1000, 3000)
"""Range of the random delay after which a client reconnects, so that clients do not reconnect at the same time."""

END_SECONDS_MAX = 5.0
"""Maximum time in seconds for a client to read the end of the stream; then the connection is aborted."""

_log = logging.getLogger("saldo.http")


class LiveStream:
    """The handler of the live stream, which writes the events of a subscription until one of the two sides ends it."""

    def __init__(self, hub: Hub, reading: ParserOptions, settings: Settings) -> None:
        self._hub = hub
        self._reading = reading
        self._users_max = settings.events_users_max
        self._stall_seconds = settings.events_write_timeout_seconds
        self._of_key_max = settings.events_subscribers_of_key_max
        self._of_key: Counter[str] = Counter()

    def stop(self) -> None:
        """End all streams."""
        self._hub.stop()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request as an ASGI application. The request's id is in its state."""
        state = request_state(scope)
        request_id = state.request_id
        # The server leaves the timeout of writes to this class, unless the response ends with its head.
        state.has_own_write_timeout = not state.is_head
        with ExitStack() as stack:
            try:
                admission = admission_of(scope)
                subscription = await self._subscribe(scope, admission.grant, stack)
            except Exception as error:
                answer = _error_response(error, request_id)
                record_response(method_of(scope), EVENTS_PATH, answer.status)
                await send_response(scope, send, answer, request_id)
                return
            record_response(method_of(scope), EVENTS_PATH, 200)
            if state.is_head:
                await send(_head(request_id))
                await send({"type": "http.response.body", "body": b""})
                return
            await self._stream(subscription, admission, request_id, scope, receive, send)

    @contextmanager
    def _count_subscriber(self, grant: Grant) -> Iterator[None]:
        """Count a subscriber of a key while the context is entered.

        This begins before the subscriber waits for the database, because many may arrive at the same time.

        Raises:
            ProblemError: The key has the maximum number of subscribers already (429).
        """
        holder = grant.name
        if self._of_key[holder] >= self._of_key_max and grant is not UNAUTHENTICATED_ADMIN:
            raise ProblemError(problems.too_many_subscribers_of_key(self._of_key_max))
        self._of_key[holder] += 1
        try:
            yield
        finally:
            self._of_key[holder] -= 1
            if not self._of_key[holder]:
                del self._of_key[holder]

    async def _subscribe(self, scope: Any, grant: Grant, stack: ExitStack) -> LiveSubscription:
        """Return the subscription that the request describes. The stack ends it."""
        headers: dict[bytes, bytes] = dict(scope["headers"])
        following = parse_stream_request(
            scope["query_string"],
            headers.get(b"last-event-id", b"").decode("latin-1"),
            self._reading,
            self._users_max,
        )
        wanted = _limit_to_grant(following.wanted, grant, self._users_max)
        stack.enter_context(self._count_subscriber(grant))
        try:
            return stack.enter_context(await self._hub.subscribe(wanted, following.start))
        except PositionScopeMismatchError:
            message = "is the id of a subscription to other users: start with from= for these users"
            raise InvalidError([InvalidField(following.field, message)]) from None

    async def _stream(
        self,
        subscription: LiveSubscription,
        admission: Authentication,
        request_id: str,
        scope: Any,
        receive: Any,
        send: Any,
    ) -> None:
        await send(_head(request_id))
        writing = asyncio.create_task(
            self._write(subscription, admission, send), name="event stream writer"
        )
        leaving = asyncio.create_task(_wait_for_disconnect(receive), name="event stream disconnect")
        waited = (writing, leaving, subscription.ended)
        try:
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            if leaving.done():
                return
        finally:
            writing.cancel()
            leaving.cancel()
            await asyncio.wait((writing, leaving))
        await _send_end(_find_ending(subscription, writing, request_id), scope, send)

    async def _write(
        self, subscription: LiveSubscription, admission: Authentication, send: Any
    ) -> None:
        payload = sse.format_retry(random.randint(*RETRY_MILLISECONDS)) + subscription.mark  # noqa: S311
        while True:
            try:
                async with asyncio.timeout(self._stall_seconds):
                    await send({"type": "http.response.body", "body": payload, "more_body": True})
            except TimeoutError:
                raise _WriteTimeoutError from None
            payload = await subscription.next()
            if not await admission.is_still_valid():
                raise _AccessRevokedError


class _AccessRevokedError(Exception):
    """Raised when the key is no longer valid."""


class _WriteTimeoutError(Exception):
    """Raised when the client does not read."""


async def _wait_for_disconnect(receive: Any) -> None:
    """Wait until the client has disconnected."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _find_ending(
    subscription: LiveSubscription, writing: asyncio.Task[None], request_id: str
) -> Ending:
    if subscription.ended.done():
        return subscription.ended.result()
    error = None if writing.cancelled() else writing.exception()
    if isinstance(error, _WriteTimeoutError):
        EVENTS_CUT_OFF.inc()
        return Ending.TOO_SLOW
    if isinstance(error, _AccessRevokedError):
        return Ending.KEY_INVALID
    _log.error("request %s failed during a live stream", request_id, exc_info=error)
    return Ending.FAILED


async def _send_end(ending: Ending, scope: Any, send: Any) -> None:
    """Send the reason for the end of the stream, and abort the connection if the client does not read.

    Without the abort a client that does not read could delay the end for ever, because closing a connection sends its
    buffer first.
    """
    connection = request_state(scope).connection
    # Without the server there is no connection to abort.
    abort = _nothing if connection is None else connection.abort
    try:
        async with asyncio.timeout(END_SECONDS_MAX):
            body = sse.format_comment(ending.value)
            await send({"type": "http.response.body", "body": body, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
    except TimeoutError:
        abort()
    else:
        asyncio.get_running_loop().call_later(END_SECONDS_MAX, abort)


def _nothing() -> None:
    """Do nothing: without the server there is no connection to abort."""


def _head(request_id: str) -> dict[str, Any]:
    headers = (
        ("content-type", f"{MEDIA_TYPE}; charset=utf-8"),
        # A proxy that compresses would hold events back until it has enough of them.
        ("cache-control", "no-store, no-transform"),
        # nginx would buffer events before it passes them on.
        ("x-accel-buffering", "no"),
        ("connection", "close"),
        ("x-request-id", request_id),
    )
    return {
        "type": "http.response.start",
        "status": 200,
        "headers": [(name.encode(), value.encode()) for name, value in headers],
    }


def _limit_to_grant(wanted: EventFilter, grant: Grant, users_max: int) -> EventFilter:
    """Return the wanted events, limited to the users of the key.

    Raises:
        ProblemError: The request names another user.
        InvalidError: The request names no users, and the key has more than a subscription may have.
    """
    if grant.user_ids is None:
        return wanted
    if wanted.users is not None:
        for user_id in sorted(wanted.users - grant.user_ids):
            raise ProblemError(problems.forbidden_user(user_id))
        return wanted
    if len(grant.user_ids) > users_max:
        message = f"must name at most {users_max} users, because the key has access to more"
        raise InvalidError([InvalidField("user_id", message)])
    return replace(wanted, users=grant.user_ids, shards=shards_of(grant.user_ids))


def _error_response(error: Exception, request_id: str) -> RawResponse:
    match error:
        case ProblemError():
            return error.problem.answer(request_id)
        case InvalidError() | StoreError():
            return problems.from_error(error, request_id).answer(request_id)
        case PositionGoneError():
            return problems.position_gone(str(error)).answer(request_id)
        case TooManySubscribersError():
            return problems.too_many_subscribers().answer(request_id)
        case _:
            return error_response(error, request_id)
