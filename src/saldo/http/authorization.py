"""Authorization: the scope that each route needs, and the problems of requests that lack it."""

from __future__ import annotations

from typing import Any, Final

from saldo.auth.authenticator import Authentication, AuthenticationFailure
from saldo.auth.grants import Grant, Scope
from saldo.http import problems
from saldo.http.problems import Problem, ProblemError
from saldo.http.request_state import get_request_state
from saldo.ledger.model import compute_shard

PUBLIC_PATHS: Final = (
    "/healthz/live",
    "/healthz/ready",
    "/healthz/startup",
    "/docs",
    "/openapi.json",
    "/openapi-3.0.json",
)
"""Paths that need no key: the health of the service and the description of its API, without data of the ledger."""

CONSOLE_PATH: Final = "/console"
"""Path of the console. Its requests have a session instead of a key. The console checks the session before each of its
routes (`saldo.console.authentication`). Before that check a request has the grant `NO_GRANT`."""

_PUBLIC_PREFIXES: Final = ("/docs/", f"{CONSOLE_PATH}/")
_LEDGER_PATHS: Final = frozenset(
    f"/v1/{segment}"
    for segment in ("transaction", "transactions", "user", "events", "proof", "seals")
)
"""Paths that read or change the ledger. So do the paths below them."""

_LEDGER_PREFIXES: Final = tuple(f"{path}/" for path in sorted(_LEDGER_PATHS))

_READ_METHODS: Final = frozenset({"GET", "HEAD"})


def find_required_scope(method: str, path: str) -> Scope | None:
    """Return the scope that a request needs, or None if it needs none.

    Paths that are not listed here need `admin`, and so do paths that do not exist.
    """
    if path in _LEDGER_PATHS or path.startswith(_LEDGER_PREFIXES):
        return Scope.READ if method in _READ_METHODS else Scope.WRITE
    if path in PUBLIC_PATHS or path == CONSOLE_PATH or path.startswith(_PUBLIC_PREFIXES):
        return None
    if path == "/metrics":
        return Scope.METRICS
    return Scope.ADMIN


def authorize(grant: Grant | AuthenticationFailure, needed_scope: Scope | None) -> Grant | Problem:
    """Return the grant of a request if it is allowed, or else the problem.

    A request that is allowed is counted against the rate limit of its key.
    """
    if isinstance(grant, AuthenticationFailure):
        build_problem = (
            problems.build_forbidden_request
            if grant.is_caller_known
            else problems.build_authentication_required
        )
        return build_problem(grant.detail)
    if needed_scope is not None and not grant.allows(needed_scope):
        return problems.build_forbidden_scope(needed_scope)
    seconds = 0.0 if grant.bucket is None else grant.bucket.take_tokens()
    return problems.build_too_many_requests(seconds) if seconds else grant


def require_user(scope: Any, user_id: int) -> None:
    """Check that the key may access this user.

    Raises:
        ProblemError: The key is limited to other users.
    """
    if not get_admission(scope).grant.includes_user(user_id):
        raise ProblemError(problems.build_forbidden_user(user_id))


def require_all_users(scope: Any) -> None:
    """Check that the key may access all users.

    Raises:
        ProblemError: The key is limited to some users.
    """
    if get_admission(scope).grant.user_ids is not None:
        raise ProblemError(problems.build_access_to_all_users_forbidden())


def require_shard(scope: Any, shard: int) -> None:
    """Check that the key may access this shard of the log. A key that is limited to users may access the shards of
    these users.

    Raises:
        ProblemError: The key is limited to users of other shards.
    """
    user_ids = get_admission(scope).grant.user_ids
    if user_ids is not None and all(compute_shard(user_id) != shard for user_id in user_ids):
        raise ProblemError(problems.build_forbidden_shard(shard))


def get_admission(scope: Any) -> Authentication:
    """Return the authentication of a request that has been authenticated."""
    admission = get_request_state(scope).admission
    assert admission is not None
    return admission
