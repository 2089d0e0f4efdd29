"""Assembly of the site's pages: the repository's pages with rewritten links.

In the repository, a page links to other pages and to source files. A link to a page is rewritten to the page's place on
the site. The site does not contain source files, so a link to one is replaced by the file's path.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]

MOVED_PAGES: Final = {
    "ARCHITECTURE.md": "explanation/architecture.md",
    "CHANGELOG.md": "project/changelog.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "SECURITY.md": "project/security.md",
    "README.md": "index.md",
    "docs": "index.md",
    "docs/recipes": "recipes/index.md",
    "docs/recipes/README.md": "recipes/index.md",
    "docs/decisions": "decisions/index.md",
    "docs/decisions/README.md": "decisions/index.md",
    "docs/benchmarks": "reference/benchmarks.md",
    "docs/benchmarks/README.md": "reference/benchmarks.md",
    "docs/reference/events": "reference/events.md",
}
"""The pages and folders whose place on the site differs from that in docs.

Links to the project's README lead to the site's own first page.
"""

COPIED_SUFFIXES: Final = {".csv", ".json", ".md", ".png", ".svg"}

_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(([^()\s]+)\)")
_FENCE = re.compile(r"^ *(```|~~~)")


class PagesError(Exception):
    """The error for a page that cannot be assembled. The message names the page."""


def assemble(directory: Path) -> None:
    """Write all pages, and the images and data files, into a new directory.

    Raises:
        PagesError: The target of a link does not exist.
    """
    copied = dict(_files_to_copy())
    places = {source: place for source, (place, _) in copied.items()} | MOVED_PAGES
    for source, (place, path) in copied.items():
        target = directory / place
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".md":
            text = path.read_text(encoding="utf-8")
            target.write_text(rewrite_links(text, source, place, places), encoding="utf-8")
        else:
            shutil.copy(path, target)


def _files_to_copy() -> Iterator[tuple[str, tuple[str, Path]]]:
    """Yield for each file to copy its path in the repository, its path on the site, and the file to read."""
    for source, place in MOVED_PAGES.items():
        if source.endswith(".md") and source != "README.md":
            yield source, (place, ROOT / source)
    docs = ROOT / "docs"
    for path in sorted(docs.rglob("*")):
        source = path.relative_to(ROOT).as_posix()
        if source not in MOVED_PAGES and path.suffix in COPIED_SUFFIXES:
            yield source, (path.relative_to(docs).as_posix(), path)


def rewrite_links(text: str, source: str, place: str, places: dict[str, str]) -> str:
    """Rewrite the links of a page for the site.

    Args:
        text: The page in Markdown.
        source: The page's path in the repository.
        place: The page's path on the site.
        places: The paths on the site of all files that it contains, by their paths in the repository.

    Returns:
        The rewritten text.

    Raises:
        PagesError: The target of a link does not exist.
    """

    def replace_link(match: re.Match[str]) -> str:
        image, label, link = match.groups()
        path, hash_, anchor = link.partition("#")
        if "://" in link or link.startswith("mailto:") or not path:
            return match[0]
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
        lines.append(line if fenced else _LINK.sub(replace_link, line))
    return "\n".join(lines) + "\n"
