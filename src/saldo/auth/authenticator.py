"""Authentication of requests: determines the grant of a request from its headers."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from hashlib import sha256
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlsplit

from saldo.auth.api_key import SECRET_LENGTH_MAX, SECRET_LENGTH_MIN
from saldo.auth.grants import UNAUTHENTICATED_ADMIN, Address, Grant, Network
from saldo.auth.identity_provider import TokenError
from saldo.auth.key_cache import KeyCache
from saldo.store.errors import StoreError

if TYPE_CHECKING:
    from saldo.auth.bearer_tokens import TokenVerifier

CACHED_GRANTS_MAX: Final = 10_000
"""Maximum number of `Authorization` headers whose grants are cached. At the limit the cache is cleared."""

LOCAL_HOSTS_MAX: Final = 100
"""Maximum number of accepted `Host` headers that are cached while there are no keys."""

LOOPBACK_HOSTS: Final = frozenset({"localhost", "127.0.0.1", "::1"})

LOOPBACK_PEERS: Final = frozenset({"127.0.0.1", "::1"})
"""Usual addresses of local clients. They are compared as text, because to parse each address would take longer."""

PROXY_HEADERS: Final = frozenset(
    {
        *(
            b"forwarded",
            b"via",
            b"x-real-ip",
            b"x-client-ip",
            b"true-client-ip",
            b"cf-connecting-ip",
        ),
        *(b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-forwarded-port"),
        *(b"x-forwarded-server", b"x-original-host", b"x-original-forwarded-for"),
        *(b"x-forwarded", b"x-forwarded-scheme", b"x-forwarded-ssl", b"x-forwarded-prefix"),
        *(b"x-scheme", b"x-original-url", b"x-cluster-client-ip", b"x-envoy-external-address"),
        *(b"fastly-client-ip", b"fly-client-ip", b"cdn-loop", b"ngrok-trace-id"),
        *(b"x-azure-clientip", b"x-appengine-user-ip"),
    }
)
"""Headers that a proxy adds. A request that has one of them does not come from a program on this machine."""

CREATE_KEY_HINT: Final = "Create a key first: saldo keys create operator --scope admin."

LOG_INTERVAL_SECONDS: Final = 60.0
"""Minimum interval between two log lines about the same key."""

Headers = Mapping[bytes, bytes]

_log = logging.getLogger("saldo.auth")


class AuthenticationFailure(NamedTuple):
    """The reason why a request is rejected. The response is 401, or 403 if `is_caller_known` is true. Then the
    credentials are valid but lack rights, or no key exists that the client could send."""

    detail: str
    is_caller_known: bool = False


INVALID_KEY: Final = AuthenticationFailure("The key is unknown, has expired or was revoked.")

TOKEN_WITHOUT_USERS: Final = AuthenticationFailure(
    "The token gives access to no user: the claim that SALDO_JWT_USERS_CLAIM names contains no user id.",
    is_caller_known=True,
)


_OTHER_SITES: Final = frozenset({b"cross-site", b"same-site"})
"""Values of `Sec-Fetch-Site` in requests of pages with another origin. A site includes all ports of a host."""


class Authenticator:
    """Determines the grant of each request by its key, its token or its console session.

    While there has never been a key and no identity provider is set, programs on the same machine need no key. Three
    kinds of requests are rejected even then. The first two are accepted if `insecure` is set.

    - Requests from other machines.
    - Requests that a proxy forwards.
    - Requests that a browser sends for a page of another site. They are recognized by `Origin`, by `Sec-Fetch-Site`,
      or by a `Host` that is not a name of the service.
    """

    def __init__(
        self,
        *,
        insecure: bool,
        proxies: tuple[Network, ...],
        origins: frozenset[str] = frozenset(),
        hosts: frozenset[str] = frozenset(),
    ) -> None:
        """
        Args:
            insecure: while there are no keys, accept requests from other machines as well.
            hosts: host names of the service, in lower case. If `insecure` is set, the `Host` of a request without a key
                must be one of them, an IP address or `localhost`. The page of another site can't have such a host.
            proxies: networks of the proxies whose `X-Forwarded-For` is trusted.
            origins: origins, besides the service's own, whose pages may send requests without a key.
        """
        self._is_insecure = insecure
        self._hosts = LOOPBACK_HOSTS | hosts if insecure else LOOPBACK_HOSTS
        self._origins = origins
        self._proxies = Grant("proxies", frozenset(), networks=proxies)
        self._cached_grants: dict[bytes, Grant] = {}
        self._local_hosts: set[bytes] = set()
        self._logged_at: dict[str, float] = {}
        self._key_cache: KeyCache | None = None
        self._token_verifier: TokenVerifier | None = None

    def configure(self, key_cache: KeyCache, token_verifier: TokenVerifier | None) -> None:
        """Set the sources of grants. This method must be called before the first request is authenticated."""
        self._key_cache = key_cache
        self._token_verifier = token_verifier

    def clear_cache(self) -> None:
        """Clear the cached grants and hosts. Called when the valid keys or the provider's keys have changed."""
        self._cached_grants = {}
        self._local_hosts = set()

    @property
    def accepts_requests_without_key(self) -> bool:
        """True if there has never been a key and no identity provider is set, so that requests need no key."""
        return (
            self._token_verifier is None
            and self._key_cache is not None
            and self._key_cache.has_key_ever_existed is False
        )

    def authenticate_cached(self, scope: Any, headers: Headers) -> Grant | None:
        """Return the cached grant of a request; None means that the caller must await `authenticate`."""
        if (
            self._local_hosts
            and b"origin" not in headers
            and headers.get(b"sec-fetch-site") not in _OTHER_SITES
        ):
            is_local_host = headers.get(b"host") in self._local_hosts
            return (
                UNAUTHENTICATED_ADMIN
                if is_local_host and (self._is_insecure or _is_direct(scope, headers))
                else None
            )
        authorization = headers.get(b"authorization")
        if authorization is None:
            return None
        # The cache is indexed by the header's digest. The duration of a lookup by the header itself could reveal how
        # many of its bytes are right.
        grant = self._cached_grants.get(sha256(authorization).digest())
        if grant is None or grant.expires_at <= time.time():
            return None
        if grant.networks and not grant.allows_address(self._get_client_address(scope, headers)):
            return None
        return grant

    async def authenticate(self, scope: Any, headers: Headers) -> Grant | AuthenticationFailure:
        """Return the grant of a request, or the reason why it has none.

        Raises:
            StoreError: the key is not known, and the database can't be queried.
        """
        assert self._key_cache is not None
        if self._key_cache.has_key_ever_existed is None:
            await self._key_cache.refresh_coalesced()
        if self.accepts_requests_without_key:
            return self._authenticate_without_key(scope, headers)
        authorization = headers.get(b"authorization")
        if authorization is None:
            return AuthenticationFailure(
                "An API key is required: send it as Authorization: Bearer <key>."
            )
        auth_scheme, _, credential = authorization.partition(b" ")
        if auth_scheme.lower() != b"bearer" or not credential.strip():
            return AuthenticationFailure("The header Authorization must be: Bearer <key>.")
        candidate = await self._resolve_credential(credential.strip())
        if isinstance(candidate, AuthenticationFailure):
            return candidate
        grant = self._check_grant(candidate, scope, headers)
        if isinstance(grant, AuthenticationFailure):
            return grant
        if len(self._cached_grants) >= CACHED_GRANTS_MAX:
            self.clear_cache()
        self._cached_grants[sha256(authorization).digest()] = grant
        return grant

    async def authenticate_key(
        self, scope: Any, headers: Headers, secret: bytes
    ) -> Grant | AuthenticationFailure:
        """Return the grant of a key with which a user signs in. Tokens of an identity provider are not accepted.

        Raises:
            StoreError: the key is not known, and the database can't be queried.
        """
        candidate = await self._find_key(secret)
        if isinstance(candidate, AuthenticationFailure):
            return candidate
        return self._check_grant(candidate, scope, headers)

    async def authenticate_session(
        self, scope: Any, headers: Headers, key_name: str, matches_digest: Callable[[bytes], bool]
    ) -> Grant | AuthenticationFailure:
        """Return the grant of a signed-in session. Its key is the one named `name`, if `matches_digest` accepts the
        key's digest.

        Raises:
            StoreError: the keys have not been loaded yet, and the database can't be queried.
        """
        assert self._key_cache is not None
        if self._key_cache.has_key_ever_existed is None:
            await self._key_cache.refresh_coalesced()
        grant = self._key_cache.find_grant_by_name(key_name, matches_digest)
        if grant is None:
            return INVALID_KEY
        return self._check_grant(grant, scope, headers)

    def _check_grant(
        self, grant: Grant, scope: Any, headers: Headers
    ) -> Grant | AuthenticationFailure:
        if grant.expires_at <= time.time():
            return INVALID_KEY
        address = self._get_client_address(scope, headers)
        if not grant.allows_address(address):
            # The response is the same as for an unknown key: a thief must not learn that the key works elsewhere.
            self._log_wrong_network(grant, address)
            return INVALID_KEY
        if grant.user_ids is not None and not grant.user_ids:
            return TOKEN_WITHOUT_USERS
        return grant

    def _log_wrong_network(self, grant: Grant, address: Address | None) -> None:
        """Log that a key was used from a network in which it is not allowed. The lines are rate-limited, because a
        client can send any number of such requests."""
        now = time.monotonic()
        if now - self._logged_at.get(grant.name, -LOG_INTERVAL_SECONDS) < LOG_INTERVAL_SECONDS:
            return
        if len(self._logged_at) >= CACHED_GRANTS_MAX:
            self._logged_at.clear()
        self._logged_at[grant.name] = now
        _log.warning("%s was used from %s, which is outside its networks", grant.name, address)

    async def authenticate_without_key(
        self, scope: Any, headers: Headers
    ) -> Grant | AuthenticationFailure | None:
        """Return the grant of a request without a key, or the reason why the request is rejected. Return None if
        requests need a key.

        Raises:
            StoreError: the keys have not been loaded yet, and the database can't be queried.
        """
        assert self._key_cache is not None
        if self._key_cache.has_key_ever_existed is None:
            await self._key_cache.refresh_coalesced()
        return (
            self._authenticate_without_key(scope, headers)
            if self.accepts_requests_without_key
            else None
        )

    async def _resolve_credential(self, credential: bytes) -> Grant | AuthenticationFailure:
        assert self._key_cache is not None
        if self._token_verifier is None or (
            credential.count(b".") != 2 and len(credential) <= SECRET_LENGTH_MAX
        ):
            return await self._find_key(credential)
        # A token has three parts separated by dots. Generated keys have no dot, but a key in the settings may have two.
        key_grant = self._key_cache.get_loaded_grant(credential)
        if key_grant is not None:
            return key_grant
        try:
            return await self._token_verifier.verify_token(credential.decode("latin-1"))
        except TokenError as error:
            return AuthenticationFailure(f"{str(error).capitalize()}.")

    async def _find_key(self, secret: bytes) -> Grant | AuthenticationFailure:
        assert self._key_cache is not None
        if not SECRET_LENGTH_MIN <= len(secret) <= SECRET_LENGTH_MAX:
            return INVALID_KEY
        return await self._key_cache.find_grant(secret) or INVALID_KEY

    def _authenticate_without_key(
        self, scope: Any, headers: Headers
    ) -> Grant | AuthenticationFailure:
        if not self._is_insecure and not _is_direct(scope, headers):
            return AuthenticationFailure(
                "As long as no key exists, the service accepts requests only from programs on its own machine, and "
                f"none that a proxy forwards. {CREATE_KEY_HINT}",
                is_caller_known=True,
            )
        host = headers.get(b"host", b"").decode("latin-1")
        name = _parse_host(f"//{host}")
        if self._is_insecure and name not in self._hosts and _parse_address(name or "") is None:
            return AuthenticationFailure(
                "As long as no key exists, the Host must be an address or one of the names in SALDO_HOSTS.",
                is_caller_known=True,
            )
        if not self._is_insecure and name not in self._hosts:
            return AuthenticationFailure(
                f"As long as no key exists, the Host must be localhost, 127.0.0.1 or ::1. {CREATE_KEY_HINT}",
                is_caller_known=True,
            )
        origin = headers.get(b"origin", b"").decode("latin-1")
        is_of_other_site = (
            origin.partition("://")[2] != host
            if origin
            # Browsers send no Origin when a page embeds an image or a script. The user may follow a link.
            else headers.get(b"sec-fetch-site") in _OTHER_SITES
            and headers.get(b"sec-fetch-mode") != b"navigate"
        )
        if is_of_other_site and origin not in self._origins:
            return AuthenticationFailure(
                "As long as no key exists, the service rejects requests from pages of other sites.",
                is_caller_known=True,
            )
        if len(self._local_hosts) < LOCAL_HOSTS_MAX:
            self._local_hosts.add(headers.get(b"host", b""))
        return UNAUTHENTICATED_ADMIN

    def _get_client_address(self, scope: Any, headers: Headers) -> Address | None:
        """Return the client's address: the last address on the request's path that is not a trusted proxy's."""
        client = scope.get("client")
        address = _parse_address(client[0]) if client else None
        if not self._proxies.networks:
            return address
        if b"x-forwarded-for" not in headers:
            return address
        # Several header lines form one list (RFC 9110, 5.3). HAProxy, for example, adds a line after the client's.
        lines = (value for name, value in scope["headers"] if name == b"x-forwarded-for")
        hops = b",".join(lines).decode("latin-1").split(",")
        while hops and address is not None and self._proxies.allows_address(address):
            hop = hops.pop().strip()
            if hop:
                address = _parse_address(hop)
        return address


class Authentication:
    """The authentication of one request. It has the request's grant, and checks whether the grant of a long request is
    still valid."""

    __slots__ = ("_headers", "_key_authenticator", "_scope", "grant")

    def __init__(
        self, authenticator: Authenticator, scope: Any, headers: Headers, grant: Grant
    ) -> None:
        self._key_authenticator = authenticator
        self._scope = scope
        self._headers = headers
        self.grant = grant

    async def is_still_valid(self) -> bool:
        """Return whether the request would still be accepted, or True if the database can't be queried."""
        if self._key_authenticator.authenticate_cached(self._scope, self._headers) is not None:
            return True
        try:
            return isinstance(
                await self._key_authenticator.authenticate(self._scope, self._headers), Grant
            )
        except StoreError:
            return True


def _is_direct(scope: Any, headers: Headers) -> bool:
    """Return whether a request seems to come directly from a program on this machine, not through a proxy.

    A proxy on this machine has a loopback address, too. It is recognized by the headers that it adds, or by HTTP/1.0,
    which most versions of nginx use by default to connect to the service.
    """
    client = scope.get("client")
    if not client or not PROXY_HEADERS.isdisjoint(headers) or scope["http_version"] == "1.0":
        return False
    return client[0] in LOOPBACK_PEERS or _is_loopback(_parse_address(client[0]))


def _is_loopback(address: Address | None) -> bool:
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address is not None and address.is_loopback


def _parse_address(text: str) -> Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


def _parse_host(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None
