"""A page in a real browser, without a window."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

SECONDS_MAX = 120
SETTLE_MILLISECONDS = 20_000
"""Of the browser's own clock, which runs ahead when nothing happens: what a page takes to be finished."""


def find() -> str | None:
    """The program, if there is one."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


def rendered(program: str, url: str, profile: Path) -> tuple[str, str]:
    """The page's elements when its scripts have run, and what the browser has to say of it."""
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
