"""Checks that find folders with too many files, and modules that belong to no package."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from tests.style.source import Place, package_of

FILES_MAX: Final = 18
SUFFIXES: Final = (".py", ".sql", ".html")


def large_folders(paths: Iterable[str], allowed: Mapping[str, str]) -> Iterator[Place]:
    """Yield the folders that have more than `FILES_MAX` source files.

    Args:
        paths: Paths of files in the repository.
        allowed: Folders that may be larger, with the reason.
    """
    folders = Counter(path.rpartition("/")[0] for path in paths if path.endswith(SUFFIXES))
    for folder, files in sorted(folders.items()):
        if files > FILES_MAX and folder not in allowed:
            yield Place(package_of(f"{folder}/x"), folder, 0, f"{files} source files")


def loose_modules(paths: Iterable[str], allowed: Mapping[str, str]) -> Iterator[Place]:
    """Yield the modules at the top level of `saldo`, outside of any package.

    Args:
        paths: Paths of files in the repository.
        allowed: Modules that may be there, by name, with the reason.
    """
    for path in sorted(paths):
        folder, _, name = path.rpartition("/")
        if folder == "src/saldo" and name.endswith(".py") and name not in allowed:
            yield Place("saldo", path, 1, name)
