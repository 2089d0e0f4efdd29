"""The site itself: built without a warning, complete, and usable without the internet."""

from __future__ import annotations

import functools
import http.server
import re
import shutil
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import sync_playwright

from harness import chromium
from harness.prerequisites import skip_or_fail
from saldo.cli.command_table import COMMANDS
from saldo.settings.model import Settings
from saldo.settings.sections.commands import CommandSettings
from website.__main__ import CONFIGURATION, build
from website.generated import PAGES
from website.pages import ROOT, PagesError, assemble, rewrite_links

DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def build_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("website") / "built"
    assert build(output) == 0
    return output


@pytest.mark.parametrize("name", sorted(PAGES))
def test_generated_pages_are_up_to_date(name: str) -> None:
    assert (DOCS / name).read_text(encoding="utf-8") == PAGES[name](), "make docs makes it anew"


def test_every_command_and_setting_is_documented() -> None:
    commands = (DOCS / "reference/commands.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^## `saldo (\w+)`$", commands, re.MULTILINE)) == set(COMMANDS)
    settings = (DOCS / "reference/settings.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `SALDO_(\w+)`", settings, re.MULTILINE)
    names = [*Settings.model_fields, *CommandSettings.model_fields]
    assert sorted(listed) == sorted(name.upper() for name in names)


def test_every_page_is_in_the_navigation(build_directory: Path) -> None:
    named = set(
        _list_pages(tomllib.loads(CONFIGURATION.read_text(encoding="utf-8"))["project"]["nav"])
    )
    pages = {
        path.relative_to(build_directory / "pages").as_posix()
        for path in build_directory.rglob("pages/**/*.md")
    }
    # The index of decisions links to each decision.
    assert {page for page in pages if not re.match(r"decisions/\d", page)} == named


def _list_pages(contents: Any) -> Iterator[str]:
    if isinstance(contents, str):
        yield contents
    for each in contents.values() if isinstance(contents, dict) else contents:
        if not isinstance(contents, str):
            yield from _list_pages(each)


def test_links_are_rewritten_for_the_site() -> None:
    places = {"docs/howto/a.md": "howto/a.md", "ARCHITECTURE.md": "explanation/architecture.md"}
    led = functools.partial(rewrite_links, source="docs/b.md", place="b.md", places=places)
    assert led("[x](../ARCHITECTURE.md#part)") == "[x](explanation/architecture.md#part)\n"
    assert led("[Makefile](../Makefile)") == "`Makefile`\n"
    assert led("[the target](../Makefile)") == "the target (`Makefile`)\n"
    assert led("[x](https://example.com) [y](#part)") == "[x](https://example.com) [y](#part)\n"
    assert led("```sh\n[x](nowhere)\n```") == "```sh\n[x](nowhere)\n```\n"
    with pytest.raises(PagesError, match=r"docs/b\.md: a link leads to nowhere\.md"):
        led("[x](nowhere.md)")


def test_link_to_a_missing_heading_fails_the_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def assemble_with_broken_link(directory: Path) -> None:
        assemble(directory)
        with (directory / "index.md").open("a") as page:
            page.write("\n[nowhere](tutorial.md#nowhere)\n")

    monkeypatch.setattr("website.__main__.assemble", assemble_with_broken_link)
    assert build(tmp_path / "built") != 0


def test_site_and_search_work_offline(build_directory: Path) -> None:
    program = chromium.find()
    if program is None:
        skip_or_fail("chromium", "no chromium (Debian: package chromium)")
    shutil.copytree(build_directory / "site", build_directory / "served", dirs_exist_ok=True)
    handler = functools.partial(_Quiet, directory=str(build_directory / "served"))
    with (
        http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server,
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=program, args=["--no-sandbox"]) as browser,
    ):
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        page = browser.new_page()
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        for path in sorted((build_directory / "site").rglob("*.html")):
            if path.name != "404.html":  # it serves any address, and names its files from the root
                page.goto(f"{url}/{path.relative_to(build_directory / 'site').as_posix()}")
        # Keys typed before the page's script listens are lost, so the test waits for the field.
        page.locator(".md-search__button").click()
        page.get_by_role("combobox").fill("horizon")
        page.get_by_text("How is the balance at a date found?").first.wait_for()
        server.shutdown()
    elsewhere = [each for each in asked if not each.startswith((url, "data:", "blob:"))]
    assert (elsewhere, errors) == ([], [])


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass
