"""The state of a service after fuzzing: no 5xx was counted, no error was logged, and the ledger is consistent."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx

COUNTED = re.compile(r'saldo_http_requests_total\{.*status="(\d+)"\} ([0-9.e+]+)')


def requests_by_status(url: str, headers: tuple[tuple[str, str], ...] = ()) -> dict[int, int]:
    """Return the number of requests by status, by the service's own count."""
    counted: dict[int, int] = {}
    text = httpx.get(f"{url}/metrics", headers=dict(headers), timeout=60).raise_for_status().text
    for status, count in COUNTED.findall(text):
        counted[int(status)] = counted.get(int(status), 0) + int(float(count))
    return counted


def errors_logged(output: str) -> list[str]:
    """Return the lines of a log that report an error."""
    return [line for line in output.splitlines() if _is_error(line)]


def _is_error(line: str) -> bool:
    try:
        return json.loads(line).get("level") in {"error", "critical"}
    except (ValueError, AttributeError):
        return "Traceback" in line


def check_ledger(url: str, headers: tuple[tuple[str, str], ...] = (), users_max: int = 500) -> int:
    """Read every page of every user, and return the number of entries.

    Raises:
        AssertionError: numbers have a gap, or a balance is negative or is not the sum of the posted transactions.
    """
    entries = 0
    with httpx.Client(base_url=url, headers=dict(headers), timeout=60) as client:
        for count, user in enumerate(_items(client, "/v1/user")):
            if count >= users_max:
                break
            entries += _check_user(client, user)
    return entries


def _check_user(client: httpx.Client, user: dict[str, Any]) -> int:
    items = list(_items(client, f"/v1/user/{user['id']}/transactions"))
    assert [item["number"] for item in items] == list(range(len(items), 0, -1)), user
    signs = {"DEPOSIT": 1, "WITHDRAW": -1}
    posted = sum(
        signs[item["type"]] * _minor(item["amount"])
        for item in items
        if item["outcome"] == "posted"
    )
    # No other client posts any more.
    assert posted == _minor(client.get(f"/v1/user/{user['id']}").json()["balance"]) >= 0, user
    assert all(_minor(item["balance"]) >= 0 for item in items), user
    return len(items)


def _minor(money: str) -> int:
    return int(money.replace(".", ""))


def _items(client: httpx.Client, path: str) -> Iterator[dict[str, Any]]:
    cursor = None
    while True:
        query = {"limit": "1000", **({"cursor": cursor} if cursor else {})}
        page = client.get(path, params=query).raise_for_status().json()
        yield from page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            return
