"""A check that finds docstrings that open with a fragment instead of a sentence or a noun phrase."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.style.source import Module, Place, statements

NEVER_FIRST: Final = frozenset(
    "and but else how nor not of or than that those what whatever which whichever who whoever whom whose "
    "whether why".split()
)
"""Words that no docstring begins with."""

NEEDS_A_MAIN_CLAUSE: Final = frozenset(
    "about above after again against among around as at because before behind below beside besides between "
    "beyond by down during for from if in inside into on once out outside over past per since so through till "
    "to toward towards under unless until up when where while with within without".split()
)
"""Words that begin a subordinate clause or an adverbial: a comma and the main clause must follow."""

_VERBS: Final = frozenset(Path(__file__).with_name("verbs.txt").read_text(encoding="utf-8").split())
_FINITE: Final = frozenset(
    "is are was were am has have had does do did can cannot could may might must shall should will would "
    "isn't aren't wasn't weren't hasn't haven't doesn't don't didn't can't couldn't mustn't shouldn't won't "
    "wouldn't needn't became began broke came chose fell gave got held kept knew left lost made ran said sent "
    "stood stayed took told went wrote".split()
)
_SUBORDINATORS: Final = frozenset(
    "that which who whose whom where what whether how when if because while unless until although though "
    "whatever whoever once since than as".split()
)
_NO_VERB_FOLLOWS: Final = frozenset(
    "a an the this these those that its his her their our your my each every all any some no one two three "
    "both other another more most many several few of in on at by for from to with without as and or than "
    "between beyond among per into over under after before new old first last next same such only own".split()
)
_PARTICIPLES: Final = frozenset(
    "asked begun bought brought built called closed counted cut done drawn driven found given gone held kept "
    "known left listed lost made meant moved named opened posted put read recorded refused run said seen sent "
    "shown sorted started stopped taken thought told tried used written".split()
)
_PREPOSITIONS: Final = frozenset(
    "as at by for from in into of on only over to under with without".split()
)
_SECTIONS: Final = ("Args:", "Returns:", "Raises:", "Yields:", "See also:")
_CODE: Final = re.compile(r"``[^`]+``|`[^`]+`")
_END: Final = re.compile(r"(?<=[.!?])\s|\n\s*\n")
_WORD: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9'’._/-]*|[,:;()]")


@dataclass(frozen=True)
class _Docstring:
    kind: str
    line: int
    text: str


def fragments(module: Module) -> Iterator[Place]:
    """Yield every docstring of a file that opens with a fragment."""
    for found in _docstrings(module.tree):
        if is_fragment(found.text, function=found.kind == "function"):
            yield Place(module.package, module.path, found.line, first_sentence(found.text)[:100])


def first_sentence(text: str) -> str:
    """Return a docstring's first sentence, on one line."""
    return " ".join(_END.split(text.strip(), maxsplit=1)[0].split())


def is_fragment(text: str, *, function: bool) -> bool:
    """Return whether the first sentence of a docstring is a fragment.

    The sentence of a function begins with a verb, or it is a complete sentence. That of a class, a module, a constant
    or a property may also be a noun phrase. The test is a heuristic over word lists: it does not parse English.
    """
    if text.strip().startswith(_SECTIONS):
        return False
    words = _WORD.findall(_CODE.sub("X", first_sentence(text)))
    plain = [word.lower().rstrip(".") for word in words]
    if not any(word[0].isalnum() for word in plain):
        return False
    first = plain[0]
    if first in NEVER_FIRST:
        return True
    if first in NEEDS_A_MAIN_CLAUSE:
        after = plain
        while after and after[0] in NEEDS_A_MAIN_CLAUSE:
            after = after[after.index(",") + 1 :] if "," in after else []
        return not (after and (_has_main_verb(after) or _is_verb(after[0])))
    if function:
        return not (_is_verb(first) or _has_main_verb(plain))
    return first in _PARTICIPLES and len(plain) > 1 and plain[1] in _PREPOSITIONS


def _is_verb(word: str) -> bool:
    return any(base in _VERBS for base in _bases(word))


def _bases(word: str) -> Iterator[str]:
    """Yield the words that a word may be the imperative or the third person of."""
    yield word
    if word.endswith("ies"):
        yield word[:-3] + "y"
    if word.endswith("es"):
        yield word[:-2]
    if word.endswith("s"):
        yield word[:-1]
    if word == "has":
        yield "have"


def _has_main_verb(words: list[str]) -> bool:
    """Return whether a sentence has more finite verbs than subordinate clauses, each of which takes one."""
    verbs = subordinators = 0
    before = ","
    for position, word in enumerate(words):
        following = words[position + 1] if position + 1 < len(words) else ""
        if word in _SUBORDINATORS and position > 0:
            subordinators += 1
        elif word in _FINITE or (
            word.endswith("s")
            and _is_verb(word)
            and before not in _NO_VERB_FOLLOWS
            and before[0].isalnum()
            and following != "of"
        ):
            verbs += 1
        before = word
    return verbs > subordinators


def _docstrings(tree: ast.Module) -> Iterator[_Docstring]:
    """Yield the docstrings of a file, those of constants and attributes too."""
    for node in (tree, *statements(tree)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            kind = "constant" if _is_named_as_a_thing(node) else "function"
            yield from _first_statement(node, kind)
        elif isinstance(node, ast.ClassDef | ast.Module):
            yield from _first_statement(node, "class")
            for assigned, after in zip(node.body, node.body[1:], strict=False):
                if isinstance(assigned, ast.Assign | ast.AnnAssign):
                    yield from _text(after, "constant")


def _first_statement(
    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module, kind: str
) -> Iterator[_Docstring]:
    if node.body:
        yield from _text(node.body[0], kind)


def _text(statement: ast.stmt, kind: str) -> Iterator[_Docstring]:
    if (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    ):
        yield _Docstring(kind, statement.lineno, statement.value.value)


def _is_named_as_a_thing(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Return whether a function is a property or a fixture: its users read it like an attribute."""
    return any(
        name.endswith(("property", "fixture", ".getter"))
        for name in (
            ast.unparse(each.func if isinstance(each, ast.Call) else each)
            for each in function.decorator_list
        )
    )
