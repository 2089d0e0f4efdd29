"""`GET /v1/events`: the live stream, as server-sent events.

Raw ASGI: the framework's own answer of this kind knows neither a client that doesn't read nor a server that stops.
What is sent waits for the client to take what was sent before (the server's `send` does), so what one
connection holds is the transport's buffer, one piece, and the subscription's bounded buffer.
"""

from __future__ import annotations

import asyncio
import logging
import random
from dataclasses import replace
from typing import Any, Final

from saldo.access.gate import Admission
from saldo.access.grant import Grant
from saldo.http import problems
from saldo.http.access import ForbiddenError, admission_of
from saldo.http.answers import Answer
from saldo.http.following import read_following
from saldo.http.sending import answered, failed, send_answer
from saldo.http.wire import Fault, InvalidError, Reading
from saldo.observability.metrics import EVENTS_CUT_OFF
from saldo.relay import sse
from saldo.relay.live import (
    Hub,
    PositionGoneError,
    PositionOfOthersError,
    TooManySubscribersError,
    shards_of,
)
from saldo.relay.subscription import Ending, Subscription, Wanted
from saldo.settings import Settings
from saldo.store.errors import StoreError

EVENTS_PATH: Final = "/v1/events"
MEDIA_TYPE: Final = "text/event-stream"

RETRY_MILLISECONDS: Final = (1000, 3000)
"""When a client connects again: not all of them at once."""

FAREWELL_SECONDS_MAX = 5.0
"""For a client that doesn't read to take the last words; then the connection is cut."""

_log = logging.getLogger("saldo.http")


class Events:
    """The route: subscribes, and writes what comes until one of the two sides has had enough."""

    def __init__(self, hub: Hub, reading: Reading, settings: Settings) -> None:
        self._hub = hub
        self._reading = reading
        self._users_max = settings.events_users_max
        self._stall_seconds = settings.events_stall_seconds

    def stop(self) -> None:
        """All streams end."""
        self._hub.stop()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """The ASGI application of the path. `state` holds the request's id."""
        request_id: str = scope["state"]["request_id"]
        scope["stalls_by_itself"] = True  # the server leaves that to us
        headers: dict[bytes, bytes] = dict(scope["headers"])
        try:
            following = read_following(
                scope["query_string"],
                headers.get(b"last-event-id", b"").decode("latin-1"),
                self._reading,
                self._users_max,
            )
            admission = admission_of(scope)
            wanted = _within(following.wanted, admission.grant, self._users_max)
            subscription = await self._subscribe(wanted, following.start, following.field)
        except Exception as error:
            answer = _refused(error, request_id)
            answered("GET", EVENTS_PATH, answer.status)
            await send_answer(scope, send, answer, request_id)
            return
        answered("GET", EVENTS_PATH, 200)
        with subscription:
            await self._stream(subscription, admission, request_id, scope, receive, send)

    async def _subscribe(self, wanted: Any, start: Any, field: str) -> Subscription:
        try:
            return await self._hub.subscribe(wanted, start)
        except PositionOfOthersError:
            message = "is the id of a subscription to other users: begin with from= for these"
            raise InvalidError([Fault(field, message)]) from None

    async def _stream(
        self,
        subscription: Subscription,
        admission: Admission,
        request_id: str,
        scope: Any,
        receive: Any,
        send: Any,
    ) -> None:
        await send(_head(request_id))
        writing = asyncio.create_task(
            self._write(subscription, admission, send), name="live stream"
        )
        leaving = asyncio.create_task(_left(receive), name="end of a live stream")
        waited = (writing, leaving, subscription.ended)
        try:
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            if leaving.done():
                return
        finally:
            writing.cancel()
            leaving.cancel()
            await asyncio.wait((writing, leaving))
        await _say_farewell(_ending(subscription, writing, request_id), scope, send)

    async def _write(self, subscription: Subscription, admission: Admission, send: Any) -> None:
        payload = sse.retry(random.randint(*RETRY_MILLISECONDS)) + subscription.mark  # noqa: S311
        while True:
            try:
                async with asyncio.timeout(self._stall_seconds):
                    await send({"type": "http.response.body", "body": payload, "more_body": True})
            except TimeoutError:
                raise _StalledError from None
            payload = await subscription.next()
            if not await admission.still():
                raise _NotAdmittedError


class _NotAdmittedError(Exception):
    """The key is not valid any more."""


class _StalledError(Exception):
    """The client takes nothing."""


async def _left(receive: Any) -> None:
    """Returns when the client is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _ending(subscription: Subscription, writing: asyncio.Task[None], request_id: str) -> Ending:
    if subscription.ended.done():
        return subscription.ended.result()
    error = None if writing.cancelled() else writing.exception()
    if isinstance(error, _StalledError):
        EVENTS_CUT_OFF.inc()
        return Ending.TOO_SLOW
    if isinstance(error, _NotAdmittedError):
        return Ending.NOT_ADMITTED
    _log.error("request %s failed in the middle of a live stream", request_id, exc_info=error)
    return Ending.FAILED


async def _say_farewell(ending: Ending, scope: Any, send: Any) -> None:
    """Says why the stream ends, to a client that reads; and lets go of one that doesn't.

    To close a connection is to send what its buffer holds first, for which a client that doesn't read makes us
    wait for ever.
    """
    abort = scope.get("extensions", {}).get("saldo.abort", _nothing)
    try:
        async with asyncio.timeout(FAREWELL_SECONDS_MAX):
            body = sse.comment(ending.value)
            await send({"type": "http.response.body", "body": body, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
    except TimeoutError:
        abort()
    else:
        asyncio.get_running_loop().call_later(FAREWELL_SECONDS_MAX, abort)


def _nothing() -> None:
    """Where there is no server, there is nothing to cut."""


def _head(request_id: str) -> dict[str, Any]:
    headers = (
        ("content-type", f"{MEDIA_TYPE}; charset=utf-8"),
        ("cache-control", "no-store"),
        # nginx would gather events before it passes them on.
        ("x-accel-buffering", "no"),
        ("connection", "close"),
        ("x-request-id", request_id),
    )
    return {
        "type": "http.response.start",
        "status": 200,
        "headers": [(name.encode(), value.encode()) for name, value in headers],
    }


def _within(wanted: Wanted, grant: Grant, users_max: int) -> Wanted:
    """What is wanted, of the key's users only.

    Raises:
        ForbiddenError: more than those.
    """
    if grant.user_ids is None:
        return wanted
    if wanted.users is not None:
        for user_id in sorted(wanted.users - grant.user_ids):
            raise ForbiddenError(problems.forbidden_user(user_id))
        return wanted
    if len(grant.user_ids) > users_max:
        message = f"must name at most {users_max} users: the key is about more"
        raise InvalidError([Fault("user_id", message)])
    return replace(wanted, users=grant.user_ids, shards=shards_of(grant.user_ids))


def _refused(error: Exception, request_id: str) -> Answer:
    match error:
        case ForbiddenError():
            return error.problem.answer(request_id)
        case InvalidError() | StoreError():
            return problems.of_error(error, request_id).answer(request_id)
        case PositionGoneError():
            return problems.position_gone(str(error)).answer(request_id)
        case TooManySubscribersError():
            return problems.too_many_subscribers().answer(request_id)
        case _:
            return failed(error, request_id)
