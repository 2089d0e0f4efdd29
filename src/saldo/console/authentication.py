"""Session authentication of the console: the session cookie, the session's key, and the form tokens.

The middleware authenticates every request. Only the paths in `middleware.UNAUTHENTICATED_PATHS` are served without a
sign-in.

There are two cookies. The browser never sends the session cookie with a request from another site, not even when the
visitor follows a link on that site. The response to such a request therefore must not replace the session cookie.
Visitors without a session get the second cookie, the visitor cookie. It only binds forms to the visitor.
"""

from __future__ import annotations

import hmac
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from secrets import token_urlsafe
from typing import Any, Final

from litestar.di import NamedDependency

from saldo.auth.api_key import hash_secret
from saldo.auth.authenticator import Authentication, AuthenticationFailure, Authenticator
from saldo.auth.grants import NO_GRANT, Grant, Scope
from saldo.console.session_cache import SessionCache
from saldo.http.request_state import get_request_state
from saldo.store.console_sessions import ConsoleSession, ConsoleSessions
from saldo.store.errors import StoreError

SESSION_COOKIE: Final = "saldo_session"
VISITOR_COOKIE: Final = "saldo_visitor"
HOST_PREFIX: Final = "__Host-"
_SECRET_BYTES: Final = 32
_SECRET: Final = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)

_log = logging.getLogger("saldo.auth")

MISSING_READ_SCOPE: Final = AuthenticationFailure("The key may not read.", is_caller_known=True)

Headers = Mapping[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Visitor:
    """The person who sent a request.

    Attributes:
        grant: The visitor's grant, or None if the visitor has to sign in.
        is_signed_in: Whether the grant comes from a session. While no keys exist, there are no sessions.
        secret: The secret of the session, or the value of the visitor cookie.
        is_new: Whether the visitor cookie still has to be set.
        denial: The reason why the visitor can't even sign in, or None if the visitor can.
    """

    grant: Grant | None
    is_signed_in: bool
    secret: str
    is_new: bool = False
    denial: str | None = None

    @property
    def form_token(self) -> str:
        """The CSRF token that every form of this visitor contains. Other sites cannot know it."""
        return sha256(b"saldo console form " + self.secret.encode()).hexdigest()

    def owns(self, form_token: str) -> bool:
        """Return whether a form token is the one of this visitor. A new visitor has none yet."""
        # Bytes are compared, since `compare_digest` accepts text only if it is ASCII.
        return not self.is_new and hmac.compare_digest(
            self.form_token.encode(), form_token.encode()
        )


class SessionAuthenticator:
    """The authenticator of the console, which also begins and ends sessions."""

    def __init__(self, key_authenticator: Authenticator, sessions: ConsoleSessions) -> None:
        self._key_authenticator = key_authenticator
        self._sessions = sessions
        self._cache = SessionCache(sessions.find_sessions)

    async def identify(self, scope: Any, *, in_use: bool = True) -> Visitor:
        """Return the visitor who sent a request, from its cookies.

        Args:
            in_use: Whether the request extends the session. False for requests that a page sends automatically.

        Raises:
            StoreError: The database is not available.
        """
        headers: Headers = dict(scope["headers"])
        cookies = _parse_secret_cookies(scope)
        keyless_grant = await self._key_authenticator.authenticate_without_key(scope, headers)
        secure = is_secure(scope)
        prefix = get_request_state(scope).path_prefix
        secret = cookies.get(build_cookie_name(SESSION_COOKIE, secure=secure, path_prefix=prefix))
        if keyless_grant is None and secret is not None:
            grant = await self._find_grant(secret, scope, headers, in_use)
            if grant is not None:
                return Visitor(grant, is_signed_in=True, secret=secret)
        visitor_cookie = cookies.get(
            build_cookie_name(VISITOR_COOKIE, secure=secure, path_prefix=prefix)
        )
        visitor_secret = (
            (token_urlsafe(_SECRET_BYTES), True)
            if visitor_cookie is None
            else (visitor_cookie, False)
        )
        if isinstance(keyless_grant, AuthenticationFailure):
            return Visitor(None, False, *visitor_secret, denial=keyless_grant.detail)
        return Visitor(keyless_grant, False, *visitor_secret)

    async def sign_in(self, scope: Any, key: str) -> str | AuthenticationFailure:
        """Begin a session with a key that has the scope `read`.

        Returns:
            The secret of the session, or the reason why the key is rejected.

        Raises:
            StoreError: The database is not available.
        """
        headers: Headers = dict(scope["headers"])
        grant = await self._key_authenticator.authenticate_key(scope, headers, key.encode())
        if isinstance(grant, AuthenticationFailure):
            return grant
        if not grant.allows(Scope.READ):
            return MISSING_READ_SCOPE
        secret = token_urlsafe(_SECRET_BYTES)
        binding = _hash_session_binding(secret, hash_secret(key.encode()))
        digest = _hash_session_secret(secret)
        await self._sessions.create_session(digest, grant.name, binding)
        self._cache.add(digest, ConsoleSession(grant.name, binding, is_stale=False))
        _log.info("%s has signed in to the console", grant.name)
        return secret

    async def sign_out(self, visitor: Visitor) -> None:
        """End the visitor's session in the database and in this process's cache.

        Raises:
            StoreError: It is unknown whether the session has ended.
        """
        digest = _hash_session_secret(visitor.secret)
        await self._sessions.delete_session(digest)
        self._cache.remove(digest)
        _log.info("%s has signed out of the console", (visitor.grant or NO_GRANT).name)

    async def _find_grant(
        self, secret: str, scope: Any, headers: Headers, in_use: bool
    ) -> Grant | None:
        digest = _hash_session_secret(secret)
        session = await self._cache.find(digest)
        if session is None:
            return None

        def matches_binding(key_digest: bytes) -> bool:
            return hmac.compare_digest(_hash_session_binding(secret, key_digest), session.binding)

        grant = await self._key_authenticator.authenticate_session(
            scope, headers, session.holder, matches_binding
        )
        if isinstance(grant, AuthenticationFailure):
            return None
        if session.is_stale and in_use:
            await self._sessions.record_use(digest)
            self._cache.mark_used(digest)
        return grant


class SessionAdmission(Authentication):
    """The authentication of a request by a session. See `Authentication`."""

    __slots__ = ("_authenticator", "_request")

    def __init__(self, authenticator: SessionAuthenticator, scope: Any, visitor: Visitor) -> None:
        self._authenticator = authenticator
        self._request = scope
        self.grant = visitor.grant or NO_GRANT

    async def is_still_valid(self) -> bool:
        """Return whether the session is still valid. While the database is not available, a session stays valid."""
        try:
            return (
                await self._authenticator.identify(self._request, in_use=False)
            ).grant is not None
        except StoreError:
            return True


def _hash_session_secret(secret: str) -> bytes:
    return sha256(secret.encode()).digest()


def _hash_session_binding(secret: str, key_digest: bytes) -> bytes:
    return sha256(b"saldo console session " + secret.encode() + key_digest).digest()


def is_secure(scope: Any) -> bool:
    """Return whether the browser uses TLS.

    The header `X-Forwarded-Proto` is trusted even if no trusted proxy has sent it, because it only makes the cookies
    stricter.
    """
    forwarded = (b"x-forwarded-proto", b"https")
    return scope["scheme"] == "https" or forwarded in scope["headers"]


def build_cookie_name(name: str, *, secure: bool, path_prefix: str = "") -> str:
    """Return the name of a cookie that identifies a visitor.

    With TLS, the name has the prefix `__Host-`. The browser then accepts the cookie only from this host and only over
    TLS. A sibling domain, a service on another port or an attacker on the network cannot plant such a cookie, and
    cookies without the prefix are ignored. Such a cookie belongs to the whole host. If a proxy serves several services
    under different path prefixes, the name therefore contains a hash of the path prefix, so that they do not replace
    each other's cookies.
    """
    if not secure:
        return name
    suffix = f"_{sha256(path_prefix.encode()).hexdigest()[:12]}" if path_prefix else ""
    return f"{HOST_PREFIX}{name}{suffix}"


def parse_cookies(scope: Any) -> dict[str, str]:
    """Return the cookies of a request by name. Values are not validated, since other services may set cookies, too.

    A name that occurs twice is left out. An attacker may have planted one of the two cookies, and the service can't
    know which one.
    """
    lines = [value for name, value in scope["headers"] if name == b"cookie"]
    cookies: dict[str, str] = {}
    repeated_names: set[str] = set()
    for part in b";".join(lines).decode("latin-1").split(";"):
        name, _, value = part.strip().partition("=")
        if name in cookies:
            repeated_names.add(name)
        cookies[name] = value
    return {name: value for name, value in cookies.items() if name not in repeated_names}


def _parse_secret_cookies(scope: Any) -> dict[str, str]:
    """Return the cookies whose values have the form of the secrets that this module generates."""
    return {name: value for name, value in parse_cookies(scope).items() if _SECRET.fullmatch(value)}


InjectedAuthenticator = NamedDependency[SessionAuthenticator]
