"""Mentions of names that do not exist.

In docstrings, comments and documentation, a mention of a class with a member must name both correctly. In docstrings
and comments, the same applies to functions, parameters and fields that have an underscore in their name.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterable, Mapping
from typing import Final

_MENTION: Final = re.compile(r"`([A-Z][A-Za-z]*[a-z][A-Za-z]*)\.([a-z_]\w*)(?:\(\))?`")

_NAME: Final = re.compile(r"`(_*[a-z]+_\w*)(?:\(\))?`")

FOREIGN_NAMES: Final = frozenset(
    "connect_robust histogram_quantile pg_verifybackup tcpi_last_data_recv".split()
)
"""Names of other programs that only a docstring or a comment mentions."""

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


def list_words(tree: ast.Module) -> set[str]:
    """Return the identifiers of a file, and the words in its strings without the docstrings."""
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    words = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if id(node) not in docstrings:
                words |= {*re.findall(r"\w+", node.value)}
        else:
            texts = (
                getattr(node, field, None) for field in ("id", "attr", "name", "arg", "module")
            )
            words |= {word for text in texts if isinstance(text, str) for word in text.split(".")}
    return words


def find_unknown_names(text: str, words: set[str]) -> list[str]:
    """Return the mentions in the docstrings and comments of a Python file that name nothing.

    Args:
        words: The words of all files; see `list_words`.
    """
    prose = [
        node.value.value
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    ]
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    prose += [token.string for token in tokens if token.type == tokenize.COMMENT]
    return [
        match[0]
        for each in prose
        for match in _NAME.finditer(each)
        if match[1] not in words | FOREIGN_NAMES
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
