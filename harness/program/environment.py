"""The environment of processes that tests start. It is that of the tests, without the settings of Saldo."""

from __future__ import annotations

import os


def copy_environment() -> dict[str, str]:
    """Return the environment without Saldo's variables, but with permission to run the service as root.

    The suite runs as root, too: in containers and in CI.
    """
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("SALDO_")}
    return inherited | {"SALDO_AS_ROOT": "true"}
