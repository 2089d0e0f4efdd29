"""`GET /v1/events`: the live stream, as server-sent events.

This is raw ASGI, because the framework's server-sent events handle neither clients that don't read nor the stop of the
server. The server's `send` waits until the client has read what was sent before. Therefore a connection needs memory
only for the transport's buffer, for one piece, and for the bounded buffer of the subscription.
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
    compute_shards,
)
from saldo.events.live.subscription import EndReason, EventFilter, LiveSubscription
from saldo.http import problems
from saldo.http.authorization import get_admission
from saldo.http.problems import ProblemError
from saldo.http.raw_responses import (
    build_error_response,
    get_client_method,
    record_response,
    send_response,
)
from saldo.http.request_state import get_request_state
from saldo.http.responses import RawResponse
from saldo.observability.metrics import EVENTS_CUT_OFF
from saldo.parsing.event_stream import parse_stream_request
from saldo.parsing.faults import InvalidField, InvalidRequestError
from saldo.parsing.transactions import ParserOptions
from saldo.settings.model import Settings
from saldo.store.errors import StoreError

EVENTS_PATH: Final = "/v1/events"
MEDIA_TYPE: Final = "text/event-stream"

RETRY_MILLISECONDS: Final = (1000, 3000)
"""Minimum and maximum of the random delay after which a client reconnects. Clients thus do not all reconnect at the
same time."""

END_SECONDS_MAX = 5.0
"""Maximum time in seconds for a client to read the end of the stream; then the connection is aborted."""

_log = logging.getLogger("saldo.http")


class EventStreamHandler:
    """The handler of the live stream. It writes the events of a subscription until the client or the service ends the
    stream."""

    def __init__(self, hub: Hub, options: ParserOptions, settings: Settings) -> None:
        self._hub = hub
        self._options = options
        self._users_max = settings.events_users_max
        self._write_timeout_seconds = settings.events_write_timeout_seconds
        self._subscribers_of_key_max = settings.events_subscribers_of_key_max
        self._subscriber_counts: Counter[str] = Counter()

    def stop(self) -> None:
        """End all streams."""
        self._hub.stop()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request as an ASGI application. The request's id is in its state."""
        state = get_request_state(scope)
        request_id = state.request_id
        # This class applies the write timeout itself, unless the response has no body.
        state.has_own_write_timeout = not state.is_head
        with ExitStack() as stack:
            try:
                admission = get_admission(scope)
                subscription = await self._subscribe(scope, admission.grant, stack)
            except Exception as error:
                answer = _build_error_response(error, request_id)
                record_response(get_client_method(scope), EVENTS_PATH, answer.status)
                await send_response(scope, send, answer, request_id)
                return
            record_response(get_client_method(scope), EVENTS_PATH, 200)
            if state.is_head:
                await send(_build_response_start(request_id))
                await send({"type": "http.response.body", "body": b""})
                return
            await self._write_stream(subscription, admission, request_id, scope, receive, send)

    @contextmanager
    def _count_subscriber(self, grant: Grant) -> Iterator[None]:
        """Count a subscriber of a key until the context manager exits.

        The subscriber is counted before it waits for the database. Otherwise many that arrive at the same time could
        exceed the maximum together.

        Raises:
            ProblemError: The key has the maximum number of subscribers already (429).
        """
        holder = grant.name
        if (
            self._subscriber_counts[holder] >= self._subscribers_of_key_max
            and grant is not UNAUTHENTICATED_ADMIN
        ):
            raise ProblemError(
                problems.build_too_many_subscribers_of_key(self._subscribers_of_key_max)
            )
        self._subscriber_counts[holder] += 1
        try:
            yield
        finally:
            self._subscriber_counts[holder] -= 1
            if not self._subscriber_counts[holder]:
                del self._subscriber_counts[holder]

    async def _subscribe(self, scope: Any, grant: Grant, stack: ExitStack) -> LiveSubscription:
        """Return the subscription that the request describes. The subscription ends when the stack is closed."""
        headers: dict[bytes, bytes] = dict(scope["headers"])
        stream_request = parse_stream_request(
            scope["query_string"],
            headers.get(b"last-event-id", b"").decode("latin-1"),
            self._options,
            self._users_max,
        )
        event_filter = _limit_to_grant(stream_request.event_filter, grant, self._users_max)
        stack.enter_context(self._count_subscriber(grant))
        try:
            return stack.enter_context(
                await self._hub.subscribe(event_filter, stream_request.start)
            )
        except PositionScopeMismatchError:
            message = "is the id of a subscription to other users: start with from= for these users"
            raise InvalidRequestError([InvalidField(stream_request.field, message)]) from None

    async def _write_stream(
        self,
        subscription: LiveSubscription,
        admission: Authentication,
        request_id: str,
        scope: Any,
        receive: Any,
        send: Any,
    ) -> None:
        await send(_build_response_start(request_id))
        writer = asyncio.create_task(
            self._write_events(subscription, admission, send), name="event stream writer"
        )
        disconnect = asyncio.create_task(
            _wait_for_disconnect(receive), name="event stream disconnect"
        )
        awaited = (writer, disconnect, subscription.ended)
        try:
            await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
            if disconnect.done():
                return
        finally:
            writer.cancel()
            disconnect.cancel()
            await asyncio.wait((writer, disconnect))
        await _send_end(_find_end_reason(subscription, writer, request_id), scope, send)

    async def _write_events(
        self, subscription: LiveSubscription, admission: Authentication, send: Any
    ) -> None:
        retry_milliseconds = random.randint(*RETRY_MILLISECONDS)  # noqa: S311
        payload = sse.format_retry(retry_milliseconds) + subscription.position_frame
        while True:
            try:
                async with asyncio.timeout(self._write_timeout_seconds):
                    await send({"type": "http.response.body", "body": payload, "more_body": True})
            except TimeoutError:
                raise _WriteTimeoutError from None
            payload = await subscription.next()
            if not await admission.is_still_valid():
                raise _AccessRevokedError


class _AccessRevokedError(Exception):
    """Raised when the key is no longer valid."""


class _WriteTimeoutError(Exception):
    """Raised when the client does not read within the write timeout."""


async def _wait_for_disconnect(receive: Any) -> None:
    """Wait until the client has disconnected."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _find_end_reason(
    subscription: LiveSubscription, writer: asyncio.Task[None], request_id: str
) -> EndReason:
    if subscription.ended.done():
        return subscription.ended.result()
    error = None if writer.cancelled() else writer.exception()
    if isinstance(error, _WriteTimeoutError):
        EVENTS_CUT_OFF.inc()
        return EndReason.TOO_SLOW
    if isinstance(error, _AccessRevokedError):
        return EndReason.KEY_INVALID
    _log.error("request %s failed during a live stream", request_id, exc_info=error)
    return EndReason.FAILED


async def _send_end(reason: EndReason, scope: Any, send: Any) -> None:
    """Send the reason for the end of the stream, and abort the connection if the client does not read.

    Without the abort a client that does not read could delay the end for ever, because closing a connection sends its
    buffer first.
    """
    connection = get_request_state(scope).connection
    # Without the server there is no connection to abort.
    abort = _do_nothing if connection is None else connection.abort
    try:
        async with asyncio.timeout(END_SECONDS_MAX):
            body = sse.format_comment(reason.value)
            await send({"type": "http.response.body", "body": body, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
    except TimeoutError:
        abort()
    else:
        asyncio.get_running_loop().call_later(END_SECONDS_MAX, abort)


def _do_nothing() -> None:
    """Do nothing: without the server there is no connection to abort."""


def _build_response_start(request_id: str) -> dict[str, Any]:
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


def _limit_to_grant(event_filter: EventFilter, grant: Grant, users_max: int) -> EventFilter:
    """Return the wanted events, limited to the users of the key.

    Raises:
        ProblemError: The request names another user.
        InvalidRequestError: The request names no users, and the key is limited to more than `users_max` users.
    """
    if grant.user_ids is None:
        return event_filter
    if event_filter.users is not None:
        for user_id in sorted(event_filter.users - grant.user_ids):
            raise ProblemError(problems.build_forbidden_user(user_id))
        return event_filter
    if len(grant.user_ids) > users_max:
        message = f"must name at most {users_max} users, because the key has access to more"
        raise InvalidRequestError([InvalidField("user_id", message)])
    return replace(event_filter, users=grant.user_ids, shards=compute_shards(grant.user_ids))


def _build_error_response(error: Exception, request_id: str) -> RawResponse:
    match error:
        case ProblemError():
            return error.problem.build_response(request_id)
        case InvalidRequestError() | StoreError():
            return problems.convert_error(error, request_id).build_response(request_id)
        case PositionGoneError():
            return problems.build_position_gone(str(error)).build_response(request_id)
        case TooManySubscribersError():
            return problems.build_too_many_subscribers().build_response(request_id)
        case _:
            return build_error_response(error, request_id)
