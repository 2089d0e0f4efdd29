"""The files that are generated from the code: pages in docs, and `.env.sample`.

They are committed, so that they can be read in the repository. A test fails if one of them is out of date.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from website import api, commands, decisions, events, settings

PAGES: Final[dict[str, Callable[[], str]]] = {
    "../.env.sample": settings.sample,
    "decisions/README.md": decisions.page,
    "reference/api.md": api.page,
    "reference/commands.md": commands.page,
    "reference/events.md": events.page,
    "reference/settings.md": settings.page,
}
"""The function that returns the text of each file, by the path of the file relative to docs."""


def write(docs: Path) -> list[str]:
    """Write all generated files.

    Returns:
        The names of the files that have changed.
    """
    changed = []
    for name, make in PAGES.items():
        path, text = docs / name, make()
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            changed.append(name)
    return changed
