"""The URL, the key, the TLS context and the proxy of a client's connection."""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from typing import Final
from urllib.request import proxy_bypass

import httpx

_KEY: Final = re.compile(r"[!-~]+", re.ASCII)


def check_url(url: str) -> str:
    """Return the URL of a service unchanged if it is valid.

    Raises:
        TypeError, ValueError: The URL is invalid.
    """
    if not isinstance(url, str):
        raise TypeError(f"url must be a str, not {type(url).__name__}")
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        parsed = httpx.URL("")
    port = 1 if parsed.port is None else parsed.port
    if (
        parsed.scheme not in {"http", "https"}
        or not parsed.host
        or not 1 <= port <= 65535
        or parsed.query
        or parsed.fragment
        or " " in url
    ):
        # The URL may contain a password and is then not shown.
        shown = "" if "@" in url else f", not {url!r}"
        raise ValueError(f"url must be an http or https URL, such as http://localhost:8000{shown}")
    return url


def format_authorization(key: str) -> str:
    """Return the value of the header `Authorization` for a key. No message shows the key.

    Raises:
        TypeError, ValueError: The text can't be a key or a token.
    """
    if not isinstance(key, str):
        raise TypeError(f"key must be a str, not {type(key).__name__}")
    if not _KEY.fullmatch(key):
        raise ValueError(
            "key must be an API key, as printed by `saldo keys create`, or a token: visible ASCII characters without "
            "spaces and line breaks"
        )
    return f"Bearer {key}"


def create_tls_context(url: str, verify: ssl.SSLContext | bool = True) -> ssl.SSLContext:
    """Return the TLS context for all connections to a URL.

    Loading the CA certificates takes longer than a call. They are not loaded for an http URL, whose context therefore
    trusts no certificate.

    Args:
        verify: How the certificate of the service at an https URL is verified.
    """
    if httpx.URL(url).scheme == "http":
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return httpx.create_ssl_context(verify)


def find_proxy_variable(url: str) -> str | None:
    """Return the environment variable that names the proxy for a URL; None if requests go there directly."""
    parsed = httpx.URL(url)
    if is_direct(url):
        return None
    names = (f"{parsed.scheme}_proxy", "all_proxy")
    variables = (each for name in names for each in (name, name.upper()))
    return next((each for each in variables if os.environ.get(each)), None)


def is_direct(url: str) -> bool:
    """Return whether a URL must not be reached through a proxy: a loopback address, or a host of NO_PROXY."""
    host = httpx.URL(url).host
    if host == "localhost" or host.endswith(".localhost"):
        return True
    with suppress(ValueError):
        address = ip_address(host)
        if (getattr(address, "ipv4_mapped", None) or address).is_loopback:
            return True
    return bool(proxy_bypass(host))


@contextmanager
def explain_proxy_errors() -> Iterator[None]:
    """Replace httpx's exceptions about proxies from the environment by an exception that names the variable.

    Raises:
        ValueError: A variable names a proxy that can't be used.
    """
    try:
        yield
    except (ImportError, ValueError, httpx.InvalidURL) as error:
        names = [f"{scheme}_proxy" for scheme in ("http", "https", "all")]
        given = {each: os.environ.get(each, "") for name in names for each in (name, name.upper())}
        variables = [name for name, value in given.items() if value]
        if not variables:
            raise
        socks = [name for name in variables if given[name].startswith("socks")]
        # The URLs of the proxies are not shown, because they may contain a password.
        reason = f"{', '.join(variables)} must name a proxy such as http://proxy.example:3128"
        if isinstance(error, ImportError):
            reason = (
                f"{', '.join(socks)} names a SOCKS proxy, which requires the package socksio (pip install "
                "'httpx[socks]'); NO_PROXY lists hosts that are reached without a proxy"
            )
        raise ValueError(reason) from None
