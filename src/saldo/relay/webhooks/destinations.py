"""The destinations of webhooks: the schemes, ports and networks that the operator allows."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import Protocol

from yarl import URL

from saldo.relay.webhooks.address_policy import is_public, is_within


class DestinationSettings(Protocol):
    """The settings that determine a policy; see `saldo.settings.model.Settings`."""

    @property
    def webhook_allow_private(self) -> bool: ...

    @property
    def webhook_allow_http(self) -> bool: ...

    @property
    def webhook_denied_networks(self) -> tuple[IPv4Network | IPv6Network, ...]: ...

    @property
    def webhook_port_numbers(self) -> frozenset[int]: ...


@dataclass(frozen=True, slots=True)
class DestinationPolicy:
    """A policy for the destinations of webhooks.

    Attributes:
        allow_private: whether connections to addresses that are not public are allowed.
        allow_http: whether events may be sent without TLS.
        denied: networks to which no connection is made.
        ports: the allowed ports; empty means any.
    """

    allow_private: bool = False
    allow_http: bool = False
    denied: tuple[IPv4Network | IPv6Network, ...] = ()
    ports: frozenset[int] = frozenset()

    @classmethod
    def from_settings(cls, settings: DestinationSettings) -> DestinationPolicy:
        """Return the policy for these settings."""
        return cls(
            allow_private=settings.webhook_allow_private,
            allow_http=settings.webhook_allow_http,
            denied=settings.webhook_denied_networks,
            ports=settings.webhook_port_numbers,
        )

    def find_url_fault(self, url: URL) -> str | None:
        """Return what is wrong with a URL, as a sentence without its subject; None if the URL is allowed.

        The host is checked by `find_address_fault` when a connection is opened.
        """
        if url.scheme != "https" and not self.allow_http:
            return "must begin with https:// (SALDO_WEBHOOK_ALLOW_HTTP allows http://)"
        if self.ports and url.port not in self.ports:
            return f"must have one of the ports {', '.join(map(str, sorted(self.ports)))} (SALDO_WEBHOOK_PORTS)"
        return None

    def find_address_fault(self, address: str) -> str | None:
        """Return what is wrong with an address, as a sentence without its subject; None if it is allowed."""
        if is_within(address, self.denied):
            return "is in a network that SALDO_WEBHOOK_DENY names"
        if not self.allow_private and not is_public(address):
            return "is not an address of the public internet"
        return None
