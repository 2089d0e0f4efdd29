"""The interface of the ASGI application that the connections of the server use."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Protocol

from saldo.http.connection.fallback_apps import ConnectionLimitApp, ProblemApp
from saldo.http.connection.load_shedding import LoadShedder
from saldo.http.connection.timeout_sweeper import InputLimits, TimeoutSweeper


class ServerApplication(Protocol):
    """The interface of the ASGI application for the server's connections.

    `saldo.server.http_server.SaldoApplication` implements it.
    """

    timeout_sweeper: TimeoutSweeper
    input_limits: InputLimits
    connections_max: int
    connection_limit_app: ConnectionLimitApp
    ambiguous_path_app: ProblemApp
    is_draining: bool

    @property
    def load_shedder(self) -> LoadShedder:
        """Decides whether data is rejected before it is parsed."""

    def __call__(self, scope: Any, receive: Any, send: Any) -> Awaitable[None]: ...

    def find_route_label(self, method: str, path: str) -> str:
        """Return the route label of a request for the metrics."""

    def end_streams(self) -> None:
        """End all streams. Called when the server stops."""
