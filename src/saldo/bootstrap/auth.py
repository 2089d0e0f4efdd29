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

    gate: Authenticator
    keyring: KeyCache
    keys: Keys
    tokens: TokenVerifier | None

    @classmethod
    async def open(cls, settings: Settings, database_url: str) -> AuthStack:
        """Create all parts. Until `start` no request can be authenticated."""
        gate = Authenticator(
            insecure=settings.insecure,
            proxies=settings.proxy_networks,
            origins=frozenset(settings.cors_origin_names),
            hosts=frozenset(settings.host_names),
        )
        rate, provider = rate_of(settings), provider_from_settings(settings)
        tokens = None
        if provider is not None:
            from saldo.auth.bearer_tokens import TokenVerifier  # noqa: PLC0415 - its packages take long to load

            tokens = TokenVerifier(provider, rate, gate.clear_cache)
        # Opened last: nothing after it can fail and leave the pool open.
        keys = await _open_keys(settings, database_url)
        keyring = KeyCache(
            keys,
            configured_keys(settings),
            refresh_seconds=settings.keys_refresh_seconds,
            rate_limit=rate,
            notify_changed=gate.clear_cache,
        )
        gate.configure(keyring, tokens)
        return cls(gate, keyring, keys, tokens)

    async def start(self) -> None:
        """Load the keys and the provider's keys, and start to poll for changes."""
        await self.keyring.start()
        if self.tokens is not None:
            self.tokens.warn_about_broad_audience()
        if self.gate.accepts_requests_without_key:
            _log.info(
                "there is no API key yet, so every program on this machine has full access. Create a key with "
                "`saldo keys create operator --scope admin` before a proxy forwards requests to the service"
            )
        if self.tokens is not None:
            await self.tokens.start()

    async def stop(self) -> None:
        """Stop polling, and close the connections."""
        await self.keyring.stop()
        if self.tokens is not None:
            await self.tokens.stop()
        self.keys.terminate()


def configured_keys(settings: Settings) -> dict[str, Scope]:
    """Return the keys in the settings, with the scope of each."""
    given = ((settings.admin_key, Scope.ADMIN), (settings.metrics_key, Scope.METRICS))
    return {key.get_secret_value(): scope for key, scope in given if key is not None}


def rate_of(settings: Settings) -> RateLimit | None:
    """Return the rate limit of each key; None if there is none."""
    if settings.rate_requests_per_second is None:
        return None
    return RateLimit(
        settings.rate_requests_per_second, settings.rate_burst, settings.rate_debt_seconds_max
    )


def provider_from_settings(settings: Settings) -> IdentityProvider | None:
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
    """Check that a service that starts requires authentication, or that only this machine can reach it.

    Args:
        address: the address that the service listens on.

    Raises:
        ConfigurationError: anyone who reaches the service could move money.
    """
    if settings.insecure or ip_address(address).is_loopback:
        return
    if configured_keys(settings) or provider_from_settings(settings) is not None:
        return
    if not asyncio.run(_any_key(settings, database_url)):
        raise ConfigurationError(
            f"there is no API key yet, so anyone who can connect to {address} could move money. Create a key with "
            "`saldo keys create --scope admin NAME`, set SALDO_ADMIN_KEY or SALDO_JWT_ISSUER, listen on 127.0.0.1, "
            "or use --insecure if something else restricts the access"
        )


async def _any_key(settings: Settings, database_url: str) -> bool:
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
