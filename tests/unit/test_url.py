"""What is read of connection strings."""

from __future__ import annotations

import pytest

from saldo.store.url import hosts_of, is_readable, shown


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://saldo:secret@db.example:6000/saldo", [("db.example", 6000)]),
        (
            "postgresql://saldo@a.example:6000,b.example/saldo",
            [("a.example", 6000), ("b.example", 5432)],
        ),
        ("postgresql://saldo@a,b/saldo?port=6000", [("a", 6000), ("b", 6000)]),
        (
            "postgresql://saldo@/saldo?host=%2Fone%20place,%2Ftwo",
            [("/one place", 5432), ("/two", 5432)],
        ),
        ("postgresql://saldo@[::1],b/saldo", [("::1", 5432), ("b", 5432)]),
        ("postgresql:///saldo", []),
        ("postgresql://saldo@a/saldo?nonsense=1", []),
        ("postgresql://saldo@a:x/saldo", []),
        ("postgresql://saldo@a:70000/saldo", []),
    ],
)
def test_hosts_in_their_order(url: str, expected: list[tuple[str, int]]) -> None:
    assert hosts_of(url) == expected


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://saldo:secret@a:6000,b/saldo?sslmode=require", True),
        ("postgresql://saldo@a,b,c/saldo?port=1,2", False),
        ("postgresql://saldo@a,b,c/saldo?port=1", True),
        ("postgresql:///saldo", True),
        ("postgresql://saldo@localhost:99999/saldo", False),
        ("postgresql://saldo@[::1/saldo", False),
        ("secret", False),
    ],
)
def test_whether_it_can_be_read(url: str, expected: bool) -> None:
    assert is_readable(url) is expected


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://saldo:secret@db.example:6000/saldo", "db.example:6000/saldo"),
        ("postgresql://saldo@a:6000,b/saldo", "a:6000,b/saldo"),
        ("postgresql://saldo@/saldo", "local socket/saldo"),
        ("postgresql://saldo@/saldo?host=%2Fone&password=secret", "/one/saldo"),
        ("host=a dbname=saldo password=secret", "a/saldo"),
    ],
)
def test_where_a_database_is(url: str, expected: str) -> None:
    assert shown(url) == expected


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://saldo:sec/ret@a/saldo",
        "postgresql://saldo:1/secret@a/saldo",
        "postgresql://saldo:12/?dbname=secret@a/saldo",
        "postgresql://[::1/secret",
        "dbname= password=secret",
        "postgresql://saldo:x@a[secret]x,\0@db.example/saldo",
        "secret",
    ],
)
def test_what_may_be_a_part_of_a_password_is_not_shown(url: str) -> None:
    assert shown(url) == "of a connection string that can't be read"
