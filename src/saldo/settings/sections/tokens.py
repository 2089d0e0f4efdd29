"""Settings of JSON Web Tokens."""

from __future__ import annotations

import re
from typing import Annotated, Self

from pydantic import Field, FilePath, field_validator, model_validator

from saldo.auth.identity_provider import ALGORITHMS
from saldo.settings.section import SettingsSection
from saldo.settings.validators import Unset, check_unambiguous_url, split_list

_JWKS_URL = re.compile(r"https://.+|http://(localhost|127\.0\.0\.1|\[::1\])(:[0-9]+)?/.*", re.ASCII)


class TokenSettings(SettingsSection):
    """JSON Web Tokens of an identity provider."""

    jwt_issuer: Annotated[str | None, Unset] = Field(
        None,
        description="Issuer (claim iss) of the JSON Web Tokens that are accepted in addition to API keys. It requires "
        "SALDO_JWT_AUDIENCE, and SALDO_JWT_JWKS_URL or SALDO_JWT_JWKS_FILE.",
    )
    jwt_audience: Annotated[str | None, Unset] = Field(
        None,
        description="Audience (claim aud) that a token must contain. It is the identity provider's name for this "
        "service.",
    )
    jwt_jwks_url: Annotated[str | None, Unset] = Field(
        None, description="URL of the identity provider's public keys (a JWK set), with https."
    )
    jwt_jwks_file: Annotated[FilePath | None, Unset] = Field(
        None,
        description="File with the identity provider's public keys (a JWK set), as an alternative to the URL.",
    )
    jwt_algorithms: str = Field(
        "RS256,PS256,ES256,EdDSA",
        description="Signature algorithms that are accepted, separated by commas. Algorithms with a shared secret are "
        "not supported.",
    )
    jwt_leeway_seconds: float = Field(
        30.0,
        ge=0,
        le=600,
        description="Tolerance for a difference between the clocks of the service and of the identity provider.",
    )
    jwt_refresh_seconds: float = Field(
        300.0,
        gt=0,
        le=86_400,
        description="Interval at which the identity provider's public keys are fetched again.",
    )
    jwt_scope_claim: str = Field(
        "scope",
        min_length=1,
        description="Claim that contains the scopes, as a string separated by spaces or as a list.",
    )
    jwt_scope_prefix: str = Field(
        "",
        description="Prefix of the scopes read, write, metrics and admin in a token, such as saldo: .",
    )
    jwt_types: str = Field(
        "at+jwt,JWT",
        description="Accepted values of a token's header typ, separated by commas. A token without that header counts "
        "as JWT. With at+jwt alone only access tokens as defined in RFC 9068 are accepted.",
    )
    jwt_lifetime_seconds_max: Annotated[int | None, Unset] = Field(
        86_400,
        ge=1,
        description="Maximum time between the issue (claim iat) and the expiry of a token. A token can't be revoked "
        "before it expires. For a token without iat, the time is counted from the moment of the check. If "
        "empty, there is no limit.",
    )
    jwt_users_claim: Annotated[str | None, Unset] = Field(
        None,
        description="Claim with the user id, or a list of user ids, that a token is limited to. If this is set, a "
        "token without the claim can access no user. By default every token can access all users.",
    )

    @field_validator("jwt_algorithms")
    @classmethod
    def _check_algorithms(cls, names: str) -> str:
        if not set(split_list(names)) <= set(ALGORITHMS) or not split_list(names):
            raise ValueError(f"expected some of {','.join(ALGORITHMS)}")
        return names

    @field_validator("jwt_jwks_url")
    @classmethod
    def _check_jwks_url(cls, url: str | None) -> str | None:
        # Anyone who can change the response of this URL can issue tokens.
        if url is not None and not _JWKS_URL.fullmatch(url):
            raise ValueError("expected https://host/path; http is accepted for this machine only")
        return check_unambiguous_url(url)

    @model_validator(mode="after")
    def _check_provider(self) -> Self:
        values = (self.jwt_issuer, self.jwt_audience, self.jwt_jwks_url or self.jwt_jwks_file)
        if any(values) and not all(values):
            raise ValueError(
                "SALDO_JWT_ISSUER, SALDO_JWT_AUDIENCE and SALDO_JWT_JWKS_URL or SALDO_JWT_JWKS_FILE: "
                "set all of them or none"
            )
        if self.jwt_jwks_url and self.jwt_jwks_file:
            raise ValueError("SALDO_JWT_JWKS_URL and SALDO_JWT_JWKS_FILE: set only one of them")
        return self

    @property
    def jwt_algorithm_names(self) -> tuple[str, ...]:
        """The signature algorithms that are accepted for tokens."""
        return split_list(self.jwt_algorithms)

    @property
    def jwt_type_names(self) -> tuple[str, ...]:
        """The values of the header typ that are accepted."""
        return split_list(self.jwt_types)
