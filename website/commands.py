"""The reference page of the commands, generated from the program's own help."""

from __future__ import annotations

import html
import re
import subprocess
import sys
from typing import Final

from saldo.cli.command_table import COMMANDS
from saldo.cli.program import build_app

program = build_app(COMMANDS)
"""The application that typer's documentation generator reads."""

_EXAMPLES: Final = re.compile(r"^Examples:\n\n((?:  .+\n\n)+)", re.MULTILINE)


def page() -> str:
    """Return the page in Markdown."""
    written = subprocess.run(  # noqa: S603
        [
            *(sys.executable, "-m", "typer", "website/commands.py"),
            *("utils", "docs", "--name", "saldo", "--title", "Commands"),
        ],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return _EXAMPLES.sub(_fence_examples, _unescape(written)) + "\n"


def _unescape(text: str) -> str:
    # The text is escaped for HTML. Only what could begin a tag outside of backquotes stays escaped.
    return re.sub(
        r"`[^`\n]*`|&lt;=|&gt;|&#x27;|&quot;", lambda found: html.unescape(found[0]), text
    )


def _fence_examples(match: re.Match[str]) -> str:
    examples = [line.strip() for line in match[1].splitlines() if line.strip()]
    return "Examples:\n\n```text\n" + "\n".join(examples) + "\n```\n\n"
