"""Settings of access: API keys, rate limits, proxies and pages of other sites."""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated

from pydantic import Field, SecretStr, field_validator

from saldo.auth.api_key import SECRET_LENGTH_MAX, SECRET_LENGTH_MIN
from saldo.encoding.urls import is_path_prefix
from saldo.settings.section import SettingsSection
from saldo.settings.validators import Unset, check_networks, parse_networks, split_list

_KEY = re.compile(r"[A-Za-z0-9._~+/=-]+", re.ASCII)
_ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?|https?://\[[0-9a-f:]+\](:[0-9]{1,5})?")
_HOST = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?", re.ASCII)


class KeySettings(SettingsSection):
    """API keys, and access to the service while there is no key."""

    insecure: bool = Field(
        False,
        description="Whether to listen on other addresses than loopback while there is no key. Anyone who can connect "
        "to the service then has full access.",
    )
    hosts: Annotated[str | None, Unset] = Field(
        None,
        description="Host names of the service, separated by commas. While SALDO_INSECURE is set and there is no key, "
        "the Host header of a request must contain one of these names, an address or localhost. Requests "
        "with other names are rejected, because a web page can make its own name resolve to this service "
        "(DNS rebinding).",
    )
    admin_key: Annotated[SecretStr | None, Unset] = Field(
        None,
        description="API key with the scope admin, of at least 32 characters. The key is defined by this setting and "
        "is not stored in the database. It is intended for deployments that are set up automatically.",
    )
    metrics_key: Annotated[SecretStr | None, Unset] = Field(
        None,
        description="API key with the scope metrics, of at least 32 characters. The key is defined by this setting and "
        "is not stored in the database. It is intended for Prometheus.",
    )
    keys_max: int = Field(
        1000,
        ge=1,
        le=10_000,
        description="Maximum number of valid API keys. All of them are kept in memory.",
    )
    keys_refresh_seconds: float = Field(
        1.0,
        gt=0,
        le=60,
        description="Interval at which each process reloads changed keys. A revoked key may be accepted for this long "
        "after its revocation.",
    )
    key_overlap_seconds: int = Field(
        86_400,
        ge=0,
        le=31_536_000,
        description="Default time for which a key remains valid after its rotation.",
    )

    @field_validator("admin_key", "metrics_key")
    @classmethod
    def _check_secret(cls, key: SecretStr | None) -> SecretStr | None:
        if key is not None:
            text = key.get_secret_value()
            if not SECRET_LENGTH_MIN <= len(text) <= SECRET_LENGTH_MAX or not _KEY.fullmatch(text):
                raise ValueError(
                    f"expected {SECRET_LENGTH_MIN} to {SECRET_LENGTH_MAX} of the characters A-Z a-z 0-9 - _ . ~ + / ="
                )
        return key

    @field_validator("hosts")
    @classmethod
    def _check_host_names(cls, names: str | None) -> str | None:
        if not all(_HOST.fullmatch(name) for name in split_list(names or "")):
            raise ValueError("expected host names without a port, such as saldo,ledger.example")
        return names

    @property
    def host_names(self) -> tuple[str, ...]:
        """Host names that requests without a key may have in the header `Host`, in lower case."""
        return tuple(name.lower() for name in split_list(self.hosts or ""))


class RateLimitSettings(SettingsSection):
    """Rate limits."""

    rate_requests_per_second: Annotated[float | None, Unset] = Field(
        None,
        gt=0,
        le=1_000_000,
        description="Rate limit: average number of requests per second with the same key, or with tokens of the same "
        "subject. Each transaction of an array or a stream counts as a request. Every process applies the "
        "limit separately. By default there is no limit.",
    )
    rate_burst: int = Field(
        100,
        ge=1,
        le=1_000_000,
        description="Number of requests that may be sent with the same key at once after a pause, if there is a rate "
        "limit.",
    )
    rate_debt_seconds_max: float = Field(
        60.0,
        ge=0,
        le=86_400,
        description="Maximum time for which an array of transactions may delay the next request with the same key, if "
        "there is a rate limit. Larger arrays are rejected with 422.",
    )


class BrowserAndProxySettings(SettingsSection):
    """Trusted proxies, and pages of other sites that may call the API (CORS)."""

    trusted_proxies: Annotated[str | None, Unset] = Field(
        None,
        description="Networks of trusted proxies, separated by commas. Their X-Forwarded-For header gives the "
        "client's address, which matters for keys that are limited to networks. By default no proxy is "
        "trusted.",
    )
    path_prefix: Annotated[str | None, Unset] = Field(
        None,
        description="Path under which a reverse proxy serves Saldo, such as /ledger, if the proxy removes it from the "
        "path of each request. Links, redirects and cookies of the console, /docs and the OpenAPI document contain it. "
        "The header X-Forwarded-Prefix of a trusted proxy takes precedence.",
    )
    cors_origins: Annotated[str | None, Unset] = Field(
        None,
        description="Origins, separated by commas, whose pages may call the API from a browser (CORS), such as "
        "https://shop.example. By default only the service's own pages may.",
    )

    @field_validator("trusted_proxies")
    @classmethod
    def _check_proxies(cls, networks: str | None) -> str | None:
        return check_networks(networks)

    @field_validator("path_prefix")
    @classmethod
    def _check_path_prefix(cls, prefix: str | None) -> str | None:
        if prefix is not None and not is_path_prefix(prefix):
            raise ValueError("expected a path such as /ledger, without a final slash")
        return prefix

    @field_validator("cors_origins")
    @classmethod
    def _check_origins(cls, origins: str | None) -> str | None:
        # The format is that of browsers. "*" is not supported: operators must list the origins.
        if not all(_ORIGIN.fullmatch(origin) for origin in split_list(origins or "")):
            raise ValueError("expected origins such as https://shop.example,http://localhost:3000")
        return origins

    @property
    def proxy_networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """The networks of the trusted proxies."""
        return parse_networks(self.trusted_proxies)

    @property
    def cors_origin_names(self) -> tuple[str, ...]:
        """The origins whose pages may call the API."""
        return split_list(self.cors_origins or "")
