"""Permissions: the scope of each route, grants, rate limits."""

from __future__ import annotations

import os
from hashlib import sha256
from ipaddress import ip_address, ip_network

import pytest

from saldo.auth.authenticator import Authenticator
from saldo.auth.grants import UNAUTHENTICATED_ADMIN, Grant, Scope
from saldo.auth.rate_limit import RateLimit, TokenBucket
from saldo.cli.exit_codes import CommandError, ExitCode
from saldo.cli.root_account import refuse_root, warn_about_root
from saldo.http.authorization import find_required_scope
from saldo.settings import model as settings_module
from saldo.settings.model import Settings


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
        ("GET", "/openapi-3.0.json", None),
        ("GET", "/docs/assets/swagger-ui.css", None),
        ("GET", "//v1/webhook", Scope.ADMIN),
        ("GET", "/docs/../v1/key", None),
        ("GET", "/healthz/live/../../v1/key", Scope.ADMIN),
        ("GET", "/nothing", Scope.ADMIN),
        ("GET", "", Scope.ADMIN),
    ],
)
def test_scopes_required_by_requests(method: str, path: str, scope: Scope | None) -> None:
    assert find_required_scope(method, path) is scope


def test_only_admin_includes_every_scope() -> None:
    assert all(UNAUTHENTICATED_ADMIN.allows(scope) for scope in Scope)
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
    assert grant.allows_address(None if address is None else ip_address(address)) is inside


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_rate_limit_allows_a_burst_and_refills_at_its_rate() -> None:
    clock = Clock()
    bucket = TokenBucket(RateLimit(8, 3), clock)
    assert [bucket.take_tokens() for _ in range(3)] == [0, 0, 0]
    assert bucket.take_tokens() == 0.125
    clock.now += 0.125
    assert bucket.take_tokens() == 0
    clock.now += 60
    assert [bucket.take_tokens() for _ in range(3)] == [0, 0, 0]
    assert bucket.take_tokens() > 0


def test_array_above_the_burst_is_admitted_and_delays_later_requests() -> None:
    clock = Clock()
    bucket = TokenBucket(RateLimit(8, 3), clock)
    assert bucket.take_tokens(18) == 0
    assert bucket.take_tokens() == 2.0
    clock.now += 2
    assert bucket.take_tokens() == 0


def test_keys_are_looked_up_by_their_digest() -> None:
    """Check that lookups use a digest of fixed length, so that the time of a lookup reveals no other key."""
    gate = Authenticator(insecure=False, proxies=())
    header = b"Bearer a-key"
    gate._cached_grants[sha256(header).digest()] = UNAUTHENTICATED_ADMIN
    assert gate.authenticate_cached({}, {b"authorization": header}) is UNAUTHENTICATED_ADMIN
    assert gate.authenticate_cached({}, {b"authorization": b"Bearer a-kez"}) is None
    assert gate.authenticate_cached({}, {}) is None


@pytest.mark.parametrize(("user_id", "lines"), [(0, 1), (999, 0)])
def test_service_that_runs_as_root_logs_a_warning(
    user_id: int, lines: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: user_id)
    warn_about_root()
    assert [line for line in caplog.messages if "as root" in line] == caplog.messages
    assert len(caplog.messages) == lines


@pytest.mark.parametrize(
    ("user_id", "as_root", "refused"), [(0, False, True), (0, True, False), (999, False, False)]
)
def test_a_start_as_root_is_refused_unless_it_is_allowed(
    user_id: int, as_root: bool, refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: user_id)
    settings = settings_module.load_settings(as_root=as_root)
    if not refused:
        refuse_root(settings)
        return
    with pytest.raises(CommandError, match=r"docs/howto/operate\.md.*SALDO_AS_ROOT=true") as raised:
        refuse_root(settings)
    assert raised.value.code is ExitCode.USAGE


def test_a_start_as_root_is_refused_by_default() -> None:
    assert Settings.model_fields["as_root"].default is False
