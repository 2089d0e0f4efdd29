"""The check of names: it finds repeated class names, and functions that are named by a bare participle."""

from __future__ import annotations

import pytest

from tests.style.names import is_participle, participle_functions, repeated_classes
from tests.style.source import parse

MODULES = [
    parse("src/saldo/http/page.py", "class Page: ...\nclass Chunk: ..."),
    parse("src/saldo/console/page.py", "if True:\n    class Page: ..."),
    parse("tests/page.py", "class Page: ...\nclass Chunk: ..."),
]


def test_both_places_of_a_repeated_class_are_found() -> None:
    assert [str(place) for place in repeated_classes(MODULES, {})] == [
        "src/saldo/http/page.py:1: class Page",
        "src/saldo/console/page.py:2: class Page",
    ]


def test_a_name_that_repeats_on_purpose_is_accepted() -> None:
    assert not [*repeated_classes(MODULES, {"Page": "console, http"})]


def test_a_class_in_a_package_that_is_not_listed_is_found() -> None:
    assert len([*repeated_classes(MODULES, {"Page": "client, http"})]) == 2


@pytest.mark.parametrize("name", ["written", "_told", "refused", "running", "_ended", "shown"])
def test_a_bare_participle_is_found(name: str) -> None:
    assert is_participle(name)


@pytest.mark.parametrize(
    "name",
    [
        "write",
        "is_written",
        "written_bytes",
        "read",
        "feed",
        "embed",
        "ping",
        "heading",
        "open",
        "event",
        "hold",
        "token",
    ],
)
def test_a_verb_or_a_noun_is_accepted(name: str) -> None:
    assert not is_participle(name)


def test_functions_methods_and_nested_functions_are_read() -> None:
    module = parse(
        "src/saldo/http/page.py",
        "def written():\n    async def told(): ...\nclass Page:\n    def _shown(self): ...\n    def write(self): ...",
    )

    assert [str(place) for place in participle_functions(module)] == [
        "src/saldo/http/page.py:1: def written",
        "src/saldo/http/page.py:2: def told",
        "src/saldo/http/page.py:4: def _shown",
    ]
