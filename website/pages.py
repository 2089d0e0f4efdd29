"""Puts the site's pages together: those of the repository, with their links led on.

In the repository a page's links lead to other pages and to the source. On the site the former are led to where the page
is there; the latter, which the site doesn't have, become the name of the file.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]

AT_THE_TOP: Final = {
    "ARCHITECTURE.md": "explanation/architecture.md",
    "CHANGELOG.md": "project/changelog.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "SECURITY.md": "project/security.md",
    "README.md": "index.md",
    "docs": "index.md",
    "docs/decisions": "decisions/index.md",
    "docs/decisions/README.md": "decisions/index.md",
    "docs/benchmarks": "reference/benchmarks.md",
    "docs/benchmarks/README.md": "reference/benchmarks.md",
    "docs/reference/events": "reference/events.md",
}
"""What has another place on the site than in docs; the README is known by the site's own first page."""

COPIED: Final = {".csv", ".json", ".md", ".png", ".svg"}

_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(([^()\s]+)\)")
_FENCE = re.compile(r"^ *(```|~~~)")


class PagesError(Exception):
    """A page can't be put together. The message names it."""


def assemble(directory: Path) -> None:
    """Writes all pages, and what they show, into a new directory.

    Raises:
        PagesError: a link leads to a file that isn't there.
    """
    copied = dict(_copied())
    places = {source: place for source, (place, _) in copied.items()} | AT_THE_TOP
    for source, (place, path) in copied.items():
        target = directory / place
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".md":
            text = path.read_text(encoding="utf-8")
            target.write_text(led_on(text, source, place, places), encoding="utf-8")
        else:
            shutil.copy(path, target)


def _copied() -> Iterator[tuple[str, tuple[str, Path]]]:
    """Each file that is copied: its path in the repository, its place on the site, and where it is read."""
    for source, place in AT_THE_TOP.items():
        if source.endswith(".md") and source != "README.md":
            yield source, (place, ROOT / source)
    docs = ROOT / "docs"
    for path in sorted(docs.rglob("*")):
        source = path.relative_to(ROOT).as_posix()
        if source not in AT_THE_TOP and path.suffix in COPIED:
            yield source, (path.relative_to(docs).as_posix(), path)


def led_on(text: str, source: str, place: str, places: dict[str, str]) -> str:
    """A page's text with its links as the site needs them.

    Args:
        text: in Markdown.
        source: the page's path in the repository.
        place: its path on the site.
        places: the paths on the site of what is there, by path in the repository.

    Raises:
        PagesError: a link leads to a file that isn't there.
    """

    def replaced(found: re.Match[str]) -> str:
        image, label, link = found.groups()
        path, hash_, anchor = link.partition("#")
        if "://" in link or link.startswith("mailto:") or not path:
            return found[0]
        target = os.path.normpath(Path(source).parent / path)
        if not (ROOT / target).exists():
            raise PagesError(f"{source}: a link leads to {path}, which is not there")
        there = places.get(target)
        if there is not None:
            return f"{image}[{label}]({os.path.relpath(there, Path(place).parent)}{hash_}{anchor})"
        bare = label.strip("`")
        if target.endswith(bare):
            return f"`{target}`"
        return f"{label} (`{target}`)"

    lines, fenced = [], False
    for line in text.splitlines():
        if _FENCE.match(line):
            fenced = not fenced
        lines.append(line if fenced else _LINK.sub(replaced, line))
    return "\n".join(lines) + "\n"
