"""The files of the repository that the ratchets read, parsed once each."""

from __future__ import annotations

import ast
import gc
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]

PYTHON_FOLDERS: Final = (
    "src/saldo",
    "harness",
    "torture",
    "benchmarks",
    "website",
    "release",
    "tests",
)

GENERATED: Final = ("src/saldo/client/synchronous/",)
"""Copies made by a tool; the original is checked in their place."""


@dataclass(frozen=True)
class Place:
    """A fault: where it is, and the text that is at fault."""

    package: str
    path: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.text}"


@dataclass(frozen=True)
class Module:
    """One Python file."""

    package: str
    path: str
    tree: ast.Module


def package_of(path: str) -> str:
    """Return the package whose number counts the faults of a file.

    Each package of `src/saldo` has a number of its own, and so has each folder of `docs`. The other folders at the top
    of the repository have one each.
    """
    parts = path.split("/")
    if path.startswith("src/saldo/"):
        return "saldo" if len(parts) == 3 else f"saldo.{parts[2]}"
    if parts[0] == "docs" and len(parts) > 2:
        return f"docs.{parts[1]}"
    return parts[0] if len(parts) > 1 else "top"


@cache
def paths() -> tuple[str, ...]:
    """Return the paths of all files in the folders of Python code."""
    return tuple(
        file.relative_to(ROOT).as_posix()
        for folder in PYTHON_FOLDERS
        for file in sorted((ROOT / folder).rglob("*"))
        if "__pycache__" not in file.parts
    )


@cache
def modules() -> tuple[Module, ...]:
    """Return every Python file of the repository that is written by hand, parsed."""
    gc.disable()  # Collections in between take as long as the parsing.
    try:
        return tuple(_parse_all())
    finally:
        gc.enable()


def _parse_all() -> Iterator[Module]:
    for path in paths():
        if path.endswith(".py") and not path.startswith(GENERATED):
            yield parse(path, (ROOT / path).read_text(encoding="utf-8"))


def parse(path: str, text: str) -> Module:
    """Parse one file, or a test's example of one."""
    return Module(package_of(path), path, ast.parse(text, path))


def statements(tree: ast.AST) -> Iterator[ast.stmt]:
    """Yield every statement of a file; expressions, which are most of its nodes, are not visited."""
    for node in _blocks(tree):
        for statement in node:
            yield statement
            yield from statements(statement)


def _blocks(node: ast.AST) -> Iterator[list[ast.stmt]]:
    for name in ("body", "orelse", "finalbody"):
        block = getattr(node, name, None)
        if isinstance(block, list):
            yield block
    for handler in getattr(node, "handlers", ()):
        yield handler.body
    for case in getattr(node, "cases", ()):
        yield case.body
