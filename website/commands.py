"""The page of the commands, from the program's own help."""

from __future__ import annotations

import html
import re
import subprocess
import sys
from typing import Final

from saldo.cli.program import COMMANDS, application

program = application(COMMANDS)
"""What typer's own writer of pages is given."""

_EXAMPLES: Final = re.compile(r"^Examples:\n\n((?:  .+\n\n)+)", re.MULTILINE)


def page() -> str:
    """The page, in Markdown."""
    written = subprocess.run(  # noqa: S603
        [
            *(sys.executable, "-m", "typer", "website/commands.py"),
            *("utils", "docs", "--name", "saldo", "--title", "Commands"),
        ],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return _EXAMPLES.sub(_fenced, _plain(written)) + "\n"


def _plain(text: str) -> str:
    # Escaped for HTML; Markdown takes what is in quotes as it is, and passes over no tag of ours.
    return re.sub(r"`[^`\n]*`", lambda found: html.unescape(found[0]), text)


def _fenced(found: re.Match[str]) -> str:
    examples = [line.strip() for line in found[1].splitlines() if line.strip()]
    return "Examples:\n\n```text\n" + "\n".join(examples) + "\n```\n\n"
