"""Who is at the console: the session of a cookie, the key that it was begun with, and the token that its forms carry.

Asked before each route of the console; only those of `OPEN` are answered to nobody.

Two cookies. The session's is never sent by a page of another site, not even along a link from there, so that a page
which is reached by one must not set it anew: whoever isn't signed in gets another one, which only forms are bound to.
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

from saldo.access.gate import Admission, Denied, Gate
from saldo.access.grant import NOBODY, Grant, Scope
from saldo.access.secret import digest_of
from saldo.store.errors import StoreError
from saldo.store.sessions import Sessions

SESSION_COOKIE: Final = "saldo_session"
VISITOR_COOKIE: Final = "saldo_visitor"
_SECRET_BYTES: Final = 32
_SECRET: Final = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)

_log = logging.getLogger("saldo.access")

LACKS_READ: Final = Denied("The key may not read.", known=True)

Headers = Mapping[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Visitor:
    """One who asks for a page.

    Attributes:
        grant: what that one may do; None: has to sign in.
        signed_in: by a session, which can be ended; not so while there are no keys.
        secret: of the session, or of the visitor's cookie.
        new: the visitor's cookie is still to be set.
        denied: why it may not be even by signing in; None: it may.
    """

    grant: Grant | None
    signed_in: bool
    secret: str
    new: bool = False
    denied: str | None = None

    @property
    def form_token(self) -> str:
        """What each form of this visitor carries: no other site can know it."""
        return sha256(b"saldo console form " + self.secret.encode()).hexdigest()

    def owns(self, form_token: str) -> bool:
        """Whether a form with this token is one of ours, given to this visitor."""
        # As bytes: text is compared only where it is ASCII.
        return not self.new and hmac.compare_digest(self.form_token.encode(), form_token.encode())


class Entry:
    """Tells who is at the console, lets in and out."""

    def __init__(self, gate: Gate, sessions: Sessions) -> None:
        self._gate = gate
        self._sessions = sessions

    async def visitor(self, scope: Any, *, in_use: bool = True) -> Visitor:
        """Who asks.

        Args:
            in_use: whether that is a sign that somebody is there; not so of what a page asks by itself.

        Raises:
            StoreError: the database can't be asked.
        """
        headers: Headers = dict(scope["headers"])
        cookies = _secrets_of(headers)
        unlocked = await self._gate.admit_unlocked(headers)
        secret = cookies.get(SESSION_COOKIE)
        if unlocked is None and secret is not None:
            grant = await self._grant_of(secret, scope, headers, in_use)
            if grant is not None:
                return Visitor(grant, signed_in=True, secret=secret)
        visitor = cookies.get(VISITOR_COOKIE)
        found = (token_urlsafe(_SECRET_BYTES), True) if visitor is None else (visitor, False)
        if isinstance(unlocked, Denied):
            return Visitor(None, False, *found, denied=unlocked.detail)
        return Visitor(unlocked, False, *found)

    async def sign_in(self, scope: Any, key: str) -> str | Denied:
        """The secret of a new session, if the key is one that may read.

        Raises:
            StoreError: the database can't be asked.
        """
        headers: Headers = dict(scope["headers"])
        grant = await self._gate.admit_key(scope, headers, key.encode())
        if isinstance(grant, Denied):
            return grant
        if not grant.allows(Scope.READ):
            return LACKS_READ
        secret = token_urlsafe(_SECRET_BYTES)
        binding = _binding(secret, digest_of(key.encode()))
        await self._sessions.begin(_digest(secret), grant.name, binding)
        _log.info("%s has signed in to the console", grant.name)
        return secret

    async def sign_out(self, visitor: Visitor) -> None:
        """Ends the session, everywhere.

        Raises:
            StoreError: it is unknown whether it has ended.
        """
        await self._sessions.end(_digest(visitor.secret))
        _log.info("%s has signed out of the console", (visitor.grant or NOBODY).name)

    async def _grant_of(
        self, secret: str, scope: Any, headers: Headers, in_use: bool
    ) -> Grant | None:
        session = await self._sessions.find(_digest(secret))
        if session is None:
            return None

        def fits(key_digest: bytes) -> bool:
            return hmac.compare_digest(_binding(secret, key_digest), session.binding)

        grant = await self._gate.admit_holder(scope, headers, session.holder, fits)
        if isinstance(grant, Denied):
            return None
        if session.stale and in_use:
            await self._sessions.use(_digest(secret))
        return grant


class SessionAdmission(Admission):
    """A request that was let in by a session. See `Admission`."""

    __slots__ = ("_entry", "_request")

    def __init__(self, entry: Entry, scope: Any, visitor: Visitor) -> None:
        self._entry = entry
        self._request = scope
        self.grant = visitor.grant or NOBODY

    async def still(self) -> bool:
        """Whether it would be let in now, too. While the database can't be asked, what was valid is."""
        try:
            return (await self._entry.visitor(self._request, in_use=False)).grant is not None
        except StoreError:
            return True


def _digest(secret: str) -> bytes:
    return sha256(secret.encode()).digest()


def _binding(secret: str, key_digest: bytes) -> bytes:
    return sha256(b"saldo console session " + secret.encode() + key_digest).digest()


def cookies_of(headers: Headers) -> dict[str, str]:
    """As they were sent. Others on the same host may have any form."""
    found = {}
    for part in headers.get(b"cookie", b"").decode("latin-1").split(";"):
        name, _, value = part.strip().partition("=")
        found[name] = value
    return found


def _secrets_of(headers: Headers) -> dict[str, str]:
    """Those of our cookies that can be ours."""
    found = cookies_of(headers)
    return {
        name: found[name]
        for name in (SESSION_COOKIE, VISITOR_COOKIE)
        if _SECRET.fullmatch(found.get(name, ""))
    }


GivenEntry = NamedDependency[Entry]
