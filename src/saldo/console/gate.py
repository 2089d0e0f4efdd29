"""What stands before each route of the console: who asks, whether a form is ours, what to say when something fails."""

from __future__ import annotations

import logging
from typing import Final

from litestar import Response
from litestar.exceptions import HTTPException

from saldo.access.grant import Scope
from saldo.console.entry import Entry, SessionAdmission, Visitor
from saldo.console.page import SIGN_IN_PATH, Asked, Page, list_of
from saldo.http.access import ForbiddenError
from saldo.http.body import CLIENT_GONE
from saldo.http.routes import request_id
from saldo.http.service import Service
from saldo.http.wire import InvalidError
from saldo.store.errors import RejectedError, StoreError

SETTINGS_PATH: Final = "/console/settings"
OPEN: Final = frozenset({SIGN_IN_PATH, SETTINGS_PATH})
"""Answered to who isn't signed in, too."""

BY_ITSELF: Final = "x-saldo-by-itself"
"""A header of requests that a page makes without anybody doing anything: no sign that somebody is there."""

FAULTS: Final = (ForbiddenError, InvalidError, StoreError, HTTPException, Exception)
"""Those that the API answers as a problem are named: else they would be here, too."""

_log = logging.getLogger("saldo.console")


class Gate:
    """Called by the framework before each route, and after one that failed."""

    def __init__(self, entry: Entry, service: Service) -> None:
        self._entry = entry
        self._service = service

    async def before(self, request: Asked) -> Response[bytes] | None:
        """None: the route may answer."""
        visitor = await self._entry.visitor(request.scope, in_use=BY_ITSELF not in request.headers)
        page = Page(request, visitor, self._service)
        request.scope["state"]["page"] = page
        if visitor.denied is not None:
            return problem(page, 403, visitor.denied)
        is_open = request.scope["path"] in OPEN
        if page.is_form and _foreign(request):
            return problem(page, 403, page.words.form_foreign)
        if visitor.grant is None and not is_open:
            # Before the form's token, which has ended with the session.
            return _to_sign_in(page)
        if page.is_form and not visitor.owns(await _form_token(request)):
            return problem(page, 403, page.words.form_stale, page.origin)
        if is_open:
            return None
        if not page.grant.allows(Scope.READ):
            return problem(page, 403, page.words.forbidden)
        if page.grant.bucket is not None and page.grant.bucket.take():
            return problem(page, 429, page.words.too_fast)
        request.scope["state"]["admission"] = SessionAdmission(self._entry, request.scope, visitor)
        return None

    def failed(self, request: Asked, error: Exception) -> Response[bytes]:
        """A page that says so. Nothing of the inside is on it."""
        page = request.scope["state"].get("page")
        if page is None:
            page = Page(
                request, Visitor(None, signed_in=False, secret="", new=False), self._service
            )
        return _answer_to(error, page)


class NotFoundError(Exception):
    """There is nothing, or nothing for who asks."""


class NotPermittedError(Exception):
    """The key doesn't open this."""


def needing(page: Page, scope: Scope) -> None:
    """Lets through whose key opens this part.

    Raises:
        NotPermittedError: it doesn't.
    """
    if not page.grant.allows(scope):
        raise NotPermittedError


def problem(page: Page, status: int, detail: str, again: str = "") -> Response[bytes]:
    """A page about what is wrong. again: the page to open once more."""
    title = page.words.fault_titles.get(status, page.words.fault_titles[400])
    return page.show("problem.html", status, title=title, detail=detail, again=again)


def _came_along_a_link(request: Asked) -> bool:
    """From another site: the browser leaves our cookies out then, and sends them when a page of ours leads on."""
    return request.headers.get("sec-fetch-site") in {"cross-site", "same-site"}


def _foreign(request: Asked) -> bool:
    """Whether a form was sent by a page that isn't ours."""
    site = request.headers.get("sec-fetch-site")
    own = request.headers.get("origin", "").partition("://")[2] == request.headers.get("host")
    return site not in {None, "same-origin"} or (site is None and not own)


def _to_sign_in(page: Page) -> Response[bytes]:
    """With the way back: to the page itself, or to the one that a form stood on."""
    if not page.is_form and _came_along_a_link(page.request):
        return page.show("again.html")
    return page.go(SIGN_IN_PATH, to=page.origin)


async def _form_token(request: Asked) -> str:
    found = await list_of(request, "form")
    return found[0] if len(found) == 1 else ""


def _answer_to(error: Exception, page: Page) -> Response[bytes]:
    words = page.words
    match error:
        case NotFoundError():
            return problem(page, 404, words.not_found)
        case NotPermittedError():
            return problem(page, 403, words.forbidden)
        case ForbiddenError():
            all_ = page.grant.user_ids is not None and "user_id" not in page.request.path_params
            return problem(page, 403, words.forbidden_all if all_ else words.forbidden_user)
        case InvalidError():
            said = [*page.faults(error).values()]
            # Of who only looks nothing was asked: what was done before may have been done.
            said += [words.invalid] if page.is_form else []
            return problem(page, 422, " ".join(said))
        case StoreError() if not isinstance(error, RejectedError):
            _log.warning("the console: the database: %s", error)
            return problem(page, 503, words.database_down)
        case HTTPException() if error.status_code in {404, 405}:
            return problem(page, 404, words.not_found)
        case HTTPException() if error.status_code < 500:
            return problem(page, 400, words.not_readable)
        case _:
            identity = request_id(page.request)
            if CLIENT_GONE not in page.request.scope["state"]:
                _log.error("request %s failed", identity, exc_info=error)
            return problem(page, 500, words.broken.format(identity))
