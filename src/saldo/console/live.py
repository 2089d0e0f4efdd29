"""What a page follows live: the stream of `GET /v1/events`, for who has signed in.

A browser's reader of such streams can send cookies, and no key.
"""

from __future__ import annotations

from typing import Any, Final

from saldo.access.grant import Scope
from saldo.console.entry import Entry, SessionAdmission
from saldo.http import problems
from saldo.http.access import CONSOLE_PATH
from saldo.http.answers import Answer
from saldo.http.events import Events
from saldo.http.sending import answered, send_answer
from saldo.store.errors import StoreError

LIVE_PATH: Final = f"{CONSOLE_PATH}/live"


class Live:
    """The route."""

    def __init__(self, entry: Entry, events: Events) -> None:
        self._entry = entry
        self._events = events

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """The ASGI application of the path."""
        request_id: str = scope["state"]["request_id"]
        refused = await self._refused(scope, request_id)
        if refused is None:
            await self._events(scope, receive, send)
            return
        answered("GET", LIVE_PATH, refused.status)
        await send_answer(scope, send, refused, request_id)

    async def _refused(self, scope: Any, request_id: str) -> Answer | None:
        """None: it may be followed, as far as the key goes."""
        try:
            # That a page stands open is no sign that somebody is there.
            visitor = await self._entry.visitor(scope, in_use=False)
        except StoreError as error:
            return problems.of_error(error, request_id).answer(request_id)
        if visitor.grant is None:
            return problems.unauthenticated("Sign in to the console.").answer(request_id)
        if not visitor.grant.allows(Scope.READ):
            return problems.forbidden_scope(Scope.READ).answer(request_id)
        scope["state"]["admission"] = SessionAdmission(self._entry, scope, visitor)
        return None
