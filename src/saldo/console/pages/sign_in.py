"""The pages for signing in and out, and for the display preferences."""

from __future__ import annotations

from litestar import Response, post

from saldo.auth.authenticator import AuthenticationFailure
from saldo.console.authentication import MISSING_READ_SCOPE, InjectedAuthenticator
from saldo.console.middleware import SETTINGS_PATH
from saldo.console.page import (
    SIGN_IN_PATH,
    InjectedPage,
    page_route,
    parse_console_path,
    parse_form,
    parse_query,
)
from saldo.console.preferences import list_zones
from saldo.http.authorization import CONSOLE_PATH


@page_route(SIGN_IN_PATH)
async def show_sign_in(page: InjectedPage) -> Response[bytes]:
    """Show the sign-in form. A visitor who already has a grant is redirected."""
    values = parse_query(page.request, "to", "out")
    target = parse_console_path(values.get("to")) or CONSOLE_PATH
    if page.visitor.grant is not None:
        return page.redirect(target)
    return page.render("sign_in.html", to=target, error_message="", signed_out="out" in values)


@post(SIGN_IN_PATH)
async def sign_in(page: InjectedPage, authenticator: InjectedAuthenticator) -> Response[bytes]:
    """Begin a session. The session always has a new secret, which prevents session fixation."""
    values = await parse_form(page.request, "key", "to")
    target = parse_console_path(values.get("to")) or CONSOLE_PATH
    secret = await authenticator.sign_in(page.request.scope, values.get("key", "").strip())
    if isinstance(secret, AuthenticationFailure):
        messages = page.messages
        error_message = (
            messages.sign_in_scope_missing
            if secret is MISSING_READ_SCOPE
            else messages.sign_in_rejected
        )
        return page.render(
            "sign_in.html", 403, to=target, error_message=error_message, signed_out=False
        )
    answer = page.redirect(target)
    page.set_session_cookie(answer, secret)
    return answer


@post("/console/sign-out")
async def sign_out(page: InjectedPage, authenticator: InjectedAuthenticator) -> Response[bytes]:
    """End the session in the database and delete its cookie."""
    if page.visitor.is_signed_in:
        await authenticator.sign_out(page.visitor)
    answer = page.redirect(SIGN_IN_PATH, out="1")
    page.set_session_cookie(answer, None)
    return answer


@page_route(SETTINGS_PATH)
async def show_settings(page: InjectedPage) -> Response[bytes]:
    """Show the form for language, theme and time zone."""
    target = parse_console_path(parse_query(page.request, "to").get("to")) or CONSOLE_PATH
    return page.render("settings.html", to=target, zones=sorted(list_zones()))


@post(SETTINGS_PATH)
async def save_settings(page: InjectedPage) -> Response[bytes]:
    """Store the chosen preferences in the cookie and redirect to the previous page."""
    values = await parse_form(page.request, "language", "theme", "zone", "to", keep_empty=True)
    preferences = page.preferences.with_changes(
        values.get("language", ""), values.get("theme", ""), values.get("zone")
    )
    answer = page.redirect(parse_console_path(values.get("to")) or CONSOLE_PATH)
    page.save_preferences(answer, preferences)
    return answer


HANDLERS = [show_sign_in, sign_in, sign_out, show_settings, save_settings]
