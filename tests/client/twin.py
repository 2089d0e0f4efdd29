"""Generate the synchronous client from the asynchronous one: `python -m tests.client.twin`.

The generator only replaces words. Code that needs more belongs in `saldo.client` outside of the two packages, or in
`concurrency`.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

CLIENT: Final = Path(__file__).parents[2] / "src/saldo/client"
MODULES: Final = ("client", "connection", "events", "pagination", "writer")
MADE: Final = "# Made of `saldo.client.asynchronous` by `python -m tests.client.twin`: change that, not this.\n"

WORDS: Final = (
    (r"await ", ""),
    (r"async (def|with|for)\b", r"\1"),
    (r"\bAsync(?=[A-Z])", ""),
    (r"\basynccontextmanager\b", "contextmanager"),
    (r"\b__a(enter|exit|iter|next)__", r"__\1__"),
    (r"\baclose\b", "close"),
    (r"\baread\b", "read"),
    (r"\baiter_bytes\b", "iter_bytes"),
    (r"\basynchronous\b", "synchronous"),
    (r"for (\w+) in (.+):\n\s+yield \1\b", r"yield from \2"),
)


def generate_module(module: str) -> str:
    """Return the generated text of a module."""
    text = (CLIENT / "asynchronous" / f"{module}.py").read_text("utf-8")
    for pattern, replacement in WORDS:
        text = re.sub(pattern, replacement, text)
    for command in (("check", "--select", "I", "--fix", "--quiet"), ("format", "--quiet")):
        name = str(CLIENT / "synchronous" / f"{module}.py")
        text = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--stdin-filename", name, "-"],
            input=text,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    return MADE + text


def main() -> None:
    """Generate all modules."""
    for module in MODULES:
        (CLIENT / "synchronous" / f"{module}.py").write_text(generate_module(module), "utf-8")


if __name__ == "__main__":
    main()
