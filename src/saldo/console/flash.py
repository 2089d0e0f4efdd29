"""Flash messages: secrets that a form creates and that the page after the redirect shows once.

If the response to the form showed the secret, each reload of that response would create another secret. Instead the
secret is put into a cookie for the path of the next page. That page shows the secret and deletes the cookie. The cookie
is encrypted, because the logs of proxies may contain it. Its encryption key is derived from the session's secret and
from the digest of the API key that the session was started with. The digest is never sent, so only the service can
create and decrypt flash messages. While no API keys exist, there is no digest and no proxy, and the encryption key is
derived from the visitor's secret only.
"""

from __future__ import annotations

import hmac
from hashlib import sha256
from secrets import token_bytes
from typing import Any, Final

from litestar import Response

from saldo.console.authentication import parse_cookies
from saldo.console.page import ConsolePage

FLASH_COOKIE: Final = "saldo_shown"
NONCE_BYTES: Final = 12
FLASH_SECONDS: Final = 60
"""Lifetime of the cookie in seconds. The browser requests the next page immediately after the redirect."""


def redirect_with_flash(page: ConsolePage, path: str, text: str) -> Response[bytes]:
    """Return a redirect to a page that shows a text once."""
    answer = page.redirect(path)
    value = _encrypt(page, path, text.encode()).hex()
    page.set_cookie(answer, FLASH_COOKIE, value, seconds=FLASH_SECONDS, path=path)
    return answer


def read_flash(page: ConsolePage) -> str | None:
    """Return the text that this page has to show once, or None if there is none."""
    value = parse_cookies(page.request.scope).get(FLASH_COOKIE, "")
    try:
        return _decrypt(page, bytes.fromhex(value)).decode()
    except (ValueError, _InvalidFlashError):
        return None


def clear_flash(page: ConsolePage, answer: Response[Any]) -> None:
    """Delete the cookie with the text that the page has shown."""
    page.set_cookie(answer, FLASH_COOKIE, "", seconds=0, path=page.path)


class _InvalidFlashError(Exception):
    """Raised when a cookie was not created for this page and this session."""


def _encrypt(page: ConsolePage, path: str, text: bytes) -> bytes:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - takes long to load

    nonce = token_bytes(NONCE_BYTES)
    return nonce + AESGCM(_derive_key(page)).encrypt(nonce, text, path.encode())


def _decrypt(page: ConsolePage, sealed: bytes) -> bytes:
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - takes long to load
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - takes long to load

    if len(sealed) <= NONCE_BYTES:
        raise _InvalidFlashError
    nonce, text = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
    try:
        return AESGCM(_derive_key(page)).decrypt(nonce, text, page.path.encode())
    except InvalidTag:
        raise _InvalidFlashError from None


def _derive_key(page: ConsolePage) -> bytes:
    digest = (
        page.service.key_cache.find_digest(page.grant.name) if page.visitor.is_signed_in else None
    )
    secret = page.visitor.secret.encode()
    return hmac.new(digest or b"no key", b"saldo console shown " + secret, sha256).digest()
