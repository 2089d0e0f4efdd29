"""Checks that find uninformative names: classes that share one name, functions named by a bare participle."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from tests.style.source import Module, Place, statements

_IRREGULAR: Final = frozenset(
    "begun bought broken brought built caught chosen come cut done drawn driven fallen forbidden forgotten "
    "found frozen given gone grown heard held hidden hurt kept known laid led left lent lost made meant met "
    "mistaken paid proven put risen said seen sent set shed shown shut sold spent split spoken stood stuck "
    "swept taken taught thought thrown told torn understood woken won worn wound written".split()
)
_BASE_FORMS: Final = frozenset(
    "cut feed embed exceed need proceed put seed set shed shut speed split succeed".split()
)
"""Words that look like participles, but are verbs or nouns, too."""

_NOUNS: Final = frozenset(
    "binding ceiling encoding everything heading mapping meaning nothing opening ping ring routing setting "
    "something spring string thing timing warning".split()
)
_VERBS: Final = frozenset("bring ping ring sing spring string".split())


def repeated_classes(modules: Iterable[Module], allowed: Mapping[str, str]) -> Iterator[Place]:
    """Yield the classes of `saldo` whose name another class of `saldo` has, too.

    Args:
        modules: The files.
        allowed: For each name that repeats on purpose, the packages that have a class of this name, one each.
    """
    places = defaultdict(list)
    for module in modules:
        if module.path.startswith("src/saldo/"):
            for node in statements(module.tree):
                if isinstance(node, ast.ClassDef):
                    places[node.name].append(
                        Place(module.package, module.path, node.lineno, f"class {node.name}")
                    )
    for name, found in sorted(places.items()):
        packages = ", ".join(sorted(place.package.removeprefix("saldo.") for place in found))
        if len(found) > 1 and allowed.get(name) != packages:
            yield from found


def participle_functions(module: Module) -> Iterator[Place]:
    """Yield the functions of a file that are named by a bare participle."""
    for node in statements(module.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and is_participle(node.name):
            yield Place(module.package, module.path, node.lineno, f"def {node.name}")


def is_participle(name: str) -> bool:
    """Return whether a name is one participle, present or past, and nothing else."""
    word = name.strip("_")
    if not word.isalpha() or word in _BASE_FORMS | _NOUNS | _VERBS:
        return False
    return word in _IRREGULAR or (len(word) > 4 and word.endswith(("ed", "ing")))
