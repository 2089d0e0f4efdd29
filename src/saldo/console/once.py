"""A secret that is shown once: made by a form, shown by the page that the form leads to.

On the answer to the form it would be made again with each reload. In between it is in a cookie of that page, which the
page takes away; bound to the session, so that nobody else can have something shown.
"""

from __future__ import annotations

import hmac
from hashlib import sha256
from typing import Any, Final
from urllib.parse import quote, unquote

from litestar import Response

from saldo.console.entry import cookies_of
from saldo.console.page import Page

SHOWN_COOKIE: Final = "saldo_shown"
SHOWN_SECONDS: Final = 60
"""Between the answer and the next page there are moments."""


def go_and_show(page: Page, path: str, text: str) -> Response[bytes]:
    """To a page that shows it, and only once."""
    answer = page.go(path)
    value = f"{_mark(page, text)}.{quote(text, safe='')}"
    page.set_cookie(answer, SHOWN_COOKIE, value, seconds=SHOWN_SECONDS, path=path)
    return answer


def to_show(page: Page) -> str | None:
    """What this page is to show once; None: nothing."""
    value = cookies_of(dict(page.request.scope["headers"])).get(SHOWN_COOKIE, "")
    mark, _, quoted = value.partition(".")
    text = unquote(quoted)
    known = hmac.compare_digest(mark.encode(), _mark(page, text).encode())
    return text if known else None


def forget(page: Page, answer: Response[Any]) -> None:
    """It has been shown."""
    page.set_cookie(answer, SHOWN_COOKIE, "", seconds=0, path=page.path)


def _mark(page: Page, text: str) -> str:
    secret = page.visitor.secret.encode()
    return hmac.new(secret, b"saldo console shown " + text.encode(), sha256).hexdigest()
