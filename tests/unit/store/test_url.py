"""Parsing of connection strings."""

from __future__ import annotations

import pytest

from saldo.store.connections.url import find_unverified_hosts, format_url, list_hosts
from saldo.store.schema.roles import warn_about_unverified_tls


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
def test_hosts_are_returned_in_order(url: str, expected: list[tuple[str, int]]) -> None:
    assert list_hosts(url) == expected


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
def test_location_of_a_database(url: str, expected: str) -> None:
    assert format_url(url) == expected


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
def test_possible_parts_of_a_password_are_not_shown(url: str) -> None:
    assert format_url(url) == "of a connection string that can't be read"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://saldo@db.example/saldo", ["db.example"]),
        ("postgresql://saldo@10.0.0.5/saldo?sslmode=require", ["10.0.0.5"]),
        ("postgresql://saldo@db.example/saldo?sslmode=verify-ca", ["db.example"]),
        ("postgresql://saldo@a,127.0.0.1,b/saldo", ["a", "b"]),
        ("postgresql://saldo@localhost/saldo?hostaddr=10.0.0.5", ["10.0.0.5"]),
        ("postgresql://saldo@[fd00::1]/saldo", ["fd00::1"]),
        ("host=db.example dbname=saldo", ["db.example"]),
        ("postgresql://saldo@db.example/saldo?sslmode=verify-full", []),
        ("postgresql://saldo@localhost/saldo", []),
        ("postgresql://saldo@127.0.0.9/saldo", []),
        ("postgresql://saldo@[::1]/saldo", []),
        ("postgresql:///saldo", []),
        ("postgresql://saldo@/saldo?host=/var/run/postgresql", []),
        ("postgresql://saldo@db.example/saldo?nonsense=1", []),
    ],
)
def test_unverified_hosts_are_those_reached_over_a_network(
    url: str, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PGHOST", "PGSSLMODE"):
        monkeypatch.delenv(name, raising=False)
    assert find_unverified_hosts(url) == expected


def test_environment_of_the_drivers_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOST", "db.example")
    assert find_unverified_hosts("postgresql:///saldo") == ["db.example"]
    monkeypatch.setenv("PGSSLMODE", "verify-full")
    assert find_unverified_hosts("postgresql:///saldo") == []


def test_warning_names_the_setting_and_no_password(caplog: pytest.LogCaptureFixture) -> None:
    warn_about_unverified_tls(
        {
            "SALDO_DATABASE_URL": "postgresql://saldo:secret@db.example/saldo",
            "SALDO_DATABASE_OWNER_URL": "postgresql://saldo:secret@127.0.0.1/saldo",
            "SALDO_DATABASE_REPLICA_URL": None,
        }
    )
    (line,) = caplog.messages
    assert "SALDO_DATABASE_URL" in line
    assert "db.example" in line
    assert "secret" not in line
