"""The state of a request that the server, the routes and the wrappers around the routes share.

ASGI passes one dictionary per request through all of them. The dictionary holds the state under one key, so that
everything that is shared has a name and a type here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from saldo.auth.authenticator import Authentication
from saldo.http.problems import Problem

_KEY: Final = "saldo.request"


@dataclass(slots=True)
class ConnectionControl:
    """Operations on a connection that ASGI does not provide (`saldo.http.connection.protocol`).

    Attributes:
        send_whole: Sends a response (scope, status, headers, body) in one piece, and returns whether that was possible.
        abort: Closes the connection without waiting until the client has read what is buffered.
        is_gone: Returns whether the client has closed the connection or its side of it.
    """

    send_whole: Callable[[Any, int, list[tuple[bytes, bytes]], bytes], bool]
    abort: Callable[[], None]
    is_gone: Callable[[], bool]

    def release(self) -> None:
        """Release the connection, because the garbage collector would free the cycle of references late. Called when
        the connection has ended."""
        self.send_whole = _send_nothing
        self.abort = _do_nothing
        self.is_gone = _is_gone


@dataclass(slots=True)
class RequestState:
    """The shared state of one request. A HEAD request is processed as a GET request, and both have the same state.

    Attributes:
        connection: Control of the connection; None if the application is not called by the server.
        request_id: Id of the request, from the client or generated.
        admission: Authentication of the request. It is missing for single transactions and reads that bypass the
            framework, and in the console until a session has authenticated the request.
        route: Template of the route's path, for metrics and traces; None if there is no such route.
        is_head: True if the request arrived as HEAD. Its response has no body, so handlers can omit long work.
        is_send_wrapped: True if an outer application has wrapped `send`. The response must then not be sent in one
            piece, because it would bypass the wrapper.
        is_abandoned: True if the request gets no response and is not counted. The client has disconnected before the
            body was complete or, if the request is a health probe, before the database answered.
        on_stall: Called with the problem if the client stops sending a stream. None if the request is not a stream, so
            that the timeout of bodies applies.
        has_own_write_timeout: True if the route ends the response itself when the client does not read.
        path_prefix: Prefix of the paths in links, if a proxy serves this service under a path (`/ledger`), or an empty
            text. The path of the request itself is without it.
        page: The page of the console that the request shows (`saldo.console.page`).
    """

    connection: ConnectionControl | None = None
    request_id: str = ""
    admission: Authentication | None = None
    route: str | None = None
    is_head: bool = False
    is_send_wrapped: bool = False
    is_abandoned: bool = False
    on_stall: Callable[[Problem], None] | None = None
    has_own_write_timeout: bool = False
    path_prefix: str = ""
    page: object = None


def begin_request_state(scope: Any, connection: ConnectionControl) -> None:
    """Add a new state to the scope of a request that has arrived on a connection."""
    scope[_KEY] = RequestState(connection)


def get_request_state(scope: Any) -> RequestState:
    """Return the state of a request. A request that did not come through the server gets a new one."""
    try:
        state: RequestState = scope[_KEY]
    except KeyError:
        state = scope[_KEY] = RequestState()
    return state


def _send_nothing(_scope: Any, _status: int, _headers: object, _body: bytes) -> bool:
    return False


def _do_nothing() -> None:
    """Do nothing, because the connection has ended."""


def _is_gone() -> bool:
    return True
