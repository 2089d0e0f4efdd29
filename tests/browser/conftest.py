"""Fixtures of the tests in a browser: a service with some history, a real Chromium, and users who sign in.

`SALDO_TEST_SCREENSHOTS=1` writes the screenshots of docs/howto/console.
"""

from __future__ import annotations

import os
import random
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from harness import chromium
from harness.prerequisites import skip_or_fail
from harness.program.service import run_service_process

ADMIN_KEY = "an-admin-key-of-the-operators-own-0123456789"
expect.set_options(timeout=15_000)  # for a machine that is busy with other tests

AXE = Path(__file__).parent / "axe" / "axe.min.js"
PICTURES = Path(__file__).parents[2] / "docs" / "howto" / "console"
WIDE, NARROW = (1440, 900), (390, 844)

NAMES = ("user-7341", "клиент-2086", "shop's-3350", "счёт-5918", "société-4402", "user-6127")


class Console:
    """The service, with an admin's API client and a browser."""

    def __init__(self, url: str, browser: Browser) -> None:
        self.url = url
        self.api = httpx.Client(base_url=url, headers={"authorization": f"Bearer {ADMIN_KEY}"})
        self.users: dict[str, int] = {}
        self._browser = browser

    def user(self, name: str) -> int:
        created = self.api.post("/v1/user", json={"name": name})
        assert created.status_code == 201, created.text
        self.users[name] = created.json()["id"]
        return self.users[name]

    def post(self, user_id: int, amount: str, **fields: Any) -> dict[str, Any]:
        kind = "WITHDRAW" if amount.startswith("-") else "DEPOSIT"
        wanted = {"uuid": str(uuid4()), "type": kind, "amount": amount.lstrip("-")}
        answer = self.api.post("/v1/transaction", json={**wanted, "user_id": user_id, **fields})
        assert answer.status_code in {200, 402}, answer.text
        return {**wanted, **answer.json()}

    def balance(self, user_id: int) -> str:
        return str(self.api.get(f"/v1/user/{user_id}/balance").json()["balance"])

    def key(self, *scopes: str, **limits: Any) -> dict[str, Any]:
        asked = {"name": f"key {uuid4()}", "scopes": scopes, **limits}
        found: dict[str, Any] = self.api.post("/v1/key", json=asked).json()
        return found

    @contextmanager
    def open_page(
        self, size: tuple[int, int] = WIDE, key: str | None = ADMIN_KEY, **options: Any
    ) -> Iterator[Page]:
        """Yield a page in a browser of its own, signed in.

        The test fails if the page logs an error or requests anything from another origin.
        """
        context = self._browser.new_context(
            viewport={"width": size[0], "height": size[1]},
            base_url=self.url,
            **{"locale": "en-GB", "color_scheme": "light", **options},
        )
        page = context.new_page()
        said: list[str] = []
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("console", lambda line: said.append(line.text) if _wrong(line) else None)
        page.on(
            "request", lambda each: said.append(each.url) if _foreign(each.url, self.url) else None
        )
        try:
            if key is not None:
                sign_in(page, key)
            yield page
            assert said == []
        finally:
            context.close()


def sign_in(page: Page, key: str) -> None:
    page.goto("/console/sign-in")
    page.fill("#key", key)
    page.press("#key", "Enter")
    page.wait_for_url(re.compile("/console/(overview|users)"))


def _wrong(line: Any) -> bool:
    """Return whether a console line is an error of the page; failed requests that a test provokes are not."""
    return line.type == "error" and "Failed to load resource" not in line.text


def _foreign(asked: str, own: str) -> bool:
    return not asked.startswith((f"{own}/", "data:"))


def wait_for_points(page: Page, points: int = 2) -> None:
    """Wait until the chart has at least this number of points."""
    page.wait_for_function(
        "least => Number(document.getElementById('chart').dataset.points) >= least", arg=points
    )


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Yield Debian's Chromium."""
    program = chromium.find()
    if program is None:
        skip_or_fail("chromium", "no chromium in PATH (Debian: package chromium)")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield started
        started.close()


@pytest.fixture(scope="module")
def console(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    """Yield a console with users and three months of their transactions."""
    directory = tmp_path_factory.mktemp("console")
    with run_service_process(
        directory, SALDO_ADMIN_KEY=ADMIN_KEY, SALDO_KEYS_REFRESH_SECONDS="0.2"
    ) as running:
        found = Console(running.url, browser)
        chance = random.Random(4)
        for name in NAMES:
            _history(found, found.user(name), chance)
        if os.environ.get("SALDO_TEST_SCREENSHOTS"):
            _traffic(found, chance)
        yield found
        found.api.close()


def _history(console: Console, user_id: int, chance: random.Random) -> None:
    now = datetime.now(UTC)
    moment = now - timedelta(days=90)
    items = []
    while moment < now - timedelta(hours=30):
        withdraws = chance.random() < 0.45
        amount = chance.randrange(5_00, 300_00 if withdraws else 400_00)
        items.append(
            {
                "uuid": str(uuid4()),
                "type": "WITHDRAW" if withdraws else "DEPOSIT",
                "amount": f"{amount / 100:.2f}",
                "user_id": user_id,
                "timestamp": moment.isoformat(),
            }
        )
        moment += timedelta(hours=chance.random() * 30)
    assert console.api.post("/v1/transactions", json=items).status_code == 200
    console.post(user_id, "150.00", timestamp=(now - timedelta(days=40)).isoformat())
    console.post(user_id, "-99999999")
    console.post(user_id, "20.00")


def _traffic(console: Console, chance: random.Random) -> None:
    """Post for a minute, so that the overview has something to show, for users whose history no test checks."""
    for second in range(60):
        for _ in range(chance.randrange(3 + second // 6)):
            amount = f"{chance.choice(['', '', '-'])}{chance.randrange(1, 90)}.50"
            console.post(console.users[chance.choice(["user-6127", "shop's-3350"])], amount)
        time.sleep(1)


@pytest.fixture
def picture() -> Callable[[Page, str], None]:
    """Return a function that saves a screenshot for the documentation if that is requested."""

    def take(page: Page, name: str) -> None:
        if os.environ.get("SALDO_TEST_SCREENSHOTS"):
            PICTURES.mkdir(exist_ok=True)
            page.screenshot(path=PICTURES / f"{name}.png")

    return take
