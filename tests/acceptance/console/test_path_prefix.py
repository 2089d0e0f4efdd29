"""The console, the API's documentation and the OpenAPI document behind a proxy that serves them under a path."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import pytest

from harness.program.service import run_service_process
from harness.stripping_proxy import StrippingProxy, run_stripping_proxy
from saldo.console.routes import HANDLERS

ADMIN_KEY = "an-admin-key-of-the-operators-own-0123456789"
PREFIX = "/team-a/ledger"
TOKEN = re.compile(r'name="form" value="([0-9a-f]{64})"')
ADDRESSES = {"href", "src", "action", "hx-get", "data-url", "data-events"}
"""Attributes that contain an address."""


class Addresses(HTMLParser):
    """The addresses in a page, and those of its links that a visitor can follow."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.all: list[str] = []
        self.followed: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value for name, value in attrs if name in ADDRESSES and value}
        self.all += [value for value in found.values() if value is not None]
        is_read = dict(attrs).get("method") != "post"
        self.followed += [
            value
            for name, value in found.items()
            if value is not None and is_read and name != "data-events"
        ]


class Walk:
    """A visitor who opens every page that a link leads to."""

    def __init__(self, proxy: StrippingProxy) -> None:
        self.client = httpx.Client(headers={"origin": self._origin(proxy.url)})
        self.origin = self._origin(proxy.url)
        self.seen: set[str] = set()
        self.templates: set[str] = set()

    @staticmethod
    def _origin(url: str) -> str:
        return url.removesuffix(PREFIX)

    def get(self, path: str) -> httpx.Response:
        """Open a path of the service, without the prefix."""
        return self.client.get(f"{self.origin}{PREFIX}{path}")

    def send(self, page: str, action: str, **fields: str) -> str:
        """Submit a form, and return the path to which the service redirects."""
        token = TOKEN.search(self.get(page).text)
        assert token is not None, page
        answer = self.client.post(
            f"{self.origin}{PREFIX}{action}", data={"form": token[1], **fields}
        )
        assert answer.status_code == 303, (page, answer.status_code, answer.text)
        for cookie in answer.headers.get_list("set-cookie"):
            assert f"Path={PREFIX}/console" in cookie
        location = str(answer.headers["location"])
        assert location.startswith(f"{PREFIX}/console"), location
        return location.removeprefix(PREFIX)

    def follow_all(self, start: str) -> None:
        """Open a page and every page that it leads to, and check their addresses."""
        waiting = [f"{PREFIX}{start}"]
        while waiting:
            address = waiting.pop()
            # Two pages of the same list, or two users, have the same template.
            template = re.sub(r"[0-9a-f-]{36}|\d+|\?.*", "#", address.partition("#")[0])
            if template in self.seen:
                continue
            self.seen.add(template)
            answer = self.client.get(f"{self.origin}{address}")
            if answer.status_code == 303:
                assert answer.headers["location"].startswith(f"{PREFIX}/"), address
                waiting.append(answer.headers["location"])
                continue
            assert answer.status_code in {200, 422}, (address, answer.status_code)
            if not answer.headers["content-type"].startswith("text/html"):
                continue
            found = Addresses(answer.text)
            for each in found.all:
                assert each.startswith((f"{PREFIX}/", "#")), (address, each)
                assert urlsplit(each).netloc == ""
            waiting += [each for each in found.followed if not each.startswith("#")]


WAYS: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "header": ({"SALDO_TRUSTED_PROXIES": "127.0.0.0/8"}, {"X-Forwarded-Prefix": PREFIX}),
    "setting": ({"SALDO_PATH_PREFIX": PREFIX}, {}),
}
"""The settings of the service and the headers of the proxy, by the way in which the service learns the prefix."""


@pytest.fixture(params=WAYS)
def proxy(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StrippingProxy]:
    """Yield a service behind a proxy."""
    settings, headers = WAYS[request.param]
    with (
        run_service_process(tmp_path, SALDO_ADMIN_KEY=ADMIN_KEY, **settings) as running,
        run_stripping_proxy(running.url, PREFIX, headers) as started,
    ):
        yield started


def test_no_link_and_no_redirect_leaves_the_prefix(proxy: StrippingProxy) -> None:
    walk = Walk(proxy)
    walk.follow_all("/console")
    sign_in = f"{PREFIX}/console/sign-in#"
    assert sign_in in walk.seen
    assert walk.send("/console/sign-in", "/console/sign-in", key=ADMIN_KEY) == "/console"
    user = walk.send("/console/users/new", "/console/users/new", name=f"user-5120 {uuid4()}")
    api = httpx.Client(base_url=proxy.url, headers={"authorization": f"Bearer {ADMIN_KEY}"})
    number = int(user.rpartition("/")[2])
    for kind, amount in (("DEPOSIT", "5"), ("WITHDRAW", "1"), ("WITHDRAW", "100")):
        transaction = {"uuid": str(uuid4()), "type": kind, "amount": amount, "user_id": number}
        assert api.post("/v1/transaction", json=transaction).status_code in {200, 402}
    webhook = api.post("/v1/webhook", json={"url": "https://93.184.215.14/hook"})
    assert webhook.status_code == 201, webhook.text
    key = walk.send("/console/keys", "/console/keys", name="shop", read="1")
    assert key == "/console/keys"
    assert "saldo_" in walk.get(key).text  # the flash message with the new key
    opened = set(walk.seen)
    walk.seen.clear()
    walk.follow_all("/console")
    walk.follow_all("/docs")
    opened = {each.removeprefix(PREFIX).removesuffix("#") for each in opened | walk.seen}
    assert {page.removesuffix("#") for page in _list_pages()} - opened == set()
    target = walk.send("/console/settings", "/console/settings", theme="dark", to="/console/users")
    assert target == "/console/users"
    assert walk.send("/console/users", "/console/sign-out").startswith("/console/sign-in")
    assert proxy.outside == []
    api.close()
    walk.client.close()


def _list_pages() -> set[str]:
    """Return the pages that links lead to, with # in place of ids."""
    found: set[str] = set()
    for handler in HANDLERS:
        if "GET" not in handler.http_methods:
            continue
        for template in handler.paths:
            found.add(re.sub(r"\{\w+:\w+\}", "#", template))
    # The page of an unknown path, one that needs a filled form, and one that needs a seal are not linked.
    return found - {"/console/#", "/console/users/#/confirm", "/console/transactions/#/proof"}


def test_documentation_and_openapi_document_have_the_prefix(proxy: StrippingProxy) -> None:
    document = httpx.get(f"{proxy.url}/openapi.json").json()
    assert document["servers"] == [{"url": PREFIX}]
    page = httpx.get(f"{proxy.url}/docs").text
    addresses = Addresses(page).all
    assert len(addresses) == 4
    for each in addresses:
        assert each.startswith(f"{PREFIX}/docs/")
        found = httpx.get(f"{proxy.url.removesuffix(PREFIX)}{each}")
        assert found.status_code == 200, each
    assert (
        'new URL("../openapi.json", document.currentScript.src)'
        in httpx.get(f"{proxy.url}/docs/start.js").text
    )


@pytest.mark.parametrize(
    ("settings", "headers"),
    [
        ({}, {"X-Forwarded-Prefix": PREFIX}),
        ({"SALDO_TRUSTED_PROXIES": "192.0.2.0/24"}, {"X-Forwarded-Prefix": PREFIX}),
        *(
            ({"SALDO_TRUSTED_PROXIES": "127.0.0.0/8"}, {"X-Forwarded-Prefix": value})
            for value in ("//evil.example", "https://evil.example", '/"onclick=', "/a/../b", "/é")
        ),
    ],
)
def test_prefix_of_an_untrusted_client_or_of_another_form_is_ignored(
    tmp_path: Path, settings: dict[str, str], headers: dict[str, Any]
) -> None:
    with run_service_process(tmp_path, SALDO_ADMIN_KEY=ADMIN_KEY, **settings) as running:
        encoded = {name: value.encode() for name, value in headers.items()}
        redirect = httpx.get(f"{running.url}/console", headers=encoded)
        assert redirect.headers["location"].startswith("/console/sign-in?")
        page = httpx.get(f"{running.url}/console/sign-in", headers=encoded)
        assert all(each.startswith(("/console", "#")) for each in Addresses(page.text).all)
        document = httpx.get(f"{running.url}/openapi.json", headers=encoded).json()
        assert document["servers"] == [{"url": "/"}]
