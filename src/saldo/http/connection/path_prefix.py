"""The path prefix under which a reverse proxy serves this service, for links, redirects and cookies.

The proxy removes the prefix from the path before it forwards a request, so routes never contain it.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Any, Final

from saldo.encoding.urls import is_path_prefix
from saldo.settings.model import Settings

PREFIX_HEADER: Final = b"x-forwarded-prefix"


class PathPrefixes:
    """The rule that determines the path prefix of a request.

    A trusted proxy sends the prefix in the header `X-Forwarded-Prefix`. The setting applies to requests without such a
    header. The value becomes a part of links and redirects, so an invalid header is ignored.
    """

    def __init__(
        self, path_prefix: str | None, proxies: Sequence[IPv4Network | IPv6Network]
    ) -> None:
        self._path_prefix = path_prefix or ""
        self._proxies = proxies

    @staticmethod
    def from_settings(settings: Settings) -> PathPrefixes:
        """Return the rule of the settings."""
        return PathPrefixes(settings.path_prefix, settings.proxy_networks)

    def find(self, scope: Any) -> str:
        """Return the path prefix of a request, such as `/ledger`, or an empty text."""
        if not self._proxies:
            return self._path_prefix
        values = [value for name, value in scope["headers"] if name == PREFIX_HEADER]
        if len(values) != 1 or not self._is_proxy(scope.get("client")):
            return self._path_prefix
        prefix: str = values[0].decode("latin-1")
        return prefix if is_path_prefix(prefix) else self._path_prefix

    def _is_proxy(self, client: Any) -> bool:
        try:
            address = ip_address(client[0]) if client else None
        except ValueError:
            return False
        if address is None:
            return False
        mapped = getattr(address, "ipv4_mapped", None) or address
        return any(mapped in network for network in self._proxies)
