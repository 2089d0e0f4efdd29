"""Signing in and out, search for users, the chart and live updates, as users do them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import httpx
from playwright.sync_api import expect

from tests.browser.conftest import ADMIN_KEY, Console, sign_in, wait_for_points


def test_signing_in_and_out(console: Console) -> None:
    with console.open_page(key=None) as page:
        page.goto("/console/keys")
        expect(page).to_have_url(re.compile("/console/sign-in"))
        page.fill("#key", "saldo_wrong")
        page.click("button.primary")
        expect(page.get_by_role("alert")).to_contain_text("cannot be used to sign in")
        expect(page.locator("#key")).to_have_attribute("aria-invalid", "true")
        page.fill("#key", ADMIN_KEY)
        page.click("button.primary")
        expect(page).to_have_url(re.compile("/console/keys"))
        assert page.evaluate("document.cookie") == ""
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("status").first).to_contain_text("signed out")
        page.goto("/console/users")
        expect(page).to_have_url(re.compile("/console/sign-in"))


def test_finding_a_user_while_typing(console: Console) -> None:
    with console.open_page() as page:
        page.goto("/console/users")
        rows = page.locator("#found tbody tr")
        expect(rows).to_have_count(len(console.users))
        page.locator("#q").press_sequentially("кли")
        expect(rows).to_have_count(1)
        expect(rows).to_contain_text("клиент-2086")
        page.fill("#q", "nobody at all")
        expect(page.locator("#found")).to_contain_text("No user name starts with this text")
        page.fill("#finder", "shop'")
        page.press("#finder", "Enter")
        expect(page.locator("h1")).to_have_text("shop's-3350")


def test_read_key_of_one_user_sees_only_that_user_and_posts_nothing(console: Console) -> None:
    own = console.users["user-7341"]
    key = console.key("read", user_ids=[own])
    with console.open_page(key=key["key"]) as page:
        page.goto("/console/users")
        expect(page.locator("#found tbody tr")).to_have_count(1)
        expect(page.get_by_role("link", name="Keys")).to_have_count(0)
        expect(page.get_by_role("link", name="Overview")).to_have_count(0)
        page.goto(f"/console/users/{own}")
        expect(page.get_by_role("link", name="Deposit", exact=True)).to_have_count(0)
        page.goto(f"/console/users/{console.users['user-6127']}")
        expect(page.get_by_role("alert")).to_contain_text("has no access to this user")


def test_a_revoked_key_is_signed_out(console: Console) -> None:
    key = console.key("read")
    with console.open_page(key=key["key"]) as page:
        page.goto("/console/users")
        console.api.delete(f"/v1/key/{key['id']}")
        page.reload()
        expect(page).to_have_url(re.compile("/console/sign-in"))


def test_the_balance_at_a_date(console: Console) -> None:
    user_id = console.users["user-7341"]
    with console.open_page(timezone_id="Europe/Berlin") as page:
        page.goto(f"/console/users/{user_id}")
        moment = (datetime.now(UTC) - timedelta(days=35)).replace(microsecond=0)
        page.fill("#date", moment.strftime("%Y-%m-%dT%H:%M:%S"))
        page.click("#at-date button")
        asked = console.api.get(
            f"/v1/user/{user_id}/balance", params={"date": moment.isoformat()}
        ).json()
        expect(page.locator("#balance-then")).to_have_text(f"{float(asked['balance']):,.2f}")


def test_the_chart_is_drawn_and_zoomed_by_mouse_and_keyboard(console: Console) -> None:
    with console.open_page() as page:
        page.goto(f"/console/users/{console.users['user-7341']}")
        wait_for_points(page, 50)
        chart = page.locator("#chart")
        painted = """() => {
            const canvas = document.querySelector("#chart canvas");
            const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
            return data.some((value) => value > 0);
        }"""
        assert page.evaluate(painted)
        whole = float(chart.get_attribute("data-from") or 0)
        box = page.locator("#chart .u-over").bounding_box()
        assert box is not None
        middle = box["y"] + box["height"] / 2
        page.mouse.move(box["x"] + box["width"] * 0.4, middle)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * 0.6, middle, steps=5)
        with page.expect_response(re.compile("/chart\\?from=")):
            page.mouse.up()
        page.wait_for_function(
            "from => Number(document.getElementById('chart').dataset.from) > from", arg=whole
        )
        zoomed = float(chart.get_attribute("data-from") or 0)
        chart.focus()
        with page.expect_response(re.compile("/chart\\?from=")):
            chart.press("ArrowLeft")
        page.wait_for_function(
            "from => Number(document.getElementById('chart').dataset.from) < from", arg=zoomed
        )
        with page.expect_response(re.compile("/chart$")):
            chart.press("0")
        page.get_by_text("Show as a table").click()
        expect(page.locator("#chart-rows tr").first).to_be_visible()


def test_filters_refusals_and_late_entries(console: Console) -> None:
    user_id = console.users["société-4402"]
    with console.open_page() as page:
        page.goto(f"/console/users/{user_id}")
        rows = page.locator("#rows tbody tr")
        expect(rows.nth(1)).to_contain_text("Refused: insufficient funds")
        expect(rows.nth(2)).to_contain_text("Late")
        page.get_by_role("link", name="Older").click()
        expect(page.get_by_role("link", name="Newest")).to_be_visible()
        page.select_option("#outcome", "refused")
        page.click(".filters button")
        expect(rows.first).to_contain_text("Refused")
        assert "from=" not in page.url
        assert all("Refused" in text for text in rows.all_inner_texts())
        page.get_by_role("link", name="Clear").click()
        page.select_option("#type", "WITHDRAW")
        page.click(".filters button")
        assert all("Withdrawal" in text for text in rows.all_inner_texts())


def test_new_transactions_appear_without_reloading(console: Console) -> None:
    user_id = console.user(f"live {uuid4()}")
    with console.open_page() as page:
        page.goto(f"/console/users/{user_id}")
        expect(page.locator(".live")).to_have_attribute("data-state", "on")
        expect(page.locator("#balance-now")).to_have_text("0.00")
        page.fill("#date", "2026-01-01T00:00:01")
        console.post(user_id, "42.50")
        expect(page.locator("#balance-now")).to_have_text("42.50")
        expect(page.locator("#rows tbody tr")).to_have_count(1)
        expect(page.locator("#said")).to_have_text("The balance is now 42.50.")
        expect(page.locator("#date")).to_have_value("2026-01-01T00:00:01")
        wait_for_points(page)


def test_balance_at_a_date_is_updated_live(console: Console) -> None:
    user_id = console.user(f"late {uuid4()}")
    moment = (datetime.now(UTC) - timedelta(days=2)).isoformat()
    console.post(user_id, "5.00", timestamp=moment)
    with console.open_page() as page:
        page.goto(f"/console/users/{user_id}?outcome=posted")
        expect(page.locator(".live")).to_have_attribute("data-state", "on")
        page.fill("#date", (datetime.now(UTC) - timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%S"))
        page.click("#at-date button")
        expect(page.locator("#balance-then")).to_have_text("5.00")
        console.post(user_id, "2.00", timestamp=moment)
        expect(page.locator("#balance-then")).to_have_text("7.00")
        # The table still shows the same date.
        console.post(user_id, "-100.00")
        console.post(user_id, "1.00")
        expect(page.locator("#balance-now")).to_have_text("8.00")
        expect(page.locator("#rows tbody tr")).to_have_count(3)
        assert "outcome=posted" in page.url and "date=" in page.url


def test_live_update_keeps_the_focus_on_a_link(console: Console) -> None:
    user_id = console.user(f"focus {uuid4()}")
    first = console.post(user_id, "1.00")
    with console.open_page() as page:
        page.goto(f"/console/users/{user_id}")
        expect(page.locator(".live")).to_have_attribute("data-state", "on")
        link = page.locator(f"#rows a[href$='{first['uuid']}']")
        link.focus()
        console.post(user_id, "2.00")
        expect(page.locator("#rows tbody tr")).to_have_count(2)
        expect(link).to_be_focused()


def test_broken_stream_shows_a_message_and_reconnects(console: Console) -> None:
    user_id = console.user(f"broken {uuid4()}")
    with console.open_page() as page:
        page.route("**/console/live*", lambda route: route.fulfill(status=503, body=""))
        page.goto(f"/console/users/{user_id}")
        expect(page.locator(".live")).to_have_text("Connection lost. Reconnecting…")
        page.unroute("**/console/live*")
        expect(page.locator(".live")).to_have_text("Live", timeout=15_000)


def test_proof_equals_that_of_the_api(console: Console) -> None:
    posted = console.post(console.users["user-6127"], "5.00")
    with console.open_page() as page:
        mark = page.locator("section[aria-labelledby=proof-title] .mark")
        for _ in range(20):
            page.goto(f"/console/transactions/{posted['uuid']}")
            if mark.count():
                break
            page.wait_for_timeout(250)
        expect(mark).to_have_text("Sealed")
        with page.expect_download() as download:
            page.get_by_role("link", name="Download the proof").click()
        kept = download.value.path().read_bytes()
    assert kept == console.api.get(f"/v1/proof/{posted['uuid']}").content


def test_pages_work_without_javascript_except_charts(console: Console) -> None:
    user_id = console.users["user-7341"]
    with console.open_page(java_script_enabled=False) as page:
        page.goto("/console/users")
        page.fill("#q", "user-6")
        page.press("#q", "Enter")
        expect(page.locator("h1")).to_have_text("user-6127")
        page.goto(f"/console/users/{user_id}?date=2026-01-01T00:00:00")
        expect(page.locator("#balance-then")).to_have_text("0.00")


def test_a_link_from_elsewhere_leads_to_the_page_and_signs_nobody_out(console: Console) -> None:
    with console.open_page() as page:
        page.goto("about:blank")
        page.set_content(
            f'<a href="{console.url}/console/users/{console.users["user-7341"]}">mail</a>'
        )
        page.click("a")
        expect(page.locator("h1")).to_have_text("user-7341")
        page.goto("/console/users")
        expect(page.locator("h1")).to_have_text("Users")


def test_page_from_before_another_sign_in_is_rejected(console: Console) -> None:
    """Check that a form from before another sign-in is rejected, and is not posted in the new session."""
    user_id = console.users["user-7341"]
    with console.open_page() as page:
        page.goto(f"/console/users/{user_id}/confirm?uuid={uuid4()}&type=DEPOSIT&amount=1.00")
        other = page.context.new_page()
        other.goto("/console/users")
        other.get_by_role("button", name="Sign out").click()
        sign_in(other, ADMIN_KEY)
        before = console.balance(user_id)
        page.click("#confirm")
        expect(page.get_by_role("alert")).to_contain_text("before you signed in")
        assert console.balance(user_id) == before


def test_console_redirects_to_the_sign_in_page(console: Console) -> None:
    assert httpx.get(f"{console.url}/console").headers["location"].startswith("/console/sign-in")
