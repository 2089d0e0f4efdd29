"""The route of a path, found without the framework's router."""

from __future__ import annotations

import pytest

from saldo.http.route_table import OTHER, RouteTable

TABLE = RouteTable(
    [
        ("/v1/user", "/v1/user", ("GET", "POST")),
        ("/v1/user/{user_id:str}", "/v1/user/{user_id}", ("GET",)),
        ("/v1/user/{user_id:str}/balance", "/v1/user/{user_id}/balance", ("GET",)),
        ("/docs/assets/{file_path:path}", "/docs/assets/{file_path}", ("GET",)),
        ("/docs/{path:str}", "/docs/{path}", ("GET",)),
        ("/docs/openapi.json", "/docs/openapi.json", ("GET",)),
    ]
)


@pytest.mark.parametrize(
    ("method", "path", "label"),
    [
        ("GET", "/v1/user", "/v1/user"),
        ("GET", "/v1/user/", "/v1/user"),
        ("HEAD", "/v1/user", "/v1/user"),
        ("OPTIONS", "/v1/user/1", "/v1/user/{user_id}"),
        ("GET", "/v1/user/1", "/v1/user/{user_id}"),
        ("GET", "/v1/user/1/balance", "/v1/user/{user_id}/balance"),
        ("GET", "/docs/assets/a/b.css", "/docs/assets/{file_path}"),
        ("GET", "/docs/openapi.json", "/docs/openapi.json"),
        ("GET", "/docs/x", "/docs/{path}"),
        ("DELETE", "/v1/user", OTHER),
        ("POST", "/v1/user/1", OTHER),
        ("PROPFIND", "/v1/user", OTHER),
        ("GET", "/v1/user/1/nothing", OTHER),
        ("GET", "/v1/users", OTHER),
        ("GET", "/", OTHER),
        ("GET", "", OTHER),
        ("GET", "*", OTHER),
    ],
)
def test_a_request_has_the_label_of_its_route(method: str, path: str, label: str) -> None:
    assert TABLE.find_label(method, path) == label


def test_labels_are_bounded_whatever_is_asked_for() -> None:
    asked = [("GET", f"/v1/user/{number}/{part}") for number in range(50) for part in "abc"]
    asked += [(f"M{number}", "/v1/user") for number in range(50)]
    assert {TABLE.find_label(*each) for each in asked} == {OTHER}
    assert TABLE.options_allow == "GET, HEAD, POST, OPTIONS"
