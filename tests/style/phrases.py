"""Checks that find banned phrases in the documentation and in the strings that users read."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.style.source import ROOT, Module, Place, package_of, statements

BANNED: Final = {
    "whoever": r"\bwho(m?ever)\b",
    "mend": r"\bmend(s|ed|ing)?\b",
    "anew": r"\banew\b",
    "by what": r"\bby what\b",
    "a condition without a verb": r"(?<![\w\"'(])(?<!is\s)(not (given|set)|unset|empty|without it|0|none): (?=[a-z])",
    "let in": r"\blet(s|ting)? (\w+ )?in\b(?! (the|a|an|this|that|each|every|one|any|order)\b)",
    "is about": r"\b(is|are|was|were) about (?!(to|half|an?|one|two|three|ten|twice|as|the same)\b|[0-9])",
    "hold against": r"\b(hold|holds|held|holding) (\w+ )?against\b",
    "come by": r"\bcom(e|es|ing) by\b(?! (the|a|an|way)\b)|\bcame by\b",
    "tell": r"\b(tell|tells|told|telling)\b(?! \w*\s?apart)(?! the difference)",
    "speak": r"\b(speak|speaks|spoke|spoken|speaking)\b",
    "forget": r"\b(forget|forgets|forgot|forgotten|forgetting)\b",
    "at its end": r"\bat its end\b",
    "preposition and who": r"\b(for|of|to|by|from|with) who\b",
    "who as a subject": r"(?:^|[.:;] )who (?=[^?.]*[.;])",
    "what as a subject": r"(?:^|[.:;] )what (?=[^?.:]*[.;])",
    "those that there are": r"\bthose that there\b",
}
"""Banned phrases by name, with the pattern that finds them. Patterns ignore case; a space is any white space."""

_BANNED: Final = {
    name: re.compile(pattern.replace(" ", r"\s+"), re.IGNORECASE)
    for name, pattern in BANNED.items()
}

PAGES: Final = ("*.md", "docs/**/*.md", ".env.sample", "deploy/**/*.yml", "deploy/**/*.yaml")
NOT_READ: Final = {
    "CHANGELOG.md": "a record of what was written at the time",
    "README.ru.md": "in Russian",
}

_KEYWORDS: Final = frozenset(
    "description detail documentation epilog help message reason summary title".split()
)
_ECHOES: Final = frozenset("echo print secho".split())
_LOG_METHODS: Final = frozenset("critical debug error exception info log warning".split())
_METRICS: Final = frozenset(
    "Counter CounterMetricFamily Gauge GaugeMetricFamily Histogram HistogramMetricFamily Info "
    "InfoMetricFamily Summary".split()
)
_PUBLIC_DECORATORS: Final = frozenset("callback command delete get patch post put".split())
_WHOLE_MODULES: Final = ("src/saldo/http/problems.py", "src/saldo/console/i18n/english.py")
_SKIPPED: Final = re.compile(r"```.*?```|~~~.*?~~~|`[^`\n]*`|\]\([^()\s]*\)|<!--.*?-->", re.DOTALL)


def in_text(text: str) -> Iterator[tuple[int, str]]:
    """Yield the offset and the name of each banned phrase in a text, in order."""
    yield from sorted(
        (found.start(), name)
        for name, pattern in _BANNED.items()
        for found in pattern.finditer(text)
    )


def in_page(path: str, text: str) -> Iterator[Place]:
    """Yield the banned phrases of a page in Markdown, or of the comments of a configuration file.

    Code and the targets of links are not read.
    """
    plain = _SKIPPED.sub(lambda found: re.sub(r"[^\n]", "`", found[0]), text)
    if not path.endswith(".md"):
        plain = re.sub(r"(?m)^( *)#", r"\1 ", plain)
    plain = re.sub(r"(?m)^( *)([-*>|] |[0-9]+\. |#+ )", lambda found: "\n" + found[0][1:], plain)
    plain = re.sub(r"(?<!\n)\n(?![\n`])", " ", plain)
    for offset, name in in_text(plain):
        line = text.count("\n", 0, offset) + 1
        yield Place(package_of(path), path, line, f"{name}: {_around(plain, offset)}")


def in_module(module: Module) -> Iterator[Place]:
    """Yield the banned phrases in the strings of a file that users read."""
    for line, text in visible_strings(module):
        for offset, name in in_text(text):
            yield Place(module.package, module.path, line, f"{name}: {_around(text, offset)}")


def pages() -> Iterator[tuple[str, str]]:
    """Yield the path and the text of each page of the documentation."""
    for pattern in PAGES:
        for file in sorted(ROOT.glob(pattern)):
            path = file.relative_to(ROOT).as_posix()
            if path not in NOT_READ:
                yield path, Path(file).read_text(encoding="utf-8")


def visible_strings(module: Module) -> Iterator[tuple[int, str]]:
    """Yield the line and the text of each string of a file that users read.

    These are descriptions of settings, of parameters and of fields, help of commands, HELP of metrics, docstrings of
    commands and of routes, and messages that are logged, printed or raised.
    """
    if module.path.startswith(_WHOLE_MODULES):
        for statement in statements(module.tree):
            if not isinstance(statement, ast.Expr | ast.ClassDef | ast.FunctionDef):
                yield from _strings(statement)
        return
    for node in statements(module.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and _is_public(node):
            yield node.lineno, ast.get_docstring(node) or ""
    for each in ast.walk(module.tree):
        if isinstance(each, ast.Raise) and isinstance(each.exc, ast.Call):
            for argument in each.exc.args:
                yield from _strings(argument)
        elif isinstance(each, ast.Call):
            yield from _of_call(each)


def _of_call(call: ast.Call) -> Iterator[tuple[int, str]]:
    name = _last_name(call.func)
    if name in _METRICS:
        for argument in call.args[1:2]:
            yield from _strings(argument)
    elif name in _ECHOES or (name in _LOG_METHODS and isinstance(call.func, ast.Attribute)):
        for argument in call.args:
            yield from _strings(argument)
    for keyword in call.keywords:
        if keyword.arg in _KEYWORDS:
            yield from _strings(keyword.value)


def _strings(node: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield the constant strings inside a node; the values in an f-string become `…`."""
    if isinstance(node, ast.JoinedStr):
        parts = (part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
        yield node.lineno, "".join(map(str, parts))
    elif isinstance(node, ast.Constant):
        if isinstance(node.value, str):
            yield node.lineno, node.value
    else:
        for child in ast.iter_child_nodes(node):
            yield from _strings(child)


def _last_name(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _is_public(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Return whether a function's docstring is the text of a command's help or of a route's description."""
    for decorator in function.decorator_list:
        if isinstance(decorator, ast.Call):
            name = _last_name(decorator.func)
            if name in _PUBLIC_DECORATORS:
                return True
    return False


def _around(text: str, offset: int) -> str:
    return " ".join(text[max(0, offset - 30) : offset + 60].split())
