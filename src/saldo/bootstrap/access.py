"""Who is let in, wired from the settings: keys of the database and of the operator's own, tokens of a provider."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING

from saldo.access.gate import Gate
from saldo.access.grant import Scope
from saldo.access.keyring import Keyring
from saldo.access.provider import Provider
from saldo.access.rate import Rate
from saldo.settings import Settings
from saldo.store.errors import SetUpError, StoreError
from saldo.store.keys import Keys

if TYPE_CHECKING:
    from saldo.access.tokens import Tokens

KEY_CONNECTIONS = 1
"""Of a service process, for looking at the keys."""


@dataclass(frozen=True, slots=True)
class Guard:
    """What a service process lets in by."""

    gate: Gate
    keyring: Keyring
    keys: Keys
    tokens: Tokens | None

    @classmethod
    async def open(cls, settings: Settings, database_url: str) -> Guard:
        """Not started: nobody is let in yet."""
        gate = Gate(
            insecure=settings.insecure,
            proxies=settings.proxy_networks,
            origins=frozenset(settings.cors_origin_names),
        )
        keys = await _open_keys(settings, database_url)
        rate, provider = rate_of(settings), provider_of(settings)
        keyring = Keyring(
            keys,
            given_keys(settings),
            refresh_seconds=settings.keys_refresh_seconds,
            rate=rate,
            changed=gate.forget,
        )
        tokens = None
        if provider is not None:
            from saldo.access.tokens import Tokens  # noqa: PLC0415 - its packages take long to load

            tokens = Tokens(provider, rate, gate.forget)
        gate.open_with(keyring, tokens)
        return cls(gate, keyring, keys, tokens)

    async def start(self) -> None:
        """Looks at keys, here and at the provider's, and follows what changes."""
        await self.keyring.start()
        if self.tokens is not None:
            await self.tokens.start()

    async def stop(self) -> None:
        """Looks no more."""
        await self.keyring.stop()
        if self.tokens is not None:
            await self.tokens.stop()
        self.keys.terminate()


def given_keys(settings: Settings) -> dict[str, Scope]:
    """The keys of the operator's own, and what each opens."""
    given = ((settings.admin_key, Scope.ADMIN), (settings.metrics_key, Scope.METRICS))
    return {key.get_secret_value(): scope for key, scope in given if key is not None}


def rate_of(settings: Settings) -> Rate | None:
    """How often each key may ask."""
    if settings.rate_per_second is None:
        return None
    return Rate(settings.rate_per_second, settings.rate_burst)


def provider_of(settings: Settings) -> Provider | None:
    """Whose tokens are taken."""
    jwks = settings.jwt_jwks_url or settings.jwt_jwks_file
    if settings.jwt_issuer is None or settings.jwt_audience is None or jwks is None:
        return None
    return Provider(
        settings.jwt_issuer,
        settings.jwt_audience,
        jwks,
        settings.jwt_algorithm_names,
        settings.jwt_leeway_seconds,
        settings.jwt_scope_claim,
        settings.jwt_scope_prefix,
        settings.jwt_users_claim,
        settings.jwt_refresh_seconds,
    )


def refuse_to_be_open(settings: Settings, database_url: str, address: str) -> None:
    """Lets a service start that asks for keys, or that only this machine reaches.

    Args:
        address: that it listens on.

    Raises:
        SetUpError: anyone who reaches it could move money.
    """
    if settings.insecure or ip_address(address).is_loopback:
        return
    if given_keys(settings) or provider_of(settings) is not None:
        return
    if not asyncio.run(_any_key(settings, database_url)):
        raise SetUpError(
            f"there is no key yet, and on {address} anyone who reaches the service could move money. Make one with "
            "`saldo keys create --scope admin NAME`, or set SALDO_ADMIN_KEY or SALDO_JWT_ISSUER; "
            "listen on 127.0.0.1 to try it; "
            "or say --insecure if something else keeps strangers out"
        )


async def _any_key(settings: Settings, database_url: str) -> bool:
    async with key_store(settings, database_url) as keys:
        try:
            return (await keys.valid()).any_key
        except StoreError as error:
            raise SetUpError(f"the database: {error}") from error


@asynccontextmanager
async def key_store(settings: Settings, database_url: str) -> AsyncIterator[Keys]:
    """The keys, for one who asks and goes."""
    keys = await _open_keys(settings, database_url)
    try:
        yield keys
    finally:
        keys.terminate()


async def _open_keys(settings: Settings, database_url: str) -> Keys:
    return await Keys.open(
        database_url, connections=KEY_CONNECTIONS, timeout_seconds=settings.read_timeout_seconds
    )
