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

from saldo.auth.grants import Grant, Scope
from saldo.auth.identity_provider import IdentityProvider, TokenError
from saldo.auth.rate_limit import RateLimit, TokenBucket
from saldo.lifecycle.tasks import cancel_until_ended

TOKEN_LENGTH_MAX: Final = 8192

REFRESH_INTERVAL_SECONDS_MIN: Final = 10.0
"""Minimum interval between two fetches of the provider's keys for tokens that are signed with an unknown key. Such a
key may be new."""

FETCH_SECONDS_MAX: Final = 5.0
FETCH_BYTES_MAX: Final = 1_048_576
REASON_LENGTH_MAX: Final = 200
"""Maximum length, in characters, of the reason of a failure in the log. Some reasons contain text that the provider
sent."""

URL_SECRET_LENGTH_MIN: Final = 4
"""Minimum length, in characters, of the parts of a URL that messages must not contain. Shorter parts also occur in
ordinary words."""

EXPIRY_MAX: Final = 2**53
"""Maximum expiry, in seconds since the epoch. A later expiry is reduced to this one, because floats can't represent
greater integers exactly."""

BUCKETS_MAX: Final = 10_000
"""Maximum number of subjects whose rate limit is tracked."""

SUBJECT_LENGTH_MAX: Final = 100
"""Maximum length, in characters, of a subject in the log."""

_USER_ID: Final = re.compile("[0-9]{1,19}", re.ASCII)

_log = logging.getLogger("saldo.auth")


class TokenVerifier:
    """A verifier of tokens. It caches the provider's keys and fetches them again periodically."""

    def __init__(
        self,
        provider: IdentityProvider,
        rate_limit: RateLimit | None,
        notify_changed: Callable[[], None],
    ) -> None:
        """
        Args:
            rate_limit: the rate limit of each subject; None means no limit.
            notify_changed: called after the provider's keys have changed.
        """
        self._provider = provider
        self._rate_limit = rate_limit
        self._notify_changed = notify_changed
        self._key_set_text = b""
        self._keys: dict[str | None, jwt.PyJWK] = {}
        self._fetched_at = -REFRESH_INTERVAL_SECONDS_MIN
        self._is_unreachable = False
        self._fetch_lock = asyncio.Lock()
        self._refresh_task: asyncio.Task[None] | None = None
        self._buckets: dict[str, TokenBucket] = {}

    async def start(self) -> None:
        """Fetch the keys, and start to refresh them periodically. A failure of the first fetch is only logged."""
        await self._refresh_keys()
        self._refresh_task = asyncio.create_task(
            self._refresh_periodically(), name="identity provider key refresh"
        )

    def warn_about_broad_audience(self) -> None:
        """Log a warning if the settings accept tokens that were issued for another service."""
        if not self._provider.scope_prefix and self._provider.users_claim is None:
            _log.warning(
                "every token of %s with the scope read, write or admin has access to all users: set "
                "SALDO_JWT_SCOPE_PREFIX if the audience %s has other services, or set SALDO_JWT_USERS_CLAIM",
                self._provider.issuer,
                self._provider.audience,
            )

    async def stop(self) -> None:
        """Stop refreshing the keys."""
        if self._refresh_task is not None:
            await cancel_until_ended([self._refresh_task])

    async def verify_token(self, token: str) -> Grant:
        """Return the grant of a token.

        Raises:
            TokenError: the token is not valid.
        """
        if len(token) > TOKEN_LENGTH_MAX:
            raise TokenError(f"the token has more than {TOKEN_LENGTH_MAX} characters")
        return self._create_grant(self._decode_claims(token, await self._find_key(token)))

    async def _find_key(self, token: str) -> jwt.PyJWK:
        try:
            header = jwt.get_unverified_header(token)
        except jwt.PyJWTError:
            raise TokenError("the token is not a JSON Web Token") from None
        # RFC 8725, 3.11: a token that was issued for another purpose, such as a logout, must not be accepted.
        token_type = str(header.get("typ", "JWT")).lower().removeprefix("application/")
        if token_type not in self._provider.types:
            raise TokenError("the token's header typ is not one of SALDO_JWT_TYPES")
        if header.get("alg") not in self._provider.algorithms:
            raise TokenError("the token's algorithm is not one of SALDO_JWT_ALGORITHMS")
        if "crit" in header:
            raise TokenError("the token has a critical header (crit), which is not supported")
        key_id = header.get("kid")
        if key_id not in self._keys:
            await self._refresh_for_key(key_id)
        if key_id is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        if key_id not in self._keys and self._is_unreachable:
            raise TokenError(
                "the token is signed with an unknown key, and the identity provider's keys can't be "
                "fetched at the moment"
            )
        if key_id not in self._keys:
            raise TokenError(
                "the token is signed with a key that is not among the identity provider's keys"
            )
        return self._keys[key_id]

    def _decode_claims(self, token: str, key: jwt.PyJWK) -> dict[str, Any]:
        provider = self._provider
        try:
            return jwt.decode(
                token,
                key,
                # Only the key's own algorithm is allowed, because the token's header must not decide how the token is
                # checked.
                algorithms=[name for name in provider.algorithms if name == key.algorithm_name],
                audience=provider.audience,
                issuer=provider.issuer,
                leeway=provider.leeway_seconds,
                options={"require": ["exp", "iss", "aud"]},
            )
        except jwt.ExpiredSignatureError:
            raise TokenError("the token has expired") from None
        except jwt.InvalidAudienceError:
            raise TokenError("the token has another audience") from None
        except jwt.InvalidIssuerError:
            raise TokenError("the token has another issuer") from None
        except jwt.MissingRequiredClaimError as error:
            raise TokenError(f"the token has no claim {error.claim}") from None
        except (jwt.PyJWTError, OverflowError):
            raise TokenError(
                "the token is not valid, or its signature is not the identity provider's"
            ) from None

    def _create_grant(self, claims: Mapping[str, Any]) -> Grant:
        subject = _read_subject(claims)
        self._check_lifetime(claims)
        users = self._read_user_ids(claims)
        scopes = self._read_scopes(claims)
        if users is not None:
            # Keys, webhooks and metrics give access to data of all users.
            scopes -= {Scope.ADMIN, Scope.METRICS}
        return Grant(
            f"token of {subject[:SUBJECT_LENGTH_MAX]!r}",
            scopes,
            users,
            expires_at=min(int(claims["exp"]), EXPIRY_MAX) + self._provider.leeway_seconds,
            bucket=self._get_bucket(subject),
        )

    def _check_lifetime(self, claims: Mapping[str, Any]) -> None:
        """Reject a token with too long a lifetime. A token can't be revoked before it expires.

        Raises:
            TokenError: the lifetime is too long.
        """
        lifetime_seconds_max = self._provider.lifetime_seconds_max
        if lifetime_seconds_max is None:
            return
        issued_claim = claims.get("iat")
        issued_at = issued_claim if isinstance(issued_claim, (int, float)) else time.time()
        if int(claims["exp"]) - issued_at > lifetime_seconds_max + self._provider.leeway_seconds:
            raise TokenError(
                f"the token is valid for more than {lifetime_seconds_max} s (SALDO_JWT_LIFETIME_SECONDS_MAX)"
            )

    def _read_scopes(self, claims: Mapping[str, Any]) -> frozenset[Scope]:
        value = claims.get(self._provider.scope_claim)
        # RFC 8693 defines one string. Some providers send a list.
        names = (
            value.split() if isinstance(value, str) else value if isinstance(value, list) else []
        )
        prefix = self._provider.scope_prefix
        scope_of_name = {prefix + scope: scope for scope in Scope}
        return frozenset(
            scope_of_name[name] for name in names if isinstance(name, str) and name in scope_of_name
        )

    def _read_user_ids(self, claims: Mapping[str, Any]) -> frozenset[int] | None:
        if self._provider.users_claim is None:
            return None
        value = claims.get(self._provider.users_claim)
        values = value if isinstance(value, list) else [value]
        # A claim without readable ids limits the token to no users, never to all.
        return frozenset(
            int(each)
            for each in values
            if type(each) is int or (isinstance(each, str) and _USER_ID.fullmatch(each))
        )

    def _get_bucket(self, subject: str) -> TokenBucket | None:
        if self._rate_limit is None:
            return None
        if subject not in self._buckets and len(self._buckets) >= BUCKETS_MAX:
            self._buckets.pop(next(iter(self._buckets)))
        return self._buckets.setdefault(subject, TokenBucket(self._rate_limit))

    async def _refresh_periodically(self) -> None:
        while True:
            await asyncio.sleep(self._provider.refresh_seconds)
            async with self._fetch_lock:
                await self._refresh_keys()

    async def _refresh_for_key(self, key_id: object) -> None:
        """Fetch the provider's keys if none of the known keys has this name. Concurrent callers share one fetch, and
        fetches are rate-limited."""
        async with self._fetch_lock:
            is_interval_over = time.monotonic() - self._fetched_at >= REFRESH_INTERVAL_SECONDS_MIN
            if key_id not in self._keys and is_interval_over:
                await self._refresh_keys()

    async def _refresh_keys(self) -> None:
        self._fetched_at = time.monotonic()
        self._is_unreachable = True
        try:
            text = await self._fetch_keys()
            keys = self._keys
            if text != self._key_set_text:
                keys = _read_keys(text, self._provider.algorithms)
            self._is_unreachable = False
            if text == self._key_set_text:
                return
            self._keys, self._key_set_text = keys, text
        except (OSError, TimeoutError, aiohttp.ClientError, ValueError, jwt.PyJWTError) as error:
            _log.warning(
                "can't fetch the public keys of %s, so the known keys remain valid: %s",
                self._provider.issuer,
                _describe_failure(error, self._provider.jwks),
            )
        except Exception:
            _log.exception("fetching the identity provider's keys failed unexpectedly")
        else:
            self._notify_changed()

    async def _fetch_keys(self) -> bytes:
        jwks = self._provider.jwks
        if isinstance(jwks, Path):
            return await asyncio.to_thread(jwks.read_bytes)
        timeout = aiohttp.ClientTimeout(FETCH_SECONDS_MAX)
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=False) as session,
            session.get(jwks, allow_redirects=False) as answer,
        ):
            if answer.status != 200:
                raise ValueError(f"the response has status {answer.status}")
            text = await answer.content.read(FETCH_BYTES_MAX + 1)
            while len(text) <= FETCH_BYTES_MAX and (
                more := await answer.content.read(FETCH_BYTES_MAX)
            ):
                text += more
        if len(text) > FETCH_BYTES_MAX:
            raise ValueError(f"the response has more than {FETCH_BYTES_MAX} bytes")
        return text


def _describe_failure(error: Exception, jwks: str | Path) -> str:
    """Describe a failure in one line. The line does not contain the URL, which may have a password or a token."""
    text = str(error)
    if isinstance(error, aiohttp.ClientResponseError):
        text = f"{error.status} {error.message}"  # str(error) ends with the whole URL
    line = " ".join(text.split())
    if not line or (
        isinstance(jwks, str) and any(part in line for part in _find_secret_parts(jwks))
    ):
        return type(error).__name__
    return line[:REASON_LENGTH_MAX]


def _find_secret_parts(url: str) -> list[str]:
    """Return the parts of a URL that may be secret: the user, the password, and the parts of the path and the query.
    Parts that are too short to be a secret are left out."""
    authority, _, path = url.partition("://")[2].partition("/")
    user = authority.rpartition("@")[0]
    return [
        part
        for part in re.split(r"[/?&=#:]", f"{user}/{path}")
        if len(part) >= URL_SECRET_LENGTH_MIN
    ]


def _read_subject(claims: Mapping[str, Any]) -> str:
    """Return the subject of a token. If the claim `sub` is missing, the subject is the client (`client_id` of RFC 9068,
    or `azp` of OpenID Connect).

    Raises:
        TokenError: the token has no subject. If such tokens were accepted, all of them would share one rate limit and
            one name in the log.
    """
    for name in ("sub", "client_id", "azp"):
        value = claims.get(name)
        if isinstance(value, str) and value:
            return value
    raise TokenError("the token has neither a claim sub nor a claim client_id")


def _read_keys(text: bytes, algorithms: tuple[str, ...]) -> dict[str | None, jwt.PyJWK]:
    key_set = json.loads(text)
    if not isinstance(key_set, dict):
        raise ValueError("the response is not a JWK set")  # noqa: TRY004 - its content is at fault, not a caller
    keys = jwt.PyJWKSet.from_dict(key_set).keys
    usable_keys = {
        key.key_id: key
        for key in keys
        if key.algorithm_name in algorithms and key.public_key_use in {None, "sig"}
    }
    if not usable_keys:
        raise ValueError("the JWK set has no key for SALDO_JWT_ALGORITHMS")
    return usable_keys
