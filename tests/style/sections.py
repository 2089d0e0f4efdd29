"""Checks that the sections of docstrings name parameters, attributes and exceptions that exist."""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

_SECTION: Final = r"^{}:\n((?:[ ]{{4}}.*\n?|[ ]*\n)*)"
_ENTRY: Final = re.compile(r"^[ ]{4}([*\w][\w, *.]*?):", re.MULTILINE)
_BUILTINS: Final = frozenset(name for name in dir(builtins) if name[0].isupper())


def find_unknown_parameters(tree: ast.Module) -> Iterator[str]:
    """Yield the names in sections `Args` that are no parameter of their function, with the function's name."""
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            arguments = function.args
            optional = [each for each in (arguments.vararg, arguments.kwarg) if each is not None]
            ordered = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, *optional]
            known = {argument.arg for argument in ordered}
            for name in _entries(function, "Args"):
                if name not in known:
                    yield f"{function.name}: {name}"


def find_unknown_attributes(tree: ast.Module, members: Mapping[str, set[str]]) -> Iterator[str]:
    """Yield the names in sections `Attributes` that are no member of their class, with the class's name.

    Members of bases outside of the repository are not known. No section describes them.

    Args:
        members: The members of each class by the class's name; see `tests.style.mentions.members_of`.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            for name in _entries(node, "Attributes"):
                if name not in members[node.name]:
                    yield f"{node.name}: {name}"


def find_unknown_exceptions(tree: ast.Module, classes: Iterable[str]) -> Iterator[str]:
    """Yield the names in sections `Raises` that are no class, with the function's name.

    Args:
        classes: Names of the classes that exist. Those of Python and the module's imports are known, too.
    """
    imported = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    known = _BUILTINS | imported | {*classes}
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for name in _entries(function, "Raises"):
                if known.isdisjoint({name, name.rpartition(".")[2], name.partition(".")[0]}):
                    yield f"{function.name}: {name}"


def _entries(
    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef, section: str
) -> list[str]:
    """Return the names that a section of a docstring describes."""
    found = re.search(_SECTION.format(section), ast.get_docstring(node) or "", re.MULTILINE)
    if found is None:
        return []
    names = [name.strip(" *") for entry in _ENTRY.findall(found[1]) for name in entry.split(",")]
    return [name for name in names if name]
