"""One TLS context for all HTTP clients of the tests; by default each loads all authorities' certificates.

Loading them takes longer than most requests, and the tests need none of them: they connect to services of their own, by
http or with a context that they pass.
"""

from __future__ import annotations

import ssl
from typing import Any

import httpx
from httpx._transports import default


def share_context() -> None:
    """Make clients without a context of their own share one."""
    shared = httpx.create_ssl_context()

    def create(
        verify: ssl.SSLContext | str | bool = True, cert: Any = None, **options: Any
    ) -> ssl.SSLContext:
        if verify is True and cert is None:
            return shared
        return httpx.create_ssl_context(verify, cert, **options)

    default.create_ssl_context = create  # type: ignore[attr-defined, assignment]
