"""Authorization: the scope that each route needs, and the problems of requests that lack it."""

from __future__ import annotations

from typing import Any, Final

from saldo.auth.authenticator import Authentication, AuthenticationFailure
from saldo.auth.grants import Grant, Scope
from saldo.http import problems
from saldo.http.problems import Problem, ProblemError
from saldo.http.request_state import request_state
from saldo.ledger.model import compute_shard

PUBLIC_PATHS: Final = (
    "/healthz/live",
    "/healthz/ready",
    "/healthz/startup",
    "/docs",
    "/openapi.json",
)
"""Paths that need no key: the health of the service and the description of its API, without data of the ledger."""

CONSOLE_PATH: Final = "/console"
"""Path of the console. Its requests carry a session instead of a key, which the console itself checks before
each of its routes (`saldo.console.authentication`). Until then a request has the grant `NOBODY`."""

_PUBLIC_PREFIXES: Final = ("/docs/", f"{CONSOLE_PATH}/")
_API: Final = "/v1/"
_LEDGER_SEGMENTS: Final = frozenset(
    {"transaction", "transactions", "user", "events", "proof", "seals"}
)
"""First segments after `/v1/` of the paths that read or change the ledger."""

_READ_METHODS: Final = frozenset({"GET", "HEAD"})


def required_scope(method: str, path: str) -> Scope | None:
    """Return the scope that a request needs, or None if it needs none.

    Paths that are not listed here need `admin`, and so do paths that do not exist.
    """
    if path.startswith(_API) and path[len(_API) :].partition("/")[0] in _LEDGER_SEGMENTS:
        return Scope.READ if method in _READ_METHODS else Scope.WRITE
    if path in PUBLIC_PATHS or path == CONSOLE_PATH or path.startswith(_PUBLIC_PREFIXES):
        return None
    if path == "/metrics":
        return Scope.METRICS
    return Scope.ADMIN


def authorize(grant: Grant | AuthenticationFailure, needed: Scope | None) -> Grant | Problem:
    """Return the grant of a request if it is allowed, or else the problem.

    A request that is allowed is counted against the rate limit of its key.
    """
    if isinstance(grant, AuthenticationFailure):
        refuse = (
            problems.forbidden_request
            if grant.is_caller_known
            else problems.authentication_required
        )
        return refuse(grant.detail)
    if needed is not None and not grant.allows(needed):
        return problems.forbidden_scope(needed)
    seconds = 0.0 if grant.bucket is None else grant.bucket.take_tokens()
    return problems.too_many_requests(seconds) if seconds else grant


def require_user(scope: Any, user_id: int) -> None:
    """Check that the key may access this user.

    Raises:
        ProblemError: The key is limited to other users.
    """
    if not admission_of(scope).grant.includes_user(user_id):
        raise ProblemError(problems.forbidden_user(user_id))


def require_all_users(scope: Any) -> None:
    """Check that the key may access all users.

    Raises:
        ProblemError: The key is limited to some users.
    """
    if admission_of(scope).grant.user_ids is not None:
        raise ProblemError(problems.forbidden_all_users())


def require_shard(scope: Any, shard: int) -> None:
    """Check that the key may access this shard of the log. One of its users in the shard is enough.

    Raises:
        ProblemError: The key is limited to users of other shards.
    """
    user_ids = admission_of(scope).grant.user_ids
    if user_ids is not None and all(compute_shard(user_id) != shard for user_id in user_ids):
        raise ProblemError(problems.forbidden_shard(shard))


def admission_of(scope: Any) -> Authentication:
    """Return the admission of an authenticated request."""
    admission = request_state(scope).admission
    assert admission is not None
    return admission
