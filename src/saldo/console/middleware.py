"""Middleware of the console's routes: authentication, CSRF protection of forms, and error pages."""

from __future__ import annotations

import logging
from typing import Final

from litestar import Response
from litestar.exceptions import HTTPException

from saldo.auth.grants import Scope
from saldo.console.authentication import SessionAdmission, SessionAuthenticator, Visitor
from saldo.console.page import SIGN_IN_PATH, ConsolePage, HttpRequest, parse_field_values
from saldo.http.api.context import AppContext
from saldo.http.problems import Problem, ProblemError
from saldo.http.request_state import get_request_state
from saldo.http.requests import get_request_id
from saldo.parsing.faults import InvalidRequestError
from saldo.store.errors import OutcomeUncertainError, RejectedError, StoreError

SETTINGS_PATH: Final = "/console/settings"
UNAUTHENTICATED_PATHS: Final = frozenset({SIGN_IN_PATH, SETTINGS_PATH})
"""Paths that are served without a sign-in."""

AUTOMATIC_REQUEST_HEADER: Final = "x-saldo-by-itself"
"""Header of requests that a page sends automatically. Such a request does not extend the session."""

RENDERED_EXCEPTIONS: Final = (
    ProblemError,
    InvalidRequestError,
    StoreError,
    HTTPException,
    Exception,
)
"""Exceptions that are rendered as HTML. They are listed explicitly, because otherwise the API's handlers would catch
them."""

_log = logging.getLogger("saldo.console")


class ConsoleMiddleware:
    """The hooks of the console's routes. The framework calls them before a route, and after a route has raised an
    exception."""

    def __init__(self, authenticator: SessionAuthenticator, service: AppContext) -> None:
        self._authenticator = authenticator
        self._service = service

    async def authenticate_request(self, request: HttpRequest) -> Response[bytes] | None:
        """Authenticate a request and check its form token.

        Returns:
            The response that replaces the route's, or None if the route is to handle the request.
        """
        visitor = await self._authenticator.identify(
            request.scope, in_use=AUTOMATIC_REQUEST_HEADER not in request.headers
        )
        page = ConsolePage(request, visitor, self._service)
        get_request_state(request.scope).page = page
        if visitor.denial is not None:
            return render_error_page(page, 403, visitor.denial)
        is_open = request.scope["path"] in UNAUTHENTICATED_PATHS
        if page.is_form and _is_cross_origin_form(request):
            return render_error_page(page, 403, page.messages.form_cross_origin)
        if visitor.grant is None and not is_open:
            # The form token is not checked, because it became invalid together with the session.
            return _redirect_to_sign_in(page)
        if page.is_form and not visitor.owns(await _read_form_token(request)):
            return render_error_page(page, 403, page.messages.form_expired, page.return_path)
        if is_open:
            return None
        if not page.grant.allows(Scope.READ):
            return render_error_page(page, 403, page.messages.forbidden)
        if page.grant.bucket is not None and page.grant.bucket.take_tokens():
            return render_error_page(page, 429, page.messages.rate_limited)
        admission = SessionAdmission(self._authenticator, request.scope, visitor)
        get_request_state(request.scope).admission = admission
        return None

    def render_error(self, request: HttpRequest, error: Exception) -> Response[bytes]:
        """Return an error page for an exception, without internal details."""
        page = get_request_state(request.scope).page
        if not isinstance(page, ConsolePage):
            page = ConsolePage(
                request, Visitor(None, is_signed_in=False, secret="", is_new=False), self._service
            )
        return _render_exception(error, page)


class PageNotFoundError(Exception):
    """Raised when an object does not exist, or the visitor may not see it."""


class ConsoleForbiddenError(Exception):
    """Raised when the visitor's key does not permit the page."""


def require_scope(page: ConsolePage, scope: Scope) -> None:
    """Check that the visitor's grant includes a scope.

    Raises:
        ConsoleForbiddenError: The visitor's grant does not include the scope.
    """
    if not page.grant.allows(scope):
        raise ConsoleForbiddenError


def render_error_page(
    page: ConsolePage, status: int, detail: str, retry_url: str = ""
) -> Response[bytes]:
    """Return an error page.

    Args:
        retry_url: The address of the page that the visitor can open again, or an empty text.
    """
    title = page.messages.error_titles.get(status, page.messages.error_titles[400])
    return page.render("problem.html", status, title=title, detail=detail, retry_url=retry_url)


def _is_cross_site_navigation(request: HttpRequest) -> bool:
    """Return whether the request follows a link on another site.

    The browser omits the console's cookies from such a request. It sends them when a page of the console opens the same
    address.
    """
    return request.headers.get("sec-fetch-site") in {"cross-site", "same-site"}


def _is_cross_origin_form(request: HttpRequest) -> bool:
    """Return whether a page of another origin submitted the form."""
    site = request.headers.get("sec-fetch-site")
    is_own_origin = request.headers.get("origin", "").partition("://")[2] == request.headers.get(
        "host"
    )
    return site not in {None, "same-origin"} or (site is None and not is_own_origin)


def _redirect_to_sign_in(page: ConsolePage) -> Response[bytes]:
    """Return a redirect to the sign-in page, with the address to return to.

    The address is the requested page, or the page that contained the submitted form. If the request follows a link on
    another site, the response is not a redirect but a page that opens the address again. The browser then sends the
    cookies.
    """
    if not page.is_form and _is_cross_site_navigation(page.request):
        return page.render("reload.html")
    return page.redirect(SIGN_IN_PATH, to=page.return_path)


async def _read_form_token(request: HttpRequest) -> str:
    tokens = await parse_field_values(request, "form")
    return tokens[0] if len(tokens) == 1 else ""


def _render_exception(error: Exception, page: ConsolePage) -> Response[bytes]:
    messages = page.messages
    match error:
        case PageNotFoundError():
            return render_error_page(page, 404, messages.not_found)
        case ConsoleForbiddenError():
            return render_error_page(page, 403, messages.forbidden)
        case ProblemError(problem=Problem(status=403)):
            is_all_users = (
                page.grant.user_ids is not None and "user_id" not in page.request.path_params
            )
            return render_error_page(
                page, 403, messages.forbidden_all if is_all_users else messages.forbidden_user
            )
        case InvalidRequestError():
            sentences = [*page.describe_faults(error).values()]
            # "Nothing was done" is added for forms only. On other pages a reader could relate it to an earlier action
            # that was in fact done.
            sentences += [messages.nothing_changed] if page.is_form else []
            return render_error_page(page, 422, " ".join(sentences))
        case StoreError() if not isinstance(error, RejectedError | OutcomeUncertainError):
            _log.warning("console: can't query the database: %s", error)
            return render_error_page(page, 503, messages.database_down)
        case HTTPException() if error.status_code in {404, 405}:
            return render_error_page(page, 404, messages.not_found)
        case HTTPException() if error.status_code < 500:
            return render_error_page(page, 400, messages.bad_request)
        case _:
            identity = get_request_id(page.request)
            if not get_request_state(page.request.scope).is_abandoned:
                _log.error("request %s failed", identity, exc_info=error)
            return render_error_page(page, 500, messages.internal_error.format(identity))
