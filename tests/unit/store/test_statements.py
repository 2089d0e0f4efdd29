"""The files of SQL statements: each is used, and each name that the code uses has a file."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest

from saldo.store.statements import load_statement

STORE = Path(str(files("saldo.store")))
SQL = STORE / "sql"
_NAME = re.compile(r"[a-z_]+/[a-z_]+")


def test_every_statement_is_used_and_every_used_statement_exists() -> None:
    existing = {name for name in _names(SQL) if not name.endswith(".citus")}
    folders = {folder.name for folder in SQL.iterdir()}
    used = {
        text
        for text in _strings_of_store()
        if _NAME.fullmatch(text) and text.partition("/")[0] in folders
    }
    assert len(existing) > 100
    assert used == existing


def test_every_file_of_migrations_and_of_the_distribution_is_used() -> None:
    used = {*_strings_of_store()}
    for folder in (STORE / "schema" / "migrations" / "sql", STORE / "citus" / "sql"):
        names = {*_names(folder)}
        assert names
        assert names <= used


def test_every_variant_for_citus_belongs_to_a_statement() -> None:
    names = {*_names(SQL)}
    variants = {name for name in names if name.endswith(".citus")}
    assert variants
    assert {name.removesuffix(".citus") for name in variants} <= names


def test_distributed_ledger_gets_the_variant() -> None:
    variant = (SQL / "users" / "create.citus.sql").read_text("utf-8").strip()
    assert load_statement("users/create", distributed=True) == variant
    assert load_statement("users/create") != variant


def test_statement_without_a_file_raises_an_error() -> None:
    with pytest.raises(FileNotFoundError):
        load_statement("users/unknown")


def _names(folder: Path) -> Iterator[str]:
    """Yield the paths of a folder's SQL files, relative to it and without the suffix."""
    for file in folder.rglob("*.sql"):
        yield file.relative_to(folder).with_suffix("").as_posix()


def _strings_of_store() -> Iterator[str]:
    """Yield all strings in the modules of `saldo.store`."""
    for module in STORE.rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value
