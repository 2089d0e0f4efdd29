"""Appearance of every page: accessibility, phones, both themes and languages, and print."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import ADMIN_KEY, AXE, NARROW, WIDE, Console, wait_for_points

Pictures = Callable[[Page, str], None]


def pages(console: Console) -> dict[str, str]:
    """Return the paths of the pages by name, except the sign-in page, which is checked before."""
    user_id = console.users["user-7341"]
    posted = console.api.get(f"/v1/user/{user_id}/transactions?limit=3").json()["items"]
    console.key("read", name="shop", user_ids=[user_id])
    webhook = console.api.post("/v1/webhook", json={"url": "https://example.com/saldo"}).json()
    confirm = f"/console/users/{user_id}/confirm?uuid={uuid4()}&type=WITHDRAW&amount=25.00"
    return {
        "overview": "/console/overview",
        "users": "/console/users",
        "nobody": "/console/users?q=nobody+at+all",
        "new-user": "/console/users/new",
        "user": f"/console/users/{user_id}?date=2026-01-01T00:00:00",
        "form": f"/console/users/{user_id}/post?type=DEPOSIT",
        "confirm": confirm,
        "refused": f"/console/transactions/{posted[1]['uuid']}?done=now",
        "transaction": f"/console/transactions/{posted[2]['uuid']}",
        "keys": "/console/keys",
        "webhooks": "/console/webhooks",
        "webhook": f"/console/webhooks/{webhook['id']}",
        "settings": "/console/settings",
        "nothing": "/console/nothing",
    }


def faults_of(page: Page) -> list[str]:
    """Return the serious and critical findings of axe."""
    page.evaluate(AXE.read_text("utf-8"))  # not subject to the policy against foreign scripts
    found: dict[str, Any] = page.evaluate("axe.run()")
    return [
        f"{fault['id']}: {node['html'][:200]} {node.get('failureSummary', '')[:300]}"
        for fault in found["violations"]
        if fault["impact"] in {"serious", "critical"}
        for node in fault["nodes"]
    ]


@pytest.mark.parametrize(
    ("size", "theme"),
    [
        pytest.param(WIDE, "light", id="wide-light"),
        pytest.param(WIDE, "dark", id="wide-dark", marks=pytest.mark.long),
        pytest.param(NARROW, "light", id="narrow-light", marks=pytest.mark.long),
        pytest.param(NARROW, "dark", id="narrow-dark", marks=pytest.mark.long),
    ],
)
def test_every_page_is_accessible(
    console: Console, size: tuple[int, int], theme: str, picture: Pictures
) -> None:
    width = "wide" if size == WIDE else "narrow"
    with console.open_page(size, key=None, color_scheme=theme) as page:
        page.goto("/console/sign-in")
        _check(page, "sign-in")
        picture(page, f"sign-in-{width}-{theme}")
        page.fill("#key", ADMIN_KEY)
        page.press("#key", "Enter")
        expect(page).to_have_url(re.compile("/console/overview"))
        for name, path in pages(console).items():
            page.goto(path)
            if name == "user":
                wait_for_points(page)
            if name == "overview":
                expect(page.locator("#series [data-lines]").first).to_have_attribute(
                    "data-points", re.compile("[1-9]"), timeout=20_000
                )
            _check(page, name)
            if name in {"overview", "user", "confirm", "transaction", "keys", "users"}:
                picture(page, f"{name}-{width}-{theme}")


def test_nothing_is_wider_than_the_smallest_phone(console: Console) -> None:
    with console.open_page((360, 740), locale="ru-RU") as page:
        for name, path in pages(console).items():
            page.goto(path)
            _check_width(page, name)


@pytest.mark.parametrize("width", [360, 1440])
def test_long_names_are_broken_and_long_numbers_are_not(console: Console, width: int) -> None:
    user_id = console.user(f"{uuid4().hex}{'W' * 168}")
    posted = console.post(user_id, "9999999999999.99")
    wanted = f"uuid={uuid4()}&type=DEPOSIT&amount=9999999999999.99"
    lines = """() => [...document.querySelectorAll(".sum")].map((each) => {
        const range = document.createRange();
        range.selectNodeContents(each);
        return range.getClientRects().length;
    })"""
    with console.open_page((width, 900)) as page:
        for path in (
            f"/console/users/{user_id}",
            f"/console/users/{user_id}/post",
            f"/console/users/{user_id}/confirm?{wanted}",
            f"/console/transactions/{posted['uuid']}",
            "/console/users?q=" + console.api.get(f"/v1/user/{user_id}").json()["name"][:40],
        ):
            page.goto(path)
            _check_width(page, path)
            assert set(page.evaluate(lines)) <= {1}, path
        page.goto(f"/console/users/{user_id}/confirm?{wanted}")
        inside = """() => {
            const edge = document.querySelector("form.card").getBoundingClientRect();
            return [...document.querySelectorAll("form.card *, .crumbs *")].every((each) => {
                const box = each.getBoundingClientRect();
                return each.type === "hidden" || (box.left >= edge.left && box.right <= edge.right + 1);
            });
        }"""
        assert width != 360 or page.evaluate(inside)


def _check(page: Page, name: str) -> None:
    assert faults_of(page) == [], name
    _check_width(page, name)


def _check_width(page: Page, name: str) -> None:
    beyond = page.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    assert beyond <= 0, name


def test_theme_follows_the_system_until_one_is_chosen(console: Console) -> None:
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    with console.open_page(color_scheme="dark") as page:
        dark = page.evaluate(ground)
        page.emulate_media(color_scheme="light")
        light = page.evaluate(ground)
        assert dark != light
        switch = page.get_by_role("button", name=re.compile("^Theme"))
        switch.click()
        switch.click()
        expect(page.locator("html")).to_have_attribute("data-theme", "dark")
        # A new page has loaded, and may not have its styles yet.
        expect(page.locator("html")).to_have_css("background-color", dark)
        page.goto("/console/users")
        expect(page.locator("html")).to_have_css("background-color", dark)


def test_language_and_time_zone_can_be_chosen(console: Console, picture: Pictures) -> None:
    user_id = console.users["клиент-2086"]
    with console.open_page(locale="ru-RU") as page:
        page.goto(f"/console/users/{user_id}")
        expect(page.locator("html")).to_have_attribute("lang", "ru")
        expect(page.locator("#balance h2")).to_have_text("Текущий баланс")
        expect(page.locator("#rows tbody tr").nth(1)).to_contain_text("недостаточно средств")
        wait_for_points(page)
        picture(page, "user-wide-light-ru")
        page.goto("/console/settings")
        page.select_option("#language", "en")
        page.select_option("#zone", "Asia/Tokyo")
        page.get_by_role("button", name="Сохранить").click()
        page.goto(f"/console/users/{user_id}")
        expect(page.locator("html")).to_have_attribute("lang", "en")
        expect(page.locator(".foot")).to_contain_text("Asia/Tokyo, UTC+09:00")
        shown = page.locator("#rows time").first
        assert (shown.get_attribute("title") or "").endswith("+09:00")


def test_everything_works_with_the_keyboard(console: Console) -> None:
    with console.open_page() as page:
        page.goto("/console/users")
        page.keyboard.press("Tab")
        expect(page.locator(".skip")).to_be_focused()
        expect(page.locator(".skip")).to_be_in_viewport()
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        focused = page.evaluate("document.activeElement.closest('main') !== null")
        assert focused
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid"


def test_pages_load_nothing_from_other_hosts(console: Console) -> None:
    """Block all other origins; `Console.open_page` fails a test in which a request leaves the origin."""
    with console.open_page() as page:
        page.context.route(
            re.compile(r"^(?!" + re.escape(console.url) + ")"), lambda route: route.abort()
        )
        page.goto(f"/console/users/{console.users['user-7341']}")
        wait_for_points(page)
        assert page.evaluate("typeof htmx === 'object' && typeof uPlot === 'function'")


def test_printed_page_contains_the_users_transactions(console: Console) -> None:
    with console.open_page() as page:
        page.goto(f"/console/users/{console.users['user-7341']}")
        page.emulate_media(media="print")
        expect(page.locator("#rows table")).to_be_visible()
        expect(page.locator("h1")).to_be_visible()
        for hidden in (".bar", ".filters", "#chart", "#at-date"):
            expect(page.locator(hidden)).to_be_hidden()
