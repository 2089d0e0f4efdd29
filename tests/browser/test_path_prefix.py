"""The console and the API's documentation in a browser, behind a proxy that serves them under a path."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from harness.program.service import run_service_process
from harness.stripping_proxy import StrippingProxy, run_stripping_proxy
from tests.browser.conftest import ADMIN_KEY, Console, wait_for_points

PREFIX = "/team-a/ledger"


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[StrippingProxy]:
    """Yield a service behind a proxy that it trusts."""
    with (
        run_service_process(
            tmp_path, SALDO_ADMIN_KEY=ADMIN_KEY, SALDO_TRUSTED_PROXIES="127.0.0.0/8"
        ) as running,
        run_stripping_proxy(running.url, PREFIX, {"X-Forwarded-Prefix": PREFIX}) as started,
    ):
        yield started


def test_charts_live_updates_and_search_stay_under_the_prefix(
    browser: Browser, proxy: StrippingProxy
) -> None:
    # The page fails the test if it requests anything outside of this URL.
    console = Console(proxy.url, browser)
    user_id = console.user("user-5120")
    console.post(user_id, "10")
    with console.open_page(key=None) as page:
        page.goto(f"{proxy.url}/console")
        page.fill("#key", ADMIN_KEY)
        page.press("#key", "Enter")
        page.wait_for_url(f"{proxy.url}/console/overview")
        page.goto(f"{proxy.url}/console/users/{user_id}")
        wait_for_points(page)
        expect(page.locator(".live")).to_have_attribute("data-state", "on")
        console.post(user_id, "5.25")
        expect(page.locator("main")).to_contain_text("15.25")
        page.goto(f"{proxy.url}/console/users")
        page.fill("input[hx-get]", "user-5120")
        page.wait_for_url(re.compile(f"{PREFIX}/console/users\\?"))
        page.goto(f"{proxy.url}/docs")
        page.wait_for_selector("#operations-tag-operation, .opblock")
        expect(page.locator(".servers")).to_contain_text(PREFIX)
    assert proxy.outside == []
    console.api.close()
