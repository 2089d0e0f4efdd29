"""Charts: live updates, ranges, and the visibility of their content."""

from __future__ import annotations

import re
from uuid import uuid4

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Console, wait_for_points


def edges(page: Page) -> tuple[float, float]:
    chart = page.locator("#chart")
    found = [float(chart.get_attribute(name) or 0) for name in ("data-from", "data-to")]
    return found[0], found[1]


@pytest.mark.parametrize("button", ["24 h", "1 year"])
def test_range_up_to_now_keeps_following_now(console: Console, button: str) -> None:
    user_id = console.user(f"range {uuid4()}")
    console.post(user_id, "1.00")
    with console.open_page() as page:
        page.goto(f"/console/users/{user_id}")
        wait_for_points(page)
        expect(page.locator(".live")).to_have_attribute("data-state", "on")
        with page.expect_response(re.compile("/chart\\?from=")):
            page.get_by_role("button", name=button, exact=True).click()
        console.post(user_id, "2.00")
        expect(page.locator("#chart-rows tr").first.locator("td").last).to_have_text("3.00")
        expect(page.get_by_role("button", name=button, exact=True)).to_have_attribute(
            "aria-pressed", "true"
        )


def test_zooming_faster_than_the_answers_loses_no_zoom(console: Console) -> None:
    with console.open_page() as page:
        page.goto(f"/console/users/{console.users['user-7341']}")
        wait_for_points(page, 50)
        before = edges(page)
        page.evaluate(
            """() => ["+", "+", "+"].forEach((key) =>
                document.getElementById("chart").dispatchEvent(new KeyboardEvent("keydown", { key })))"""
        )
        page.wait_for_function(
            "to => Number(document.getElementById('chart').dataset.to) < to", arg=before[1]
        )
        after = edges(page)
        assert (after[1] - after[0]) * 8 == pytest.approx(before[1] - before[0], rel=0.01)


def test_future_range_does_not_claim_that_the_balance_never_changed(console: Console) -> None:
    with console.open_page() as page:
        page.goto(f"/console/users/{console.users['user-7341']}")
        wait_for_points(page, 50)
        chart = page.locator("#chart")
        for _ in range(5):
            chart.press("ArrowRight")
        expect(page.locator("#chart .chart-state")).to_have_text(
            "This period is in the future: there is no data yet."
        )
        empty = console.user(f"empty {uuid4()}")
        page.goto(f"/console/users/{empty}")
        expect(page.locator("#chart .chart-state")).to_contain_text("has never changed")


def test_sparse_traffic_shows_each_moment(console: Console) -> None:
    times = [1_790_000_000 + 5 * number for number in range(40)]
    nothing: list[float | None] = [None] * 40
    zero = [0.0] * 40
    one = [None] * 20 + [7.0] + [None] * 19
    series = {"posted": zero, "refused": zero, "replayed": zero, "queue": zero, "p99": nothing}
    painted = """() => {
        const canvas = document.querySelector("[data-lines='p50 p99'] canvas");
        const wanted = getComputedStyle(document.documentElement).getPropertyValue("--chart-1").trim();
        const own = document.createElement("canvas").getContext("2d");
        own.fillStyle = wanted;
        own.fillRect(0, 0, 1, 1);
        const [r, g, b] = own.getImageData(0, 0, 1, 1).data;
        const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        const near = (at) => [r, g, b].every((part, index) => Math.abs(data[at + index] - part) < 6);
        for (let at = 0; at < data.length; at += 4) if (data[at + 3] > 200 && near(at)) return true;
        return false;
    }"""
    with console.open_page() as page:
        page.route(
            "**/overview/series",
            lambda route: route.fulfill(json={"times": times, "p50": one, **series}),
        )
        page.goto("/console/overview")
        expect(page.locator("[data-lines='p50 p99']")).to_have_attribute("data-points", "40")
        page.wait_for_function(painted)
