"""Docstrings, comments and documentation name classes, members and functions that exist."""

from __future__ import annotations

import ast
import re

import pytest

from tests.style.mentions import find_unknown, find_unknown_names, list_words, members_of
from tests.style.source import PYTHON_FOLDERS, ROOT

CODE = """
class Base:
    def start(self): ...
class Queue(Base):
    limit: int
    def __init__(self):
        self.rest = 1
class Foreign(asyncio.Protocol): ...
"""


PROSE = """
def read_page(after_id, statement="SELECT known_at"):
    '''Read a page after `after_id`, with `known_at`. See `write_page()`.'''
    # The work is done by `read_page` and not by `_read_old_page`.
    return "`any_text`"
"""


@pytest.mark.parametrize(
    ("text", "unknown"),
    [
        ("see `Queue.limit`, `Queue.rest`, `Queue.start()`", []),
        ("see `Foreign.data_received`", []),
        ("see `CHANGELOG.md` and `queue.put`", []),
        ("see `Queue.gone`", ["`Queue.gone`"]),
        ("see `Gate.before`", ["`Gate.before`"]),
    ],
)
def test_mention_of_a_missing_class_or_member_is_found(text: str, unknown: list[str]) -> None:
    assert find_unknown(text, members_of([ast.parse(CODE)])) == unknown


def test_all_mentions_exist() -> None:
    code = {
        path: path.read_text("utf-8") for f in PYTHON_FOLDERS for path in (ROOT / f).rglob("*.py")
    }
    members = members_of(map(ast.parse, code.values()))
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    texts = code | {path: path.read_text("utf-8") for path in pages if path.name != "CHANGELOG.md"}
    found = [
        f"{path.relative_to(ROOT)}: {mention}"
        for path, text in texts.items()
        if path != ROOT / "tests/style/test_mentions.py"
        for mention in find_unknown(text, members)
    ]
    assert not found


def test_mention_of_a_missing_function_or_field_is_found() -> None:
    words = list_words(ast.parse(PROSE))
    assert find_unknown_names(PROSE, words) == ["`write_page()`", "`_read_old_page`"]


def test_all_names_in_docstrings_and_comments_exist() -> None:
    code = {
        path: path.read_text("utf-8") for f in PYTHON_FOLDERS for path in (ROOT / f).rglob("*.py")
    }
    words = {word for text in code.values() for word in list_words(ast.parse(text))}
    for folder in ("src", "deploy", "benchmarks", "tests"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in {".html", ".js", ".sql", ".yaml", ".yml"}:
                words |= {*re.findall(r"\w+", path.read_text("utf-8"))}
    found = [
        f"{path.relative_to(ROOT)}: {mention}"
        for path, text in code.items()
        for mention in find_unknown_names(text, words)
    ]
    assert not found
