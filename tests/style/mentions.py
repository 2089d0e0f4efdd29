"""Mentions of a class with a member in docstrings, comments and documentation whose class or member does not exist."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping
from typing import Final

_MENTION: Final = re.compile(r"`([A-Z][A-Za-z]*[a-z][A-Za-z]*)\.([a-z_]\w*)(?:\(\))?`")

_FILE_ENDINGS: Final = {"md", "py", "yml", "yaml", "json", "toml"}
"""Second parts of names of files, such as that of the changelog."""


def members_of(trees: Iterable[ast.Module]) -> dict[str, set[str]]:
    """Return the members of all classes by the class's name. Members of bases outside of the trees are not known.

    Classes of one name are joined. A class with a base that is not among the trees has the member `*`.
    """
    members: dict[str, set[str]] = {}
    bases: dict[str, set[str]] = {}
    for tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                members.setdefault(node.name, set()).update(_defined_in(node))
                names = {ast.unparse(base).partition("[")[0] for base in node.bases}
                bases.setdefault(node.name, set()).update(name.rpartition(".")[2] for name in names)
    for name in members:
        waiting = [*bases[name]]
        seen = {name}
        while waiting:
            base = waiting.pop()
            if base not in seen:
                seen.add(base)
                members[name] |= members.get(base, {"*"})
                waiting += bases.get(base, ())
    return members


def find_unknown(text: str, members: Mapping[str, set[str]]) -> list[str]:
    """Return the mentions in a text that name no class, or no member of their class."""
    return [
        match[0]
        for match in _MENTION.finditer(text)
        if match[2] not in _FILE_ENDINGS and not {match[2], "*"} & members.get(match[1], set())
    ]


def _defined_in(node: ast.ClassDef) -> set[str]:
    found = set()
    for each in ast.walk(node):
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(each.name)
        elif isinstance(each, ast.Attribute) and isinstance(each.ctx, ast.Store):
            found.add(each.attr)
        elif isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store):
            found.add(each.id)
    return found
