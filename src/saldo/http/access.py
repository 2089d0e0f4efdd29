"""What each route needs, and the answers to who doesn't have it."""

from __future__ import annotations

from typing import Any, Final

from saldo.access.gate import Admission, Denied
from saldo.access.grant import Grant, Scope
from saldo.http import problems
from saldo.http.problems import Problem

OPEN: Final = ("/healthz/live", "/healthz/ready", "/healthz/startup", "/docs", "/openapi.json")
"""For everybody: whether the service is well, and what its API is. Nothing of the ledger is in it."""

CONSOLE_PATH: Final = "/console"
"""Of pages for people, who come with a session and not with a key: the console asks for it itself, before each of its
routes (`saldo.console.entry`). Until then who asks is nobody."""

_OPEN_UNDER: Final = ("/docs/", f"{CONSOLE_PATH}/")
_LEDGER: Final = ("/v1/transaction", "/v1/user", "/v1/events", "/v1/proof", "/v1/seals")
_READING: Final = frozenset({"GET", "HEAD"})


def scope_of(method: str, path: str) -> Scope | None:
    """What a request needs; None: nothing. What is not named here is for an admin, and so is what doesn't exist."""
    if path.startswith(_LEDGER):
        return Scope.READ if method in _READING else Scope.WRITE
    if path in OPEN or path == CONSOLE_PATH or path.startswith(_OPEN_UNDER):
        return None
    if path == "/metrics":
        return Scope.METRICS
    return Scope.ADMIN


def admitted(grant: Grant | Denied, needed: Scope | None) -> Grant | Problem:
    """What a request may do; or why it is not let in. A request that is let in is counted."""
    if isinstance(grant, Denied):
        refuse = problems.forbidden if grant.known else problems.unauthenticated
        return refuse(grant.detail)
    if needed is not None and not grant.allows(needed):
        return problems.forbidden_scope(needed)
    seconds = 0.0 if grant.bucket is None else grant.bucket.take()
    return problems.too_many_requests(seconds) if seconds else grant


class ForbiddenError(Exception):
    """Who asks must not ask for this."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.code)
        self.problem = problem


def covering(scope: Any, user_id: int) -> None:
    """Lets a question about one user through.

    Raises:
        ForbiddenError: the key is not about this one.
    """
    if not admission_of(scope).grant.covers(user_id):
        raise ForbiddenError(problems.forbidden_user(user_id))


def covering_all(scope: Any) -> None:
    """Lets a question about all users through.

    Raises:
        ForbiddenError: the key is about some only.
    """
    if admission_of(scope).grant.user_ids is not None:
        raise ForbiddenError(problems.forbidden_to_some())


def admission_of(scope: Any) -> Admission:
    """Of a request that was let in."""
    admission: Admission = scope["state"]["admission"]
    return admission
