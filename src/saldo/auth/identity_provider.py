"""The configuration of an identity provider whose tokens are accepted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

ALGORITHMS: Final = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA"),
)
"""Signature algorithms with an asymmetric key, so that only the provider can sign. Algorithms with a shared secret and
`none` are not accepted."""


class TokenError(Exception):
    """Raised when a token is not valid. The message gives the reason, and contains no value from the token."""


@dataclass(frozen=True, slots=True)
class IdentityProvider:
    """An identity provider and the rules by which its tokens are checked. The settings `SALDO_JWT_…` describe the
    attributes in detail.

    Attributes:
        jwks: the URL or the file of the provider's public keys.
        users_claim: name of the claim that lists the users a token is limited to; None means that each token is for
            all users.
        types: accepted values of the tokens' header `typ`, in lower case. A token without that header counts as `jwt`.
        lifetime_seconds_max: maximum time between a token's issue and its expiry; None means no limit.
    """

    issuer: str
    audience: str
    jwks: str | Path
    algorithms: tuple[str, ...]
    leeway_seconds: float
    scope_claim: str
    scope_prefix: str
    users_claim: str | None
    refresh_seconds: float
    types: frozenset[str]
    lifetime_seconds_max: int | None
