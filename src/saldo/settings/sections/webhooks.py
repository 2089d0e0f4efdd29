"""Settings of webhooks."""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated

from pydantic import Field, field_validator

from saldo.settings.section import SettingsSection
from saldo.settings.validators import Unset, check_networks, parse_networks, split_list

_PORT = re.compile("[0-9]{1,5}", re.ASCII)


class WebhookSettings(SettingsSection):
    """Webhooks."""

    webhooks_enabled: bool = Field(
        True,
        description="Whether the relay delivers events to webhooks, which are created with the API.",
    )
    webhook_allow_private: bool = Field(
        False,
        description="Whether webhooks may reach loopback, link-local and private addresses. If they may, anyone who "
        "can create a webhook can send requests into your network.",
    )
    webhook_allow_http: bool = Field(
        False,
        description="Whether webhooks may have URLs with http. Names, balances and signatures are then sent "
        "unencrypted. If this is false, no events are sent to existing webhooks with http.",
    )
    webhook_deny: Annotated[str | None, Unset] = Field(
        None,
        description="Networks, separated by commas, to which no webhook is sent, even if other settings allow them: "
        "your own public addresses, or 169.254.0.0/16 if SALDO_WEBHOOK_ALLOW_PRIVATE is set.",
    )
    webhook_ports: Annotated[str | None, Unset] = Field(
        None,
        description="Ports, separated by commas, to which webhooks may be sent, such as 443,8443. By default all "
        "ports are allowed.",
    )
    webhook_timeout_seconds: float = Field(
        10.0, gt=0, le=300, description="Timeout of one delivery attempt."
    )
    webhook_concurrency: int = Field(
        8,
        ge=1,
        le=100,
        description="Maximum number of concurrent deliveries to one endpoint. Concurrent deliveries always belong to "
        "different users.",
    )
    webhook_backoff_seconds_min: float = Field(
        1.0,
        gt=0,
        le=3600,
        description="Time until the first retry of a delivery. The time doubles with each further retry.",
    )
    webhook_backoff_seconds_max: float = Field(
        3600.0,
        gt=0,
        le=86_400,
        description="Maximum time between two retries, even if the endpoint asks for a longer time.",
    )
    webhook_give_up_seconds: float = Field(
        259_200.0,
        gt=0,
        le=31_536_000,
        description="Time for which a delivery is retried (3 days by default). After that the delivery is dead until "
        "it is replayed.",
    )
    webhook_disable_after_seconds: float = Field(
        432_000.0,
        gt=0,
        le=31_536_000,
        description="Time without a successful delivery after which a webhook is disabled (5 days by default).",
    )
    webhook_pending_max: int = Field(
        10_000,
        ge=1,
        le=1_000_000,
        description="Maximum number of pending deliveries of one webhook. At the limit the webhook gets no new "
        "events, and its lag grows.",
    )
    webhook_secret_overlap_seconds: float = Field(
        86_400.0,
        ge=0,
        le=31_536_000,
        description="Time for which a replaced secret still signs deliveries, together with the new one.",
    )
    webhooks_max: int = Field(
        100,
        ge=1,
        le=10_000,
        description="Maximum number of webhooks. Each of them reads the log separately.",
    )
    webhook_users_max: int = Field(
        1000,
        ge=1,
        le=100_000,
        description="Maximum number of users to which one webhook can be limited.",
    )
    webhook_url_length_max: int = Field(
        2000, ge=20, le=10_000, description="Maximum length of a webhook's URL, in characters."
    )

    @field_validator("webhook_ports")
    @classmethod
    def _check_ports(cls, ports: str | None) -> str | None:
        if not all(
            _PORT.fullmatch(port) and 0 < int(port) < 65_536 for port in split_list(ports or "")
        ):
            raise ValueError("expected ports such as 443,8443")
        return ports

    @field_validator("webhook_deny")
    @classmethod
    def _check_networks(cls, networks: str | None) -> str | None:
        return check_networks(networks)

    @property
    def webhook_denied_networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """The networks to which no webhook is sent."""
        return parse_networks(self.webhook_deny)

    @property
    def webhook_port_numbers(self) -> frozenset[int]:
        """The ports to which webhooks may be sent. If the set is empty, all ports are allowed."""
        return frozenset(map(int, split_list(self.webhook_ports or "")))
