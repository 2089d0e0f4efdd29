"""Deposits and withdrawals in a browser: shown for confirmation, posted once, and then reported."""

from __future__ import annotations

import re
from uuid import uuid4

from playwright.sync_api import Page, expect

from tests.browser.conftest import Console


def to_confirm(page: Page, user_id: int, button: str, amount: str) -> None:
    page.goto(f"/console/users/{user_id}")
    page.get_by_role("link", name=button, exact=True).click()
    page.fill("#amount", amount)
    page.get_by_role("button", name="Continue").click()
    expect(page.locator("#confirm")).to_be_visible()


def test_a_deposit_shows_before_and_after_and_a_double_click_posts_once(console: Console) -> None:
    user_id = console.user(f"clicks {uuid4()}")
    with console.open_page() as page:
        to_confirm(page, user_id, "Deposit", "100")
        expect(page.locator("#before")).to_have_text("0.00")
        expect(page.locator("#after")).to_have_text("100.00")
        page.dblclick("#confirm")
        expect(page.locator("#result")).to_contain_text("100.00 deposited.")
        expect(page.locator("#number")).to_have_text("1")
        expect(page.locator("#balance-after")).to_have_text("100.00")
        assert console.balance(user_id) == "100.00"


def test_form_that_is_sent_concurrently_posts_once(console: Console) -> None:
    """Send the form concurrently, which the page's own script would prevent."""
    user_id = console.user(f"twice {uuid4()}")
    with console.open_page() as page:
        to_confirm(page, user_id, "Deposit", "7.25")
        statuses = page.evaluate(
            """async () => {
                const form = document.querySelector("form:has(#confirm)");
                const body = new URLSearchParams(new FormData(form));
                const send = () => fetch(form.action, { method: "POST", body });
                return (await Promise.all([send(), send(), send()])).map((answer) => answer.status);
            }"""
        )
        assert statuses == [200, 200, 200]
        assert console.balance(user_id) == "7.25"


def test_back_and_reload_after_a_deposit_post_nothing_more(console: Console) -> None:
    user_id = console.user(f"back {uuid4()}")
    with console.open_page() as page:
        to_confirm(page, user_id, "Deposit", "30")
        page.reload()
        page.click("#confirm")
        expect(page.locator("#result")).to_contain_text("30.00 deposited.")
        page.reload()
        page.go_back()
        expect(page.locator("#result")).to_contain_text("nothing was done a second time")
        assert console.balance(user_id) == "30.00"


def test_back_from_the_page_to_confirm_keeps_what_was_typed(console: Console) -> None:
    user_id = console.users["user-7341"]
    with console.open_page() as page:
        to_confirm(page, user_id, "Withdraw", "12.5")
        page.get_by_role("link", name="Back").click()
        expect(page.locator("#amount")).to_have_value("12.50")
        expect(page.get_by_label("Withdrawal")).to_be_checked()


def test_withdrawal_above_the_balance_shows_a_warning_and_is_refused(console: Console) -> None:
    user_id = console.user(f"poor {uuid4()}")
    console.post(user_id, "10.00")
    with console.open_page() as page:
        to_confirm(page, user_id, "Withdraw", "10.01")
        expect(page.get_by_role("alert")).to_contain_text("The balance is too low")
        page.click("#confirm")
        expect(page.locator("#result")).to_contain_text("Refused: insufficient funds.")
        assert console.balance(user_id) == "10.00"


def test_invalid_amounts_show_an_error_at_the_field(console: Console) -> None:
    user_id = console.users["user-7341"]
    with console.open_page() as page:
        page.goto(f"/console/users/{user_id}/post?type=DEPOSIT")
        page.fill("#amount", "1.234")
        page.get_by_role("button", name="Continue").click()
        expect(page.locator("#amount-wrong")).to_contain_text("decimals")
        expect(page.locator("#amount")).to_have_value("1.234")


def test_russians_type_a_decimal_comma(console: Console) -> None:
    user_id = console.user(f"запятая {uuid4()}")
    with console.open_page(locale="ru-RU") as page:
        page.goto(f"/console/users/{user_id}/post?type=DEPOSIT")
        page.fill("#amount", "1 234,5")
        page.get_by_role("button", name="Продолжить").click()
        page.get_by_role("button", name=re.compile("Пополнить на 1.234,50")).click()
        expect(page.locator("#result")).to_contain_text("проведено")
        assert console.balance(user_id) == "1234.50"


def test_admins_make_replace_and_revoke_keys(console: Console) -> None:
    name = f"shop {uuid4()}"
    with console.open_page() as page:
        page.on("dialog", lambda dialog: dialog.accept())
        page.goto("/console/keys")
        page.fill("#name", name)
        page.get_by_role("button", name="Create").click()
        expect(page.locator(".wrong")).to_contain_text("Scopes")
        page.check("input[name=read]")
        page.fill("#users", "1, 2")
        page.get_by_role("button", name="Create").click()
        secret = page.locator("#secret").inner_text()
        assert console.api.get(
            "/v1/user/1", headers={"authorization": f"Bearer {secret}"}
        ).is_success
        row = page.locator("tr", has_text=name)
        row.get_by_role("button", name="Rotate").click()
        expect(page.locator("#secret")).not_to_have_text(secret)
        page.locator("tr", has_text=name).last.get_by_role("button", name="Revoke").click()
        expect(page.locator("tr", has_text=name).last).to_contain_text("Revoked")
        page.goto("/console/keys")
        expect(page.locator("#secret")).to_have_count(0)


def test_admins_make_switch_and_delete_webhooks(console: Console) -> None:
    url = f"https://example.com/{uuid4()}"
    with console.open_page() as page:
        page.on("dialog", lambda dialog: dialog.accept())
        page.goto("/console/webhooks")
        page.fill("#url", url)
        page.get_by_label("saldo.transaction.posted").check()
        page.get_by_role("button", name="Create").click()
        expect(page.locator("#secret")).to_contain_text("whsec_")
        page.get_by_role("link", name=url).click()
        page.get_by_role("button", name="Disable").click()
        expect(page.locator(".mark").first).to_have_text("Disabled")
        page.get_by_role("button", name="Enable").click()
        expect(page.locator(".mark").first).to_have_text("Enabled")
        page.get_by_role("button", name="Delete").click()
        expect(page.get_by_role("link", name=url)).to_have_count(0)


def test_overview_updates_by_itself(console: Console) -> None:
    user_id = console.user(f"big {uuid4()}")
    with console.open_page() as page:
        page.goto("/console/overview")
        console.post(user_id, "777777.77")
        expect(page.locator("#largest")).to_contain_text("+777,777.77", timeout=20_000)
        expect(page.locator("#series [data-lines]").first).to_have_attribute(
            "data-points", re.compile("[1-9]"), timeout=20_000
        )
        page.get_by_text("Show as a table").click()
        expect(page.locator("#series-rows tr").first).to_be_visible()
