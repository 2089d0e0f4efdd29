"""The ASGI entry point: the routes that bypass the framework, and the steps that are common to all requests.

`POST /v1/transaction` bypasses the framework's router, which would cost half of the throughput. The two most frequent
reads, if they have no query parameters, bypass the router as well. So do `POST /v1/transactions` and `GET /v1/events`.
All other requests go to the framework. The framework has a route for `POST /v1/transaction`, too. Both routes call
`saldo.http.api.post_transaction`, so that their responses are the same.
"""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Mapping
from typing import Any, Final

from saldo.auth.authenticator import Authentication
from saldo.auth.grants import NO_GRANT, Grant, Scope
from saldo.http import problems
from saldo.http.api.bulk import BULK_PATH
from saldo.http.api.context import AppContext
from saldo.http.api.event_stream import EVENTS_PATH
from saldo.http.authorization import authorize, find_required_scope
from saldo.http.connection.fallback_apps import ProblemApp
from saldo.http.connection.header_checks import find_header_problem
from saldo.http.connection.load_shedding import LoadShedder
from saldo.http.connection.path_prefix import PathPrefixes
from saldo.http.cors import CorsApp
from saldo.http.raw_responses import (
    accept_or_create_request_id,
    build_error_response,
    get_client_method,
    record_response,
    send_response,
)
from saldo.http.request_body import ClientDisconnectedError, read_body
from saldo.http.request_state import RequestState, get_request_state
from saldo.http.responses import RawResponse
from saldo.http.route_table import OTHER, RouteTable
from saldo.http.security_headers import build_framework_headers
from saldo.observability.logs import REQUEST
from saldo.store.errors import StoreError

POST_TRANSACTION_PATH: Final = "/v1/transaction"
BALANCE_PATH: Final = "/v1/user/{user_id}/balance"
TRANSACTION_PATH: Final = "/v1/transaction/{uuid}"
_FAST_READ_PATH: Final = re.compile(r"/v1/(?:user/([^/]+)/balance|transaction/([^/]+))")

AsgiScope = dict[str, Any]
"""The ASGI scope of a request."""


class AsgiApp:
    """The ASGI application that the server runs."""

    def __init__(
        self, framework: Any, service: AppContext, streams: Mapping[str, Any], routes: RouteTable
    ) -> None:
        """
        Args:
            streams: ASGI applications by path for further endless responses, besides `GET /v1/events`. All of them
                bypass the framework.
            routes: All routes, including those of the streams.
        """
        self.service = service
        self.routes = routes
        self._framework = framework
        self._streams = {EVENTS_PATH: service.event_stream_handler, **streams}
        self._post_transaction_handler = service.post_transaction_handler
        self._bulk_handler = service.bulk_handler
        self._authenticator = service.authenticator
        self._fast_read_handler = service.fast_read_handler
        self._body_bytes_max = service.settings.body_bytes_max
        self._path_prefixes = PathPrefixes.from_settings(service.settings)
        self.load_shedder = LoadShedder(
            service.engine.admission,
            service.settings.queue_wait_seconds_max,
            service.settings.head_bytes_max,
        )
        """The load shedder, which is consulted before any request is parsed (`saldo.http.connection.protocol`)."""
        origins = service.settings.cors_origin_names
        self._cors_app = CorsApp(self._authenticate, origins) if origins else None

    def __call__(self, scope: AsgiScope, receive: Any, send: Any) -> Awaitable[None]:
        if self._cors_app is not None:
            return self._cors_app(scope, receive, send)
        return self._authenticate(scope, receive, send)

    def _authenticate(self, scope: AsgiScope, receive: Any, send: Any) -> Awaitable[None]:
        method = scope["method"]
        if method == "HEAD":
            return self._answer_head(scope, receive, send)
        headers: dict[bytes, bytes] = dict(scope["headers"])
        state = get_request_state(scope)
        state.request_id = accept_or_create_request_id(headers.get(b"x-request-id"))
        REQUEST.set((state.request_id, headers.get(b"traceparent")))
        if (
            len(headers) != len(scope["headers"])
            or b"host" not in headers
            or b"transfer-encoding" in headers
        ):
            fault = find_header_problem(scope, headers)
            if fault is not None:
                return ProblemApp(fault, self.routes.find_label)(scope, receive, send)
        if method == "OPTIONS":
            return self._answer_options(scope, state.request_id, send)
        needed_scope = find_required_scope(method, scope["path"])
        grant = (
            NO_GRANT
            if needed_scope is None
            else self._authenticator.authenticate_cached(scope, headers)
        )
        if (
            grant is None
            or grant.bucket is not None
            or (needed_scope is not None and not grant.allows(needed_scope))
        ):
            return self._authenticate_slowly(
                scope, state, headers, needed_scope, grant, receive, send
            )
        return self._dispatch(scope, state, headers, grant, receive, send)

    async def _answer_head(self, scope: AsgiScope, receive: Any, send: Any) -> None:
        """Answer HEAD like a GET of the same path. The server omits the body, because the scope that it created says
        HEAD."""
        get_request_state(scope).is_head = True
        await self._authenticate(scope | {"method": "GET"}, receive, send)

    async def _answer_options(self, scope: AsgiScope, request_id: str, send: Any) -> None:
        """Answer OPTIONS. No key is needed, because the public OpenAPI document lists the methods as well."""
        path = scope["path"]
        route = self.routes.find_route(path)
        if path == "*":
            answer = RawResponse(204, b"", headers=(("allow", self.routes.options_allow),))
        elif route is None:
            answer = problems.build_not_found().build_response(request_id)
        else:
            answer = RawResponse(204, b"", headers=(("allow", route.allow),))
        record_response("OPTIONS", OTHER if route is None else route.template, answer.status)
        await send_response(scope, send, answer, request_id)

    def _dispatch(
        self,
        scope: AsgiScope,
        state: RequestState,
        headers: dict[bytes, bytes],
        grant: Grant,
        receive: Any,
        send: Any,
    ) -> Awaitable[None]:
        """Return the coroutine of the route's application. It is not awaited here, because each awaiting layer costs
        time."""
        method, path = scope["method"], scope["path"]
        if method == "POST" and path == POST_TRANSACTION_PATH and not scope["query_string"]:
            state.route = POST_TRANSACTION_PATH
            return self._post_transaction(scope, state, headers, grant, receive, send)
        if method == "GET" and not scope["query_string"]:
            fast_read = _FAST_READ_PATH.fullmatch(path)
            if fast_read is not None:
                return self._answer_fast_read(scope, state, fast_read[1], fast_read[2], grant, send)
        state.admission = Authentication(self._authenticator, scope, headers, grant)
        state.path_prefix = self._path_prefixes.find(scope)
        if method == "POST" and path == BULK_PATH:
            state.route = BULK_PATH
            return self._bulk_handler(scope, receive, send)
        if method == "GET" and path in self._streams:
            state.route = path
            stream: Awaitable[None] = self._streams[path](scope, receive, send)
            return stream
        return self._call_framework(scope, state, receive, send)

    async def _authenticate_slowly(
        self,
        scope: AsgiScope,
        state: RequestState,
        headers: dict[bytes, bytes],
        needed_scope: Scope | None,
        grant: Grant | None,
        receive: Any,
        send: Any,
    ) -> None:
        """Authorize and answer a request that the fast path does not handle. Its grant is not cached, lacks the
        required scope, or has a rate limit."""
        try:
            grant_or_failure = grant or await self._authenticator.authenticate(scope, headers)
            grant_or_problem = authorize(grant_or_failure, needed_scope)
        except StoreError as error:
            grant_or_problem = problems.convert_error(error, state.request_id)
        if isinstance(grant_or_problem, Grant):
            await self._dispatch(scope, state, headers, grant_or_problem, receive, send)
            return
        answer = grant_or_problem.build_response(state.request_id)
        method = get_client_method(scope)
        record_response(method, self.routes.find_label(method, scope["path"]), answer.status)
        await send_response(scope, send, answer, state.request_id)

    def is_authenticated_cached(self, scope: AsgiScope) -> bool:
        """Return whether a request can be authenticated without a query to the database."""
        return self._authenticator.authenticate_cached(scope, dict(scope["headers"])) is not None

    def drain(self) -> None:
        """Report that the service is not ready, so that load balancers use other instances before the server stops."""
        self.service.readiness.is_draining = True
        self.load_shedder.is_draining = True

    def end_streams(self) -> None:
        """End all streams. Called when the server stops."""
        self._bulk_handler.stop()
        self.service.event_stream_handler.stop()

    async def _call_framework(
        self, scope: AsgiScope, state: RequestState, receive: Any, send: Any
    ) -> None:
        """Call the framework. Add the request's id to the response, and count the response."""
        began_at = time.perf_counter()
        is_body_complete = False

        async def receive_and_note_disconnect() -> Any:
            nonlocal is_body_complete
            message = await receive()
            if message["type"] == "http.disconnect" and not is_body_complete:
                # The framework would treat the disconnect as an internal error, respond with 500 and log a traceback.
                state.is_abandoned = True
            is_body_complete = is_body_complete or not message.get("more_body", False)
            return message

        async def send_with_id(message: Any) -> None:
            if state.is_abandoned:
                return
            if message["type"] == "http.response.start":
                headers = message.get("headers", ())
                message["headers"] = [
                    *headers,
                    (b"x-request-id", state.request_id.encode()),
                    *build_framework_headers(headers, scope["path"]),
                ]
                route = scope.get("path_template") or OTHER
                record_response(get_client_method(scope), route, message["status"], began_at)
            await send(message)

        await self._framework(scope, receive_and_note_disconnect, send_with_id)
        state.route = scope.get("path_template")

    async def _post_transaction(
        self,
        scope: AsgiScope,
        state: RequestState,
        headers: dict[bytes, bytes],
        grant: Grant,
        receive: Any,
        send: Any,
    ) -> None:
        request_id = state.request_id
        began_at = read_at = time.perf_counter()
        try:
            body = await read_body(receive, headers, self._body_bytes_max)
            read_at = time.perf_counter()
            key = headers.get(b"idempotency-key")
            answer = await self._post_transaction_handler.post(
                body,
                headers.get(b"content-type", b"").decode("latin-1"),
                None if key is None else key.decode("latin-1"),
                request_id,
                grant,
            )
        except ClientDisconnectedError:
            return
        except Exception as error:
            answer = build_error_response(error, request_id)
        record_response("POST", POST_TRANSACTION_PATH, answer.status, began_at, read_at)
        await send_response(scope, send, answer, request_id)

    async def _answer_fast_read(
        self,
        scope: AsgiScope,
        state: RequestState,
        user_id: str | None,
        uuid: str | None,
        grant: Grant,
        send: Any,
    ) -> None:
        request_id = state.request_id
        began_at = time.perf_counter()
        route = BALANCE_PATH if user_id is not None else TRANSACTION_PATH
        state.route = route
        try:
            if user_id is not None:
                answer = await self._fast_read_handler.get_current_balance(
                    user_id, request_id, grant
                )
            else:
                answer = await self._fast_read_handler.get_transaction(
                    uuid or "", request_id, grant
                )
        except Exception as error:
            answer = build_error_response(error, request_id)
        record_response("HEAD" if state.is_head else "GET", route, answer.status, began_at)
        await send_response(scope, send, answer, request_id)
