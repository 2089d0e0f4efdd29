"""The raw ASGI front: the hot routes, and what every request gets whichever route takes it.

`POST /v1/transaction` goes past the framework's router (it costs half of the throughput), and so do the streams,
`POST /v1/transactions` and `GET /v1/events`; all else goes to the framework. The answers of the first are the same:
both call `saldo.http.transactions`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Mapping
from typing import Any, Final

from saldo.access.gate import Admission
from saldo.access.grant import NOBODY, Grant, Scope
from saldo.http import problems
from saldo.http.access import admitted, scope_of
from saldo.http.body import CLIENT_GONE, ClientGoneError, body_of
from saldo.http.bulk import BULK_PATH
from saldo.http.cross_origin import CrossOrigin
from saldo.http.crowded import Refused
from saldo.http.events import EVENTS_PATH
from saldo.http.heads import fault_of
from saldo.http.pages import headers_of_page
from saldo.http.sending import answered, failed, request_id_of, send_answer
from saldo.http.service import Service
from saldo.http.shedding import Shedding
from saldo.observability.logs import REQUEST
from saldo.store.errors import StoreError

HOT_PATH: Final = "/v1/transaction"
BALANCE_PATH: Final = "/v1/user/{user_id}/balance"
TRANSACTION_PATH: Final = "/v1/transaction/{uuid}"
_QUESTION: Final = re.compile(r"/v1/(?:user/([^/]+)/balance|transaction/([^/]+))")

Request = dict[str, Any]
"""ASGI's scope: what is known of a request."""


class Front:
    """The ASGI application that the server runs."""

    def __init__(self, framework: Any, service: Service, streams: Mapping[str, Any]) -> None:
        """
        Args:
            streams: ASGI applications of paths whose answers have no end; as `GET /v1/events`, past the framework.
        """
        self.service = service
        self._framework = framework
        self._streams = {EVENTS_PATH: service.events, **streams}
        self._transactions = service.transactions
        self._bulk = service.bulk
        self._gate = service.gate
        self._questions = service.questions
        self._body_bytes_max = service.settings.body_bytes_max
        self.shedding = Shedding(service.engine, service.settings.queue_wait_seconds_max)
        """Asked before any request is read (`saldo.http.protocol`)."""
        origins = service.settings.cors_origin_names
        self._cross_origin = CrossOrigin(self._take, origins) if origins else None

    def __call__(self, scope: Request, receive: Any, send: Any) -> Awaitable[None]:
        if self._cross_origin is not None:
            return self._cross_origin(scope, receive, send)
        return self._take(scope, receive, send)

    def _take(self, scope: Request, receive: Any, send: Any) -> Awaitable[None]:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        request_id = request_id_of(headers.get(b"x-request-id"))
        REQUEST.set((request_id, headers.get(b"traceparent")))
        if (
            len(headers) != len(scope["headers"])
            or b"host" not in headers
            or b"transfer-encoding" in headers
        ):
            fault = fault_of(scope, headers)
            if fault is not None:
                return Refused(fault)(scope, receive, send)
        needed = scope_of(scope["method"], scope["path"])
        grant = NOBODY if needed is None else self._gate.at_once(scope, headers)
        if (
            grant is None
            or grant.bucket is not None
            or (needed is not None and not grant.allows(needed))
        ):
            return self._ask(scope, headers, needed, grant, request_id, receive, send)
        return self._dispatch(scope, headers, grant, request_id, receive, send)

    def _dispatch(
        self,
        scope: Request,
        headers: dict[bytes, bytes],
        grant: Grant,
        request_id: str,
        receive: Any,
        send: Any,
    ) -> Awaitable[None]:
        """To the route that takes it. Hands its coroutine on: each layer awaited costs at every turn."""
        method, path = scope["method"], scope["path"]
        if method == "POST" and path == HOT_PATH and not scope["query_string"]:
            scope["path_template"] = HOT_PATH
            return self._post(scope, headers, grant, request_id, receive, send)
        if method == "GET" and not scope["query_string"]:
            question = _QUESTION.fullmatch(path)
            if question is not None:
                return self._get(scope, question[1], question[2], grant, request_id, send)
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        state["admission"] = Admission(self._gate, scope, headers, grant)
        if method == "POST" and path == BULK_PATH:
            scope["path_template"] = BULK_PATH
            return self._bulk(scope, receive, send)
        if method == "GET" and path in self._streams:
            scope["path_template"] = path
            stream: Awaitable[None] = self._streams[path](scope, receive, send)
            return stream
        return self._hand_on(scope, request_id, receive, send)

    async def _ask(
        self,
        scope: Request,
        headers: dict[bytes, bytes],
        needed: Scope | None,
        grant: Grant | None,
        request_id: str,
        receive: Any,
        send: Any,
    ) -> None:
        """Lets one in who is not known at once, or whose requests are counted; or says why not."""
        try:
            grant_or_denied = grant or await self._gate.admit(scope, headers)
            found = admitted(grant_or_denied, needed)
        except StoreError as error:
            found = problems.of_error(error, request_id)
        if isinstance(found, Grant):
            await self._dispatch(scope, headers, found, request_id, receive, send)
            return
        answer = found.answer(request_id)
        answered(scope["method"], "other", answer.status)
        await send_answer(scope, send, answer, request_id)

    def drain(self) -> None:
        """The server will stop soon: balancers must learn of it."""
        self.service.readiness.draining = True
        self.shedding.draining = True

    def end_streams(self) -> None:
        """The server stops: streams must end."""
        self._bulk.stop()
        self.service.events.stop()

    async def _hand_on(self, scope: Request, request_id: str, receive: Any, send: Any) -> None:
        """To the framework; its answers too carry the id and are counted."""
        began = time.perf_counter()
        state = scope["state"]
        body_is_whole = False

        async def receive_body() -> Any:
            nonlocal body_is_whole
            message = await receive()
            if message["type"] == "http.disconnect" and not body_is_whole:
                # The framework would take it for a fault of its own: with 500 and a traceback in the log.
                state[CLIENT_GONE] = True
            body_is_whole = body_is_whole or not message.get("more_body", False)
            return message

        async def send_with_id(message: Any) -> None:
            if CLIENT_GONE in state:
                return
            if message["type"] == "http.response.start":
                headers = message.get("headers", ())
                message["headers"] = [
                    *headers,
                    (b"x-request-id", request_id.encode()),
                    *headers_of_page(headers, scope["path"]),
                ]
                route = scope.get("path_template") or "other"
                answered(scope["method"], route, message["status"], began)
            await send(message)

        await self._framework(scope, receive_body, send_with_id)

    async def _post(
        self,
        scope: Request,
        headers: dict[bytes, bytes],
        grant: Grant,
        request_id: str,
        receive: Any,
        send: Any,
    ) -> None:
        began = read_at = time.perf_counter()
        try:
            body = await body_of(receive, headers, self._body_bytes_max)
            read_at = time.perf_counter()
            key = headers.get(b"idempotency-key")
            answer = await self._transactions.post(
                body,
                headers.get(b"content-type", b"").decode("latin-1"),
                None if key is None else key.decode("latin-1"),
                request_id,
                grant,
            )
        except ClientGoneError:
            return
        except Exception as error:
            answer = failed(error, request_id)
        answered("POST", HOT_PATH, answer.status, began, read_at)
        await send_answer(scope, send, answer, request_id)

    async def _get(
        self,
        scope: Request,
        user_id: str | None,
        uuid: str | None,
        grant: Grant,
        request_id: str,
        send: Any,
    ) -> None:
        began = time.perf_counter()
        route = BALANCE_PATH if user_id is not None else TRANSACTION_PATH
        scope["path_template"] = route
        try:
            if user_id is not None:
                answer = await self._questions.balance_now(user_id, request_id, grant)
            else:
                answer = await self._questions.transaction(uuid or "", request_id, grant)
        except Exception as error:
            answer = failed(error, request_id)
        answered("GET", route, answer.status, began)
        await send_answer(scope, send, answer, request_id)
