"""The live stream of `GET /v1/events` for the console's pages, authenticated by the session.

A browser's `EventSource` can send cookies, but it can't send the header with an API key.
"""

from __future__ import annotations

from typing import Any, Final

from saldo.auth.grants import Scope
from saldo.console.authentication import SessionAdmission, SessionAuthenticator
from saldo.http import problems
from saldo.http.api.event_stream import EventStreamHandler
from saldo.http.authorization import CONSOLE_PATH
from saldo.http.raw_responses import get_client_method, record_response, send_response
from saldo.http.request_state import get_request_state
from saldo.http.responses import RawResponse
from saldo.store.errors import StoreError

LIVE_PATH: Final = f"{CONSOLE_PATH}/live"


class ConsoleEventStream:
    """The route of the live stream."""

    def __init__(
        self, authenticator: SessionAuthenticator, event_stream_handler: EventStreamHandler
    ) -> None:
        self._authenticator = authenticator
        self._event_stream_handler = event_stream_handler

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve a request as an ASGI application."""
        request_id = get_request_state(scope).request_id
        error_answer = await self._build_authentication_error(scope, request_id)
        if error_answer is None:
            await self._event_stream_handler(scope, receive, send)
            return
        record_response(get_client_method(scope), LIVE_PATH, error_answer.status)
        await send_response(scope, send, error_answer, request_id)

    async def _build_authentication_error(self, scope: Any, request_id: str) -> RawResponse | None:
        """Authenticate the request. Return the error response, or None if the grant allows the stream."""
        try:
            # An open page does not extend the session.
            visitor = await self._authenticator.identify(scope, in_use=False)
        except StoreError as error:
            return problems.convert_error(error, request_id).build_response(request_id)
        if visitor.grant is None:
            return problems.build_authentication_required("Sign in to the console.").build_response(
                request_id
            )
        if not visitor.grant.allows(Scope.READ):
            return problems.build_forbidden_scope(Scope.READ).build_response(request_id)
        get_request_state(scope).admission = SessionAdmission(self._authenticator, scope, visitor)
        return None
