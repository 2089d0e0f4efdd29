"""Tokens of an identity provider: JSON Web Tokens (RFC 7519), signed with one of the provider's keys (RFC 7517)."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import aiohttp
import jwt

from saldo.access.grant import Grant, Scope
from saldo.access.provider import Provider, TokenError
from saldo.access.rate import Bucket, Rate

TOKEN_LENGTH_MAX: Final = 8192

LOOK_AGAIN_SECONDS: Final = 10.0
"""A token signed with a key that isn't known: the provider may have a new one. Not asked more often than this."""

FETCH_SECONDS_MAX: Final = 5.0
FETCH_BYTES_MAX: Final = 1_048_576

EXPIRY_MAX: Final = 2**53
"""Seconds since the epoch that are counted exactly; what is later never comes."""

BUCKETS_MAX: Final = 10_000
"""Subjects whose rate is remembered."""

_USER_ID: Final = re.compile("[0-9]{1,19}", re.ASCII)

_log = logging.getLogger("saldo.access")


class Tokens:
    """Checks tokens against the provider's keys, which are kept, and asked for again and again."""

    def __init__(self, provider: Provider, rate: Rate | None, changed: Callable[[], None]) -> None:
        """
        Args:
            rate: how often each subject may ask; None: as often as it likes.
            changed: called when the keys have changed.
        """
        self._provider = provider
        self._rate = rate
        self._changed = changed
        self._text = b""
        self._keys: dict[str | None, jwt.PyJWK] = {}
        self._looked_at = -LOOK_AGAIN_SECONDS
        self._looking = asyncio.Lock()
        self._following: asyncio.Task[None] | None = None
        self._buckets: dict[str, Bucket] = {}

    async def start(self) -> None:
        """Gets the keys, and from then on again and again. That they can't be got now is no reason not to start."""
        await self._look()
        self._following = asyncio.create_task(self._follow(), name="keys of the provider")

    async def stop(self) -> None:
        """Looks no more."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.wait({self._following})

    async def grant_of(self, token: str) -> Grant:
        """What the token stands for.

        Raises:
            TokenError: it is not valid.
        """
        if len(token) > TOKEN_LENGTH_MAX:
            raise TokenError(f"the token has more than {TOKEN_LENGTH_MAX} characters")
        return self._grant(self._claims(token, await self._key_of(token)))

    async def _key_of(self, token: str) -> jwt.PyJWK:
        try:
            header = jwt.get_unverified_header(token)
        except jwt.PyJWTError:
            raise TokenError("the token is not a JSON Web Token") from None
        if header.get("alg") not in self._provider.algorithms:
            raise TokenError("the token's algorithm is not one of SALDO_JWT_ALGORITHMS")
        if "crit" in header:
            raise TokenError("the token has a critical header that is not understood")
        name = header.get("kid")
        if name not in self._keys:
            await self._look_for(name)
        if name is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        if name not in self._keys:
            raise TokenError("the token is signed with a key that the provider doesn't have")
        return self._keys[name]

    def _claims(self, token: str, key: jwt.PyJWK) -> dict[str, Any]:
        provider = self._provider
        try:
            return jwt.decode(
                token,
                key,
                # Of this key only: what the token's header says must not decide how it is checked.
                algorithms=[name for name in provider.algorithms if name == key.algorithm_name],
                audience=provider.audience,
                issuer=provider.issuer,
                leeway=provider.leeway_seconds,
                options={"require": ["exp", "iss", "aud"]},
            )
        except jwt.ExpiredSignatureError:
            raise TokenError("the token has expired") from None
        except jwt.InvalidAudienceError:
            raise TokenError("the token is for another audience") from None
        except jwt.InvalidIssuerError:
            raise TokenError("the token is of another issuer") from None
        except jwt.MissingRequiredClaimError as error:
            raise TokenError(f"the token has no claim {error.claim}") from None
        except (jwt.PyJWTError, OverflowError):
            raise TokenError("the token is not valid, or not signed by the provider") from None

    def _grant(self, claims: Mapping[str, Any]) -> Grant:
        subject = str(claims.get("sub", ""))[:100]
        users = self._users(claims)
        scopes = self._scopes(claims)
        if users is not None:
            # Keys and webhooks are about all users.
            scopes -= {Scope.ADMIN, Scope.METRICS}
        return Grant(
            f"token of {subject!r}",
            scopes,
            users,
            expires_at=min(int(claims["exp"]), EXPIRY_MAX) + self._provider.leeway_seconds,
            bucket=self._bucket(subject),
        )

    def _scopes(self, claims: Mapping[str, Any]) -> frozenset[Scope]:
        value = claims.get(self._provider.scope_claim)
        # RFC 8693 has one string; some providers have a list.
        names = (
            value.split() if isinstance(value, str) else value if isinstance(value, list) else []
        )
        prefix = self._provider.scope_prefix
        known = {prefix + scope: scope for scope in Scope}
        return frozenset(known[name] for name in names if isinstance(name, str) and name in known)

    def _users(self, claims: Mapping[str, Any]) -> frozenset[int] | None:
        if self._provider.users_claim is None:
            return None
        value = claims.get(self._provider.users_claim)
        values = value if isinstance(value, list) else [value]
        # Nothing that can be read: about nobody, never about all.
        return frozenset(
            int(each)
            for each in values
            if type(each) is int or (isinstance(each, str) and _USER_ID.fullmatch(each))
        )

    def _bucket(self, subject: str) -> Bucket | None:
        if self._rate is None:
            return None
        if subject not in self._buckets and len(self._buckets) >= BUCKETS_MAX:
            self._buckets.pop(next(iter(self._buckets)))
        return self._buckets.setdefault(subject, Bucket(self._rate))

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(self._provider.refresh_seconds)
            async with self._looking:
                await self._look()

    async def _look_for(self, name: object) -> None:
        """Whether the provider has a new key of this name; one look for all who ask at the same time."""
        async with self._looking:
            rested = time.monotonic() - self._looked_at >= LOOK_AGAIN_SECONDS
            if name not in self._keys and rested:
                await self._look()

    async def _look(self) -> None:
        self._looked_at = time.monotonic()
        try:
            text = await self._fetched()
            if text == self._text:
                return
            self._keys = _read_keys(text, self._provider.algorithms)
            self._text = text
        except (OSError, TimeoutError, aiohttp.ClientError, ValueError, jwt.PyJWTError) as error:
            reason = str(error) or type(error).__name__
            issuer = self._provider.issuer
            _log.warning("the keys of %s can't be got, those known stay valid: %s", issuer, reason)
        except Exception:
            _log.exception("looking at the provider's keys failed in a way nobody foresaw")
        else:
            self._changed()

    async def _fetched(self) -> bytes:
        jwks = self._provider.jwks
        if isinstance(jwks, Path):
            return await asyncio.to_thread(jwks.read_bytes)
        timeout = aiohttp.ClientTimeout(FETCH_SECONDS_MAX)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(jwks, allow_redirects=False) as answer,
        ):
            if answer.status != 200:
                raise ValueError(f"status {answer.status}")
            text = await answer.content.read(FETCH_BYTES_MAX + 1)
            while len(text) <= FETCH_BYTES_MAX and (
                more := await answer.content.read(FETCH_BYTES_MAX)
            ):
                text += more
        if len(text) > FETCH_BYTES_MAX:
            raise ValueError(f"more than {FETCH_BYTES_MAX} bytes")
        return text


def _read_keys(text: bytes, algorithms: tuple[str, ...]) -> dict[str | None, jwt.PyJWK]:
    found = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError("not a JWK set")  # noqa: TRY004 - its content is at fault, not a caller
    keys = jwt.PyJWKSet.from_dict(found).keys
    usable = {
        key.key_id: key
        for key in keys
        if key.algorithm_name in algorithms and key.public_key_use in {None, "sig"}
    }
    if not usable:
        raise ValueError("no key in it is for one of SALDO_JWT_ALGORITHMS")
    return usable
