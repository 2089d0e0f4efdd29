"""The pages of docs that are made from the code; kept in the repository, to be read there. A test finds old ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from website import api, commands, decisions, events, settings

PAGES: Final[dict[str, Callable[[], str]]] = {
    "decisions/README.md": decisions.page,
    "reference/api.md": api.page,
    "reference/commands.md": commands.page,
    "reference/events.md": events.page,
    "reference/settings.md": settings.page,
}
"""How each is made, by its path in docs."""


def write(docs: Path) -> list[str]:
    """Makes all of them anew.

    Returns:
        Those that have changed.
    """
    changed = []
    for name, make in PAGES.items():
        path, text = docs / name, make()
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            changed.append(name)
    return changed
