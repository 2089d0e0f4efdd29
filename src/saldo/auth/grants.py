"""Grants: the complete rights of an authenticated request."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final, TypeAlias

from saldo.auth.rate_limit import TokenBucket

Network: TypeAlias = IPv4Network | IPv6Network
Address: TypeAlias = IPv4Address | IPv6Address


class Scope(StrEnum):
    """A permission for one part of the API. The scope admin includes all other scopes."""

    READ = "read"
    WRITE = "write"
    METRICS = "metrics"
    ADMIN = "admin"


SCOPES: Final = tuple(Scope)


@dataclass(frozen=True, slots=True)
class Grant:
    """The rights of a key or a token.

    Attributes:
        name: the name of the key or token in the log. It never contains a secret.
        user_ids: the users that the grant is limited to; None means all users.
        networks: the networks from which requests may come; empty means any.
        expires_at: the time of expiry, in seconds since the epoch.
        bucket: the rate limit; None means no limit.
    """

    name: str
    scopes: frozenset[Scope]
    user_ids: frozenset[int] | None = None
    networks: tuple[Network, ...] = ()
    expires_at: float = math.inf
    bucket: TokenBucket | None = None

    def allows(self, scope: Scope) -> bool:
        """Return whether the grant includes this scope."""
        return scope in self.scopes or Scope.ADMIN in self.scopes

    def includes_user(self, user_id: int) -> bool:
        """Return whether the grant includes this user."""
        return self.user_ids is None or user_id in self.user_ids

    def allows_address(self, address: Address | None) -> bool:
        """Return whether the grant may be used from this address."""
        if not self.networks:
            return True
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return address is not None and any(
            address.version == network.version and address in network for network in self.networks
        )


UNAUTHENTICATED_ADMIN: Final = Grant("anyone", frozenset({Scope.ADMIN}))
"""Grant of every accepted request while there are no keys."""

NO_GRANT: Final = Grant("nobody", frozenset(), frozenset())
"""Grant of requests that need no authentication, or that have not been authenticated yet."""
