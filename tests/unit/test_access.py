"""Who may do what: the scope of each route, grants, rates."""

from __future__ import annotations

from hashlib import sha256
from ipaddress import ip_address, ip_network

import pytest

from saldo.access.gate import Gate
from saldo.access.grant import ANYONE, Grant, Scope
from saldo.access.rate import Bucket, Rate
from saldo.http.access import scope_of


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("POST", "/v1/transaction", Scope.WRITE),
        ("POST", "/v1/transactions", Scope.WRITE),
        ("POST", "/v1/user", Scope.WRITE),
        ("GET", "/v1/user/1/balance", Scope.READ),
        ("HEAD", "/v1/user/1", Scope.READ),
        ("GET", "/v1/transaction/x", Scope.READ),
        ("GET", "/v1/events", Scope.READ),
        ("DELETE", "/v1/user/1", Scope.WRITE),
        ("GET", "/v1/webhook", Scope.ADMIN),
        ("GET", "/v1/key/1", Scope.ADMIN),
        ("GET", "/metrics", Scope.METRICS),
        ("POST", "/metrics/", Scope.ADMIN),
        ("GET", "/healthz/live", None),
        ("GET", "/openapi.json", None),
        ("GET", "/docs/assets/swagger-ui.css", None),
        ("GET", "//v1/webhook", Scope.ADMIN),
        ("GET", "/docs/../v1/key", None),
        ("GET", "/healthz/live/../../v1/key", Scope.ADMIN),
        ("GET", "/nothing", Scope.ADMIN),
        ("GET", "", Scope.ADMIN),
    ],
)
def test_what_a_request_needs(method: str, path: str, scope: Scope | None) -> None:
    assert scope_of(method, path) is scope


def test_admin_stands_for_every_scope_and_no_other_does() -> None:
    assert all(ANYONE.allows(scope) for scope in Scope)
    for scope in set(Scope) - {Scope.ADMIN}:
        grant = Grant("a key", frozenset({scope}))
        assert [other for other in Scope if grant.allows(other)] == [scope]


@pytest.mark.parametrize(
    ("address", "inside"),
    [
        ("192.0.2.7", True),
        ("192.0.3.7", False),
        ("::ffff:192.0.2.7", True),
        ("2001:db8::1", True),
        ("2001:db9::1", False),
        (None, False),
    ],
)
def test_a_key_may_be_limited_to_networks(address: str | None, inside: bool) -> None:
    networks = (ip_network("192.0.2.0/24"), ip_network("2001:db8::/32"))
    grant = Grant("a key", frozenset(), networks=networks)
    assert grant.comes_from(None if address is None else ip_address(address)) is inside


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_bucket_holds_a_burst_and_fills_at_its_rate() -> None:
    clock = Clock()
    bucket = Bucket(Rate(8, 3), clock)
    assert [bucket.take() for _ in range(3)] == [0, 0, 0]
    assert bucket.take() == 0.125
    clock.now += 0.125
    assert bucket.take() == 0
    clock.now += 60
    assert [bucket.take() for _ in range(3)] == [0, 0, 0]
    assert bucket.take() > 0


def test_what_is_too_much_at_once_is_let_in_and_waited_for_afterwards() -> None:
    clock = Clock()
    bucket = Bucket(Rate(8, 3), clock)
    assert bucket.take(18) == 0
    assert bucket.take() == 2.0
    clock.now += 2
    assert bucket.take() == 0


def test_keys_are_looked_up_by_their_digest() -> None:
    """Of equal length whatever was sent: the time to find one tells nothing of another."""
    gate = Gate(insecure=False, proxies=())
    header = b"Bearer a-key"
    gate._known[sha256(header).digest()] = ANYONE
    assert gate.at_once({}, {b"authorization": header}) is ANYONE
    assert gate.at_once({}, {b"authorization": b"Bearer a-kez"}) is None
    assert gate.at_once({}, {}) is None
