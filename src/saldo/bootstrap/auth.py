"""The authentication of a service process: keys in the database, keys in the settings, and tokens of a provider."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING

from saldo.auth.authenticator import Authenticator
from saldo.auth.grants import Scope
from saldo.auth.identity_provider import IdentityProvider
from saldo.auth.key_cache import KeyCache
from saldo.auth.rate_limit import RateLimit
from saldo.bootstrap.pools import KEY_CONNECTIONS
from saldo.settings.model import Settings
from saldo.store.errors import ConfigurationError, StoreError
from saldo.store.keys import Keys

if TYPE_CHECKING:
    from saldo.auth.bearer_tokens import TokenVerifier

_log = logging.getLogger("saldo.auth")


@dataclass(frozen=True, slots=True)
class AuthStack:
    """The parts of a service process's authentication."""

    authenticator: Authenticator
    key_cache: KeyCache
    keys: Keys
    tokens: TokenVerifier | None

    @classmethod
    async def open(cls, settings: Settings, database_url: str) -> AuthStack:
        """Create all parts. `start` must be called before requests are served."""
        authenticator = Authenticator(
            insecure=settings.insecure,
            proxies=settings.proxy_networks,
            origins=frozenset(settings.cors_origin_names),
            hosts=frozenset(settings.host_names),
        )
        rate, provider = create_rate_limit(settings), create_identity_provider(settings)
        tokens = None
        if provider is not None:
            from saldo.auth.bearer_tokens import TokenVerifier  # noqa: PLC0415 - its packages take long to load

            tokens = TokenVerifier(provider, rate, authenticator.clear_cache)
        # The pool is opened last, so that a failure of an earlier step can't leave it open.
        keys = await _open_keys(settings, database_url)
        keyring = KeyCache(
            keys,
            list_configured_keys(settings),
            refresh_seconds=settings.keys_refresh_seconds,
            rate_limit=rate,
            notify_changed=authenticator.clear_cache,
        )
        authenticator.configure(keyring, tokens)
        return cls(authenticator, keyring, keys, tokens)

    async def start(self) -> None:
        """Load the API keys and the identity provider's keys, and start to poll both for changes."""
        await self.key_cache.start()
        if self.tokens is not None:
            self.tokens.warn_about_broad_audience()
        if self.authenticator.accepts_requests_without_key:
            _log.info(
                "there is no API key yet, so every program on this machine has full access. Create a key with "
                "`saldo keys create operator --scope admin` before a proxy forwards requests to the service"
            )
        if self.tokens is not None:
            await self.tokens.start()

    async def stop(self) -> None:
        """Stop polling, and close the connections."""
        await self.key_cache.stop()
        if self.tokens is not None:
            await self.tokens.stop()
        self.keys.terminate()


def list_configured_keys(settings: Settings) -> dict[str, Scope]:
    """Return the keys in the settings, with the scope of each."""
    keys = ((settings.admin_key, Scope.ADMIN), (settings.metrics_key, Scope.METRICS))
    return {key.get_secret_value(): scope for key, scope in keys if key is not None}


def create_rate_limit(settings: Settings) -> RateLimit | None:
    """Return the rate limit of each key; None if no limit is set."""
    if settings.rate_requests_per_second is None:
        return None
    return RateLimit(
        settings.rate_requests_per_second, settings.rate_burst, settings.rate_debt_seconds_max
    )


def create_identity_provider(settings: Settings) -> IdentityProvider | None:
    """Return the identity provider whose tokens are accepted; None if none is configured."""
    jwks = settings.jwt_jwks_url or settings.jwt_jwks_file
    if settings.jwt_issuer is None or settings.jwt_audience is None or jwks is None:
        return None
    return IdentityProvider(
        settings.jwt_issuer,
        settings.jwt_audience,
        jwks,
        settings.jwt_algorithm_names,
        settings.jwt_leeway_seconds,
        settings.jwt_scope_claim,
        settings.jwt_scope_prefix,
        settings.jwt_users_claim,
        settings.jwt_refresh_seconds,
        frozenset(name.lower() for name in settings.jwt_type_names),
        settings.jwt_lifetime_seconds_max,
    )


def require_keys_unless_loopback(settings: Settings, database_url: str, address: str) -> None:
    """Check that a starting service requires authentication, or that only this machine can reach the service. The
    setting `insecure` disables the check.

    Args:
        address: the address that the service listens on.

    Raises:
        ConfigurationError: neither is the case, so anyone who can reach the service could move money.
    """
    if settings.insecure or ip_address(address).is_loopback:
        return
    if list_configured_keys(settings) or create_identity_provider(settings) is not None:
        return
    if not asyncio.run(_has_key_ever_existed(settings, database_url)):
        local = "--local " if settings.database_url is None else ""
        raise ConfigurationError(
            f"there is no API key yet, so anyone who can connect to {address} could move money. Create a key with "
            f"`saldo keys create {local}--scope admin NAME`, set SALDO_ADMIN_KEY or SALDO_JWT_ISSUER, listen on "
            "127.0.0.1, or use --insecure if something else restricts the access"
        )


async def _has_key_ever_existed(settings: Settings, database_url: str) -> bool:
    async with open_key_store(settings, database_url) as keys:
        try:
            return (await keys.read_valid_keys()).has_key_ever_existed
        except StoreError as error:
            raise ConfigurationError(f"database: {error}") from error


@asynccontextmanager
async def open_key_store(settings: Settings, database_url: str) -> AsyncIterator[Keys]:
    """Open the store of the keys for a short-lived command."""
    keys = await _open_keys(settings, database_url)
    try:
        yield keys
    finally:
        keys.terminate()


async def _open_keys(settings: Settings, database_url: str) -> Keys:
    return await Keys.open(
        database_url, connections=KEY_CONNECTIONS, timeout_seconds=settings.read_timeout_seconds
    )
