"""The check of the layout: it finds folders that are too large, and modules outside of any package."""

from __future__ import annotations

from tests.style.layout import FILES_MAX, large_folders, loose_modules

FULL = [f"src/saldo/http/m{number}.py" for number in range(FILES_MAX)]


def test_a_full_folder_is_accepted() -> None:
    assert not [*large_folders([*FULL, "src/saldo/http/logo.svg", "src/saldo/http/api/m.py"], {})]


def test_a_folder_with_one_file_more_is_found() -> None:
    found = [*large_folders([*FULL, "src/saldo/http/a.sql"], {})]

    assert [(place.package, str(place)) for place in found] == [
        ("saldo.http", "src/saldo/http:0: 19 source files")
    ]


def test_a_folder_that_may_be_large_is_accepted() -> None:
    assert not [*large_folders([*FULL, "src/saldo/http/a.sql"], {"src/saldo/http": "a reason"})]


def test_a_module_at_the_top_is_found() -> None:
    paths = [
        "src/saldo/relaying.py",
        "src/saldo/__main__.py",
        "src/saldo/http/app.py",
        "harness/prerequisites.py",
    ]

    assert [place.path for place in loose_modules(paths, {"__main__.py": "a reason"})] == [
        "src/saldo/relaying.py"
    ]
