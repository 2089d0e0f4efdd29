"""What is read of connection strings."""

from __future__ import annotations

import pytest

from saldo.store.url import hosts_of


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
    ],
)
def test_hosts_in_their_order(url: str, expected: list[tuple[str, int]]) -> None:
    assert hosts_of(url) == expected
