"""Loading of a page in a real browser, without a window."""

from __future__ import annotations

import subprocess
from pathlib import Path

from harness import prerequisites

SECONDS_MAX = 120
SETTLE_MILLISECONDS = 20_000
"""Time limit for a page to finish, in milliseconds of the browser's virtual clock. This clock skips idle time."""


def find() -> str | None:
    """Return the path of the browser, or None if it is not installed."""
    return prerequisites.find_program("chromium", "chromium") or prerequisites.find_program(
        "chromium-browser", "chromium"
    )


def render_page(program: str, url: str, profile: Path) -> tuple[str, str]:
    """Return the page's DOM after its scripts have run, and what the browser logged."""
    done = subprocess.run(
        [
            program,
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--enable-logging=stderr",
            f"--user-data-dir={profile}",
            f"--virtual-time-budget={SETTLE_MILLISECONDS}",
            "--dump-dom",
            url,
        ],
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=True,
    )
    return done.stdout, done.stderr
