"""Who is let in: from the headers of a request to what it may do."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from hashlib import sha256
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlsplit

from saldo.access.grant import ANYONE, Address, Grant, Network
from saldo.access.keyring import Keyring
from saldo.access.provider import TokenError
from saldo.access.secret import SECRET_LENGTH_MAX, SECRET_LENGTH_MIN
from saldo.store.errors import StoreError

if TYPE_CHECKING:
    from saldo.access.tokens import Tokens

KNOWN_MAX: Final = 10_000
"""Headers whose grant is remembered: all keys there can be, or tokens of as many users at a time."""

LOCAL_HOSTS_MAX: Final = 100
"""Ways to write the name of this machine that are remembered, while there are no keys."""

LOOPBACK_HOSTS: Final = frozenset({"localhost", "127.0.0.1", "::1"})

Headers = Mapping[bytes, bytes]


class Denied(NamedTuple):
    """Who is not let in, and why. known: it is known who asks, and that one must not."""

    detail: str
    known: bool = False


class Gate:
    """Tells of each request whose it is.

    While there has never been a key and no provider is set, whoever reaches the service is let in; that is why it
    listens on loopback only then. A browser on the same machine reaches it too, and would ask on behalf of any page:
    such requests are told by their `Origin` and by a `Host` that is no name of this machine.
    """

    def __init__(
        self,
        *,
        insecure: bool,
        proxies: tuple[Network, ...],
        origins: frozenset[str] = frozenset(),
    ) -> None:
        """
        Args:
            insecure: without keys, let in who comes over the network, too.
            proxies: whose `X-Forwarded-For` is believed.
            origins: whose pages may ask without a key, too.
        """
        self._insecure = insecure
        self._origins = origins
        self._proxies = Grant("proxies", frozenset(), networks=proxies)
        self._known: dict[bytes, Grant] = {}
        self._local_hosts: set[bytes] = set()
        self._keyring: Keyring | None = None
        self._tokens: Tokens | None = None

    def open_with(self, keyring: Keyring, tokens: Tokens | None) -> None:
        """Sets what opens it. Nobody is let in before."""
        self._keyring = keyring
        self._tokens = tokens

    def forget(self) -> None:
        """What is valid has changed."""
        self._known = {}
        self._local_hosts = set()

    @property
    def unlocked(self) -> bool:
        """Whether anyone is let in, as there has never been a key."""
        return self._tokens is None and self._keyring is not None and self._keyring.any_key is False

    def at_once(self, scope: Any, headers: Headers) -> Grant | None:
        """What this request may do, if that can be told without waiting; None: ask `admit`."""
        if self._local_hosts and b"origin" not in headers:
            return ANYONE if headers.get(b"host") in self._local_hosts else None
        authorization = headers.get(b"authorization")
        if authorization is None:
            return None
        # By a digest: looking up what was sent itself would take longer the more of it is right.
        grant = self._known.get(sha256(authorization).digest())
        if grant is None or grant.expires_at <= time.time():
            return None
        if grant.networks and not grant.comes_from(self._address(scope, headers)):
            return None
        return grant

    async def admit(self, scope: Any, headers: Headers) -> Grant | Denied:
        """What this request may do, or why it may not.

        Raises:
            StoreError: its key is not known, and the database can't be asked.
        """
        assert self._keyring is not None
        if self._keyring.any_key is None:
            await self._keyring.look()
        if self.unlocked:
            return self._local(headers)
        authorization = headers.get(b"authorization")
        if authorization is None:
            return Denied("A key is needed: send it as Authorization: Bearer <key>.")
        kind, _, credential = authorization.partition(b" ")
        if kind.lower() != b"bearer" or not credential.strip():
            return Denied("The Authorization must be: Bearer <key>.")
        found = await self._recognised(credential.strip())
        grant = found if isinstance(found, Denied) else self._usable(found, scope, headers)
        if isinstance(grant, Denied):
            return grant
        if len(self._known) >= KNOWN_MAX:
            self.forget()
        self._known[sha256(authorization).digest()] = grant
        return grant

    async def admit_key(self, scope: Any, headers: Headers, secret: bytes) -> Grant | Denied:
        """What one may do who signs in with a key; tokens of a provider are not taken for that.

        Raises:
            StoreError: the key is not known, and the database can't be asked.
        """
        assert self._keyring is not None
        grant = None
        if SECRET_LENGTH_MIN <= len(secret) <= SECRET_LENGTH_MAX:
            grant = await self._keyring.grant_of(secret)
        if grant is None:
            return Denied("The key is not known, has expired or was revoked.")
        return self._usable(grant, scope, headers)

    async def admit_holder(
        self, scope: Any, headers: Headers, name: str, fits: Callable[[bytes], bool]
    ) -> Grant | Denied:
        """What one may do who has signed in with the key of this name, whose digest fits.

        Raises:
            StoreError: no key is known yet, and the database can't be asked.
        """
        assert self._keyring is not None
        if self._keyring.any_key is None:
            await self._keyring.look()
        grant = self._keyring.grant_named(name, fits)
        if grant is None:
            return Denied("The key is not known, has expired or was revoked.")
        return self._usable(grant, scope, headers)

    def _usable(self, grant: Grant, scope: Any, headers: Headers) -> Grant | Denied:
        if grant.expires_at <= time.time():
            return Denied("The key has expired.")
        if not grant.comes_from(self._address(scope, headers)):
            return Denied("The key must not be used from this address.", known=True)
        return grant

    async def admit_unlocked(self, headers: Headers) -> Grant | Denied | None:
        """What one may do while there has never been a key; None: there has been one.

        Raises:
            StoreError: whether there has can't be asked.
        """
        assert self._keyring is not None
        if self._keyring.any_key is None:
            await self._keyring.look()
        return self._local(headers) if self.unlocked else None

    async def _recognised(self, credential: bytes) -> Grant | Denied:
        assert self._keyring is not None
        # A token has three parts; no key of ours has a point in it, and one of an operator's own is looked up first.
        if len(credential) <= SECRET_LENGTH_MAX and (
            self._tokens is None or credential.count(b".") != 2
        ):
            found = await self._keyring.grant_of(credential)
            return found or Denied("The key is not known, has expired or was revoked.")
        if self._tokens is None:
            return Denied("The key is not known, has expired or was revoked.")
        try:
            return await self._tokens.grant_of(credential.decode("latin-1"))
        except TokenError as error:
            return Denied(f"{str(error).capitalize()}.")

    def _local(self, headers: Headers) -> Grant | Denied:
        host = headers.get(b"host", b"").decode("latin-1")
        name = _host_of(f"//{host}")
        if not self._insecure and name not in LOOPBACK_HOSTS:
            return Denied(
                "Without keys the service answers only to localhost, 127.0.0.1 and ::1.", known=True
            )
        origin = headers.get(b"origin", b"").decode("latin-1")
        if origin and origin not in self._origins and origin.partition("://")[2] != host:
            return Denied("Without keys the service answers no page of another site.", known=True)
        if len(self._local_hosts) < LOCAL_HOSTS_MAX:
            self._local_hosts.add(headers.get(b"host", b""))
        return ANYONE

    def _address(self, scope: Any, headers: Headers) -> Address | None:
        """Where a request comes from: the last address that is no proxy of ours."""
        client = scope.get("client")
        found = _address_of(client[0]) if client else None
        if not self._proxies.networks:
            return found
        hops = headers.get(b"x-forwarded-for", b"").decode("latin-1").split(",")
        while hops and found is not None and self._proxies.comes_from(found):
            hop = hops.pop().strip()
            if hop:
                found = _address_of(hop)
        return found


class Admission:
    """One request that was let in: what it may do, and, of one that takes long, whether it still may."""

    __slots__ = ("_gate", "_headers", "_scope", "grant")

    def __init__(self, gate: Gate, scope: Any, headers: Headers, grant: Grant) -> None:
        self._gate = gate
        self._scope = scope
        self._headers = headers
        self.grant = grant

    async def still(self) -> bool:
        """Whether it would be let in now, too. While the database can't be asked, what was valid is."""
        if self._gate.at_once(self._scope, self._headers) is not None:
            return True
        try:
            return isinstance(await self._gate.admit(self._scope, self._headers), Grant)
        except StoreError:
            return True


def _address_of(text: str) -> Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


def _host_of(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None
