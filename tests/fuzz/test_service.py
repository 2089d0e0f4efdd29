"""The service under generated and spoilt requests, for some seconds in every test run; and the fuzzers can fail.

`make fuzz` goes on for as long as wanted (CONTRIBUTING.md).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import httpx
import pytest

from tests.acceptance.service import ServiceProcess, service
from tests.fuzz import aftermath, harnesses, openapi
from tests.fuzz.__main__ import HEADERS, SETTINGS, Fuzzing, main
from tests.fuzz.mutations import Answer, Asked, FaultError, Mutations

OPENAPI_SECONDS = 20
MUTATIONS_SECONDS = 8
SEED = 1

OPERATIONS_MIN = 20

RAW_HEADERS = tuple((name.encode(), value.encode()) for name, value in HEADERS)

EXPECTED = {200, 201, 402, 404, 405, 409, 413, 415, 422}
"""Without these the requests were too dull to show much."""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    with service(tmp_path_factory.mktemp("fuzz"), **SETTINGS) as process:
        yield process


def test_every_answer_is_as_documented(running: ServiceProcess) -> None:
    report = openapi.run(running.url, OPENAPI_SECONDS, SEED, HEADERS)
    assert report.passed, report.output
    assert report.operations >= OPERATIONS_MIN
    assert report.cases > 50


async def test_spoilt_requests_are_answered_as_documented(running: ServiceProcess) -> None:
    mutations = Mutations(running.url, SEED, RAW_HEADERS)
    await mutations.run(MUTATIONS_SECONDS)
    assert mutations.requests > 100


def test_afterwards_nothing_has_failed_and_the_ledger_is_whole(running: ServiceProcess) -> None:
    """After the two above."""
    counted = aftermath.requests_by_status(running.url, HEADERS)
    assert [status for status in counted if status >= 500] == []
    assert set(counted) >= EXPECTED
    assert aftermath.errors_logged(running.output()) == []
    assert aftermath.check_ledger(running.url, HEADERS) > 10


def test_make_fuzz_says_its_seed_and_counts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SALDO_FUZZ_SECONDS", "4")
    monkeypatch.setenv("SALDO_FUZZ_SEED", "7")
    monkeypatch.setattr(harnesses, "NAMES", ("lines",))
    assert main() == 0
    output = capsys.readouterr().out
    assert "SALDO_FUZZ_SEED=7\n" in output
    found = re.search(
        r"^([\d,]+) requests and [\d,]+ inputs .*: nothing was found$", output, re.MULTILINE
    )
    assert found is not None, output
    assert int(found[1].replace(",", "")) > 20


# --- that they can fail ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        (Asked("GET", "/v1/user"), Answer(500)),
        (Asked("GET", "/v1/user"), Answer(0)),
        (Asked("GET", "/v1/user"), Answer(418, body=bytearray(b"{}"))),
        (Asked("GET", "/v1/user"), Answer(200, body=bytearray(b'{"items": []}'))),
        (Asked("GET", "/v1/user"), Answer(200, body=bytearray(b'{"items":[],"next_cursor":1}'))),
        (Asked("GET", "/nope"), Answer(404, body=bytearray(b"File /app/x.py, line 1"))),
        (Asked("GET", "/metrics"), Answer(200, [("server", "nginx")])),
    ],
)
def test_an_answer_that_must_not_be_is_noticed(
    running: ServiceProcess, asked: Asked, answer: Answer
) -> None:
    mutations = Mutations(running.url, SEED, RAW_HEADERS)
    headers = [("content-type", "application/json"), *answer.headers]
    with pytest.raises((AssertionError, KeyError)):
        mutations._check(asked, replace(answer, headers=headers))


def test_what_is_spoilt_is_another_request_each_time_and_the_same_for_a_seed(
    running: ServiceProcess,
) -> None:
    first, second = (Mutations(running.url, seed, RAW_HEADERS) for seed in (1, 2))
    first._known = second._known
    sent = [first.generate().encode(b"a") for _ in range(300)]
    assert len(set(sent)) > 250
    assert sent != [second.generate().encode(b"a") for _ in range(300)]


class _Wrong(BaseHTTPRequestHandler):
    """A service with one operation, which is not as its document says."""

    document: bytes = b""
    status = 200

    def do_GET(self) -> None:
        body, status = b'{"status": 5}', self.status
        if self.path == "/openapi.json":
            body, status = self.document, 200
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def _wrong_service(content: dict[str, Any], status: int) -> Iterator[str]:
    operation = content["paths"]["/healthz/live"]
    document = json.dumps({**content, "paths": {"/healthz/live": operation}}).encode()
    handler = type("Handler", (_Wrong,), {"document": document, "status": status})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "told"),
    [(200, "Response violates schema"), (500, "Server error"), (418, "Undocumented status code")],
)
def test_a_service_that_is_not_as_its_document_says_does_not_pass(
    running: ServiceProcess, status: int, told: str
) -> None:
    content = httpx.get(f"{running.url}/openapi.json").json()
    with _wrong_service(content, status) as url:
        report = openapi.run(url, 2, SEED, phases="fuzzing")
    assert not report.passed
    assert told in report.output


def test_what_was_found_is_told_and_ends_the_rounds(
    running: ServiceProcess, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    report = openapi.Report(passed=False, cases=1, operations=1, output="curl that shows it")
    monkeypatch.setattr(openapi, "run", lambda *_: report)
    fuzzing = Fuzzing()
    fuzzing._fuzz(running, 2, SEED)
    assert fuzzing.found
    assert "curl that shows it" in capsys.readouterr().out


def test_a_spoilt_request_that_gets_no_answer_is_told_with_its_bytes(
    running: ServiceProcess,
) -> None:
    mutations = Mutations(running.url, SEED, RAW_HEADERS)
    fault = mutations._fault("no answer", Asked("GET", "/a"), b"GET /a", Answer())
    assert isinstance(fault, FaultError)
    assert "R0VUIC9h" in str(fault)
