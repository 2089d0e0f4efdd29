"""Servers and programs that tests need and that may be missing. Each is checked separately.

SALDO_TEST_HIDDEN is a comma-separated list of names to treat as missing. SALDO_TEST_PROMISED is a list of names that
must be present: a test that needs a missing one fails instead of being skipped.
"""

from __future__ import annotations

import os
import shutil
import socket
from typing import Final, NoReturn
from urllib.parse import urlsplit

import pytest

NAMES: Final = frozenset(
    {
        *("postgres", "pgbouncer", "rabbitmq", "rabbitmq-stream", "rabbitmq-server", "prometheus"),
        *("chromium", "kubectl", "helm", "curl", "jq", "node", "psql"),
        *("nginx", "caddy", "nft", "systemd-analyze", "podman"),
        *("node-packages", "generator-packages"),
    }
)
"""The names that both variables can contain."""

HIDDEN: Final = frozenset(filter(None, os.environ.get("SALDO_TEST_HIDDEN", "").split(",")))

PROMISED = os.environ.get("SALDO_TEST_PROMISED", "").split(",")
"""Names of the programs and servers that must be present, for example in CI."""

if HIDDEN - NAMES:
    raise ValueError(
        f"SALDO_TEST_HIDDEN: {', '.join(sorted(HIDDEN - NAMES))}: not one of {', '.join(sorted(NAMES))}"
    )


def find_program(name: str, description: str, *, path: str | None = None) -> str | None:
    """Return the path of a program, or None if it isn't installed or is hidden.

    Args:
        name: The program's file name.
        description: Its name among `NAMES`.
        path: The search path; None for PATH.
    """
    return None if description in HIDDEN else shutil.which(name, path=path)


def is_reachable(url: str, port: int, description: str) -> bool:
    """Return whether a server accepts connections at an address and isn't hidden.

    Args:
        port: The port of a URL without one.
        description: The server's name among `NAMES`.
    """
    if description in HIDDEN:
        return False
    parts = urlsplit(url)
    try:
        socket.create_connection((parts.hostname, parts.port or port), timeout=3).close()
    except OSError:
        return False
    return True


def skip_or_fail(requirement: str, reason: str) -> NoReturn:
    """Skip the test, or fail it where the program or server is promised."""
    if requirement in PROMISED:
        pytest.fail(reason)
    pytest.skip(reason)
