"""The recipes, run word for word against one service, with the output that their pages print."""

from __future__ import annotations

import http.server
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from harness.prerequisites import find_program, skip_or_fail
from harness.program.environment import copy_environment
from harness.program.service import run_service_process
from tests.website.recipes import (
    DIRECTORY,
    LANGUAGES,
    PAGES,
    SECONDS_MAX,
    find_repeated_languages,
    normalize,
    read_blocks,
    replace_urls,
    run_blocks,
)

KEY_SECONDS_MAX = 30


class PreparedService(NamedTuple):
    """A service, and a directory that is prepared as the index of the recipes describes."""

    url: str
    directory: Path
    environment: dict[str, str]


@pytest.fixture(scope="module")
def prepared_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PreparedService]:
    for program in ("curl", "jq", "node"):
        if find_program(program, program) is None:
            skip_or_fail(program, f"{program} is not installed, and the recipes use it")
    directory = tmp_path_factory.mktemp("recipes")
    key, python, script, same = read_blocks("README")
    environment = copy_environment() | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "TZ": "UTC",
    }
    with run_service_process(directory) as running:
        for module, block in (("ledger.py", python), ("ledger.mjs", script)):
            (directory / module).write_text(replace_urls(block.code, running.url), "utf-8")
        # A reader runs all recipes in the shell of this block, so they see the variables that it exports.
        exported = key._replace(code=f"{key.code}env --null >exported\n")
        run_blocks("README", [exported], directory, environment, running.url)
        variables = (directory / "exported").read_text("utf-8").split("\0")
        environment |= dict(each.split("=", 1) for each in variables if each.startswith("SALDO_"))
        _wait_for_key(running.url, environment["SALDO_KEY"])
        (output,) = run_blocks("README", [same], directory, environment, running.url)
        assert same.output is not None
        assert normalize(output) == normalize(same.output)
        yield PreparedService(running.url, directory, environment)


def _wait_for_key(url: str, key: str) -> None:
    """Wait until the service has loaded the key that a command has created."""
    deadline = time.monotonic() + KEY_SECONDS_MAX
    headers = {"Authorization": f"Bearer {key}"}
    while httpx.get(f"{url}/v1/user", headers=headers).status_code != 200:
        assert time.monotonic() < deadline, "the service does not accept the new key"


@pytest.mark.parametrize("page", PAGES)
def test_code_of_a_recipe_prints_what_the_page_shows(
    page: str, prepared_service: PreparedService
) -> None:
    blocks = read_blocks(page)
    service = prepared_service
    outputs = run_blocks(page, blocks, service.directory, service.environment, service.url)
    for block, output in zip(blocks, outputs, strict=True):
        assert normalize(output) == normalize(block.output or ""), block.code


@pytest.mark.parametrize("page", PAGES)
def test_each_recipe_has_all_languages(page: str) -> None:
    blocks = read_blocks(page)
    assert {block.language for block in blocks} == set(LANGUAGES)
    assert find_repeated_languages(blocks) == []


def test_javascript_does_not_rely_on_the_order_of_the_addresses_of_localhost() -> None:
    # Node.js 18, the version of Debian 12, tries only the first address, which is ::1 there.
    blocks = [
        (path.name, block)
        for path in sorted(DIRECTORY.parent.rglob("*.md"))
        for block in re.findall(r"```js\n(.*?)```\n", path.read_text("utf-8"), re.DOTALL)
    ]
    assert len(blocks) > len(PAGES)
    assert [name for name, block in blocks if "//localhost" in block] == []


@pytest.mark.parametrize("page", PAGES)
def test_recipes_do_not_use_the_users_of_the_quick_start_and_the_tutorial(page: str) -> None:
    # The printed balances would differ for readers who continue in the same ledger.
    names = re.compile(r"customer-\d+")
    earlier = {
        name
        for path in ("README.md", "docs/tutorial.md")
        for name in names.findall((DIRECTORY.parents[1] / path).read_text("utf-8"))
    }
    used = {name for block in read_blocks(page) for name in names.findall(block.code)}
    assert not used & earlier


def test_index_lists_every_recipe() -> None:
    listed = re.findall(r"\]\(([\w-]+)\.md\)", (DIRECTORY / "README.md").read_text("utf-8"))
    assert sorted(listed) == PAGES


def test_only_random_uuids_and_ids_are_replaced() -> None:
    text = (
        '{"uuid":"df80e9b0-055d-5007-b707-878f7e00a98a","user_id":12,"balance":"1.00"}\n\n'
        "11111111-1111-4111-8111-111111111111 at 2026-11-30T17:06:53.205511+00:00\n"
    )

    assert normalize(text) == [
        '{"uuid":"df80e9b0-055d-5007-b707-878f7e00a98a","user_id":ID,"balance":"1.00"}',
        "UUID at TIME",
    ]


LOST = (0, "")
"""A connection that is closed without a response."""

REFUSED = (402, "insufficient_funds")
RETRIED_CASES = [
    # The responses to the attempts, and the outcome that `call` returns or throws.
    ([(503, "overloaded"), (200, "")], "done"),
    ([LOST, (502, "<html>"), (200, "")], "done"),
    ([REFUSED], "insufficient_funds"),
    ([LOST, REFUSED], "insufficient_funds"),
    ([LOST, (402, "insufficient_funds in an array")], "insufficient_funds unknown"),
    ([(503, "overloaded"), (402, "insufficient_funds in an array")], "insufficient_funds"),
    ([(503, "outcome_unknown"), (404, "user_not_found")], "user_not_found unknown"),
    ([(429, "too_many_requests"), (404, "user_not_found")], "user_not_found"),
    ([LOST, (409, "uuid_conflict")], "uuid_conflict"),
    ([LOST, (409, "name_taken")], "name_taken"),
    ([(500, "internal"), (401, "unauthenticated")], "unauthenticated unknown"),
    ([(503, "overloaded")] * 9, "overloaded"),
    ([LOST] * 9, "undefined unknown"),
]


def test_javascript_retries_until_the_outcome_is_certain(tmp_path: Path) -> None:
    node = find_program("node", "node")
    if node is None:
        skip_or_fail("node", "node is not installed, and the recipes use it")
    (tmp_path / "cases.mjs").write_text(
        'import { call } from "./ledger.mjs";\n'
        f"for (let number = 0; number < {len(RETRIED_CASES)}; number++) {{\n"
        f"  const seconds = {[len(responses) for responses, _ in RETRIED_CASES]}[number] < 9 ? 60 : 1;\n"
        '  const outcome = await call("POST", `/${number}`, {}, { seconds }).then(\n'
        '    () => "done", ({ code, unknown }) => `${code}${unknown ? " unknown" : ""}`);\n'
        "  console.log(outcome);\n"
        "}\n",
        "utf-8",
    )
    _, _, script, _ = read_blocks("README")
    with _serve_cases() as url:
        (tmp_path / "ledger.mjs").write_text(replace_urls(script.code, url), "utf-8")
        done = subprocess.run(
            [node, "cases.mjs"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
            timeout=SECONDS_MAX,
        )
    assert done.stdout.splitlines() == [outcome for _, outcome in RETRIED_CASES]


@contextmanager
def _serve_cases() -> Iterator[str]:
    """Yield the URL of a server whose path `/3`, for example, responds to each attempt as the case 3 says."""
    remaining = [[*responses] for responses, _ in RETRIED_CASES]

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            status, text = remaining[int(self.path[1:])].pop(0)
            if status == 0:
                self.close_connection = True
                return
            code, separator, _ = text.partition(" in an array")
            problem = {"code": code} | ({"item": 0} if separator else {})
            body = (text if text.startswith("<") else json.dumps(problem)).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
