"""An identity provider whose tokens are taken."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

ALGORITHMS: Final = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA"),
)
"""Those whose signature only the provider can make. None with a shared secret, and never `none`."""


class TokenError(Exception):
    """The token is not valid. The message says why, and nothing that is in the token."""


@dataclass(frozen=True, slots=True)
class Provider:
    """Whose tokens are taken, and how they are read; see the settings of the same names.

    Attributes:
        jwks: where its public keys are: a URL, or a file.
        users_claim: holds the only users that a token is about; None: each is about all users.
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
