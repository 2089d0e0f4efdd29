"""The paths and methods that the service supports, for responses that are sent without the framework's router.

Rejections (401, 403, 429, too many connections) are counted under the requested route, and OPTIONS is answered from
this table. The table is built once from the framework's routes, so clients can't add labels to the metrics.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

OTHER: Final = "other"
"""Label of requests for which no route has both the path and the method."""

_PARAMETER: Final = re.compile(r"\\{(\w+)(:path)?(?::\w+)?\\}")
_ORDER: Final = ("GET", "HEAD", "POST", "PATCH", "PUT", "DELETE", "OPTIONS")


class Route(NamedTuple):
    """A path and its methods.

    Attributes:
        template: The path with names for its parameters, as metrics show it.
        methods: All supported methods, including HEAD and OPTIONS.
    """

    template: str
    methods: frozenset[str]

    @property
    def allow(self) -> str:
        """The value of the header `Allow`."""
        return format_allow(self.methods)


class RouteTable:
    """A table of all routes that finds the route of a path."""

    def __init__(self, routes: Iterable[tuple[str, str, Iterable[str]]]) -> None:
        """
        Args:
            routes: For each route its path as the framework writes it (`/v1/user/{user_id:str}`), its template, and
                its methods.
        """
        self._plain: dict[str, Route] = {}
        patterns: list[tuple[int, re.Pattern[str], Route]] = []
        methods_of_all: set[str] = {"OPTIONS"}
        for path, template, route_methods in routes:
            methods = {*route_methods, "OPTIONS"}
            if "GET" in methods:
                methods.add("HEAD")
            methods_of_all |= methods
            route = Route(template, frozenset(methods))
            if "{" in path:
                patterns.append((_count_wildcards(path), _compile_pattern(path), route))
            else:
                self._plain[path] = route
        # The framework prefers literal segments, so the least specific pattern is tried last.
        self._patterns = [each[1:] for each in sorted(patterns, key=lambda each: each[0])]
        self.options_allow = format_allow(methods_of_all)
        """The value of the header `Allow` in the response to `OPTIONS *`."""

    def find_route(self, path: str) -> Route | None:
        """Return the route of a path, or None if there is none."""
        if len(path) > 1:
            path = path.rstrip("/")
        route = self._plain.get(path)
        if route is not None:
            return route
        return next((route for pattern, route in self._patterns if pattern.fullmatch(path)), None)

    def find_label(self, method: str, path: str) -> str:
        """Return the route's template for the metrics, or `other` if no route has this path and method."""
        route = self.find_route(path)
        return route.template if route is not None and method in route.methods else OTHER


def format_allow(methods: Iterable[str]) -> str:
    """Return the value of the header `Allow`. HEAD is added to GET."""
    allowed = {*methods}
    if "GET" in allowed:
        allowed.add("HEAD")
    return ", ".join(method for method in _ORDER if method in allowed)


def _count_wildcards(path: str) -> int:
    return path.count("{") + 100 * path.count(":path}")


def _compile_pattern(path: str) -> re.Pattern[str]:
    return re.compile(
        _PARAMETER.sub(lambda match: ".+" if match[2] else "[^/]+", re.escape(path)), re.DOTALL
    )
