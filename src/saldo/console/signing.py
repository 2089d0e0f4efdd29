"""Signing in and out, and how the console looks to one person."""

from __future__ import annotations

from litestar import Response, post

from saldo.access.gate import Denied
from saldo.console.entry import LACKS_READ, GivenEntry
from saldo.console.gate import SETTINGS_PATH
from saldo.console.look import zones
from saldo.console.page import SIGN_IN_PATH, Given, form_of, local_path, query_of, shows
from saldo.http.access import CONSOLE_PATH


@shows(SIGN_IN_PATH)
async def show_sign_in(page: Given) -> Response[bytes]:
    """The form; who needs none goes on."""
    asked = query_of(page.request, "to", "out")
    to = local_path(asked.get("to")) or CONSOLE_PATH
    if page.visitor.grant is not None:
        return page.go(to)
    return page.show("sign_in.html", to=to, wrong="", signed_out="out" in asked)


@post(SIGN_IN_PATH)
async def sign_in(page: Given, entry: GivenEntry) -> Response[bytes]:
    """Begins a session, of a secret of its own: one that was known before is never made a session's."""
    asked = await form_of(page.request, "key", "to")
    to = local_path(asked.get("to")) or CONSOLE_PATH
    secret = await entry.sign_in(page.request.scope, asked.get("key", "").strip())
    if isinstance(secret, Denied):
        words = page.words
        wrong = words.sign_in_scope if secret is LACKS_READ else words.sign_in_wrong
        return page.show("sign_in.html", 403, to=to, wrong=wrong, signed_out=False)
    answer = page.go(to)
    page.keep_session(answer, secret)
    return answer


@post("/console/sign-out")
async def sign_out(page: Given, entry: GivenEntry) -> Response[bytes]:
    """Ends the session, not only in this browser."""
    if page.visitor.signed_in:
        await entry.sign_out(page.visitor)
    answer = page.go(SIGN_IN_PATH, out="1")
    page.keep_session(answer, None)
    return answer


@shows(SETTINGS_PATH)
async def show_settings(page: Given) -> Response[bytes]:
    """Language, theme and zone."""
    to = local_path(query_of(page.request, "to").get("to")) or CONSOLE_PATH
    return page.show("settings.html", to=to, zones=sorted(zones()))


@post(SETTINGS_PATH)
async def keep_settings(page: Given) -> Response[bytes]:
    """Keeps what was chosen in the browser, and goes back."""
    asked = await form_of(page.request, "language", "theme", "zone", "to", empty=True)
    look = page.look.changed(asked.get("language", ""), asked.get("theme", ""), asked.get("zone"))
    answer = page.go(local_path(asked.get("to")) or CONSOLE_PATH)
    page.keep_look(answer, look)
    return answer


HANDLERS = [show_sign_in, sign_in, sign_out, show_settings, keep_settings]
