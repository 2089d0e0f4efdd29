"""What one who asks may do."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final, TypeAlias

from saldo.access.rate import Bucket

Network: TypeAlias = IPv4Network | IPv6Network
Address: TypeAlias = IPv4Address | IPv6Address


class Scope(StrEnum):
    """A part of the API. Admin stands for all of them."""

    READ = "read"
    WRITE = "write"
    METRICS = "metrics"
    ADMIN = "admin"


SCOPES: Final = tuple(Scope)


@dataclass(frozen=True, slots=True)
class Grant:
    """What a key or a token stands for.

    Attributes:
        name: whose it is, for the log: never anything that opens a door.
        user_ids: the only users it is about; None: all.
        networks: the only ones it may come from; empty: any.
        expires_at: seconds since the epoch.
        bucket: how often it may ask; None: as often as it likes.
    """

    name: str
    scopes: frozenset[Scope]
    user_ids: frozenset[int] | None = None
    networks: tuple[Network, ...] = ()
    expires_at: float = math.inf
    bucket: Bucket | None = None

    def allows(self, scope: Scope) -> bool:
        """Whether it opens this part of the API."""
        return scope in self.scopes or Scope.ADMIN in self.scopes

    def covers(self, user_id: int) -> bool:
        """Whether it is about this user, too."""
        return self.user_ids is None or user_id in self.user_ids

    def comes_from(self, address: Address | None) -> bool:
        """Whether it may be used from there."""
        if not self.networks:
            return True
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return address is not None and any(
            address.version == network.version and address in network for network in self.networks
        )


ANYONE: Final = Grant("anyone", frozenset({Scope.ADMIN}))
"""While there are no keys."""

NOBODY: Final = Grant("nobody", frozenset(), frozenset())
"""Who asks for what is open to all, or hasn't been asked yet who it is."""
