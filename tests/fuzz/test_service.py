"""The service under generated and damaged requests, for some seconds in every test run.

Other tests check that the fuzzers can fail.

`make fuzz` runs for longer (CONTRIBUTING.md).
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

from harness.program.service import ServiceProcess, run_service_process
from tests.fuzz import aftermath, harnesses, openapi
from tests.fuzz.__main__ import HEADERS, SETTINGS, Fuzzing, main
from tests.fuzz.mutations import Answer, FaultError, Mutations, RawRequest

OPENAPI_SECONDS = 20
MUTATIONS_SECONDS = 8
SEED = 1

OPERATIONS_MIN = 20

pytestmark = pytest.mark.long

RAW_HEADERS = tuple((name.encode(), value.encode()) for name, value in HEADERS)

EXPECTED = {200, 201, 402, 404, 405, 409, 413, 415, 422}
"""Statuses that must occur; without them the requests were too uniform to prove much."""


@pytest.fixture(scope="module")
def shared_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    with run_service_process(tmp_path_factory.mktemp("fuzz"), **SETTINGS) as process:
        yield process


def test_every_response_matches_the_documentation(shared_service: ServiceProcess) -> None:
    report = openapi.run(shared_service.url, OPENAPI_SECONDS, SEED, HEADERS)
    assert report.passed, report.output
    assert report.operations >= OPERATIONS_MIN
    assert report.cases > 50


async def test_malformed_requests_get_documented_responses(shared_service: ServiceProcess) -> None:
    mutations = Mutations(shared_service.url, SEED, RAW_HEADERS)
    await mutations.run(MUTATIONS_SECONDS)
    assert mutations.requests > 100


def test_service_has_no_errors_and_a_consistent_ledger_afterwards(
    shared_service: ServiceProcess,
) -> None:
    """Check the service after the two tests above."""
    counted = aftermath.requests_by_status(shared_service.url, HEADERS)
    assert [status for status in counted if status >= 500] == []
    assert set(counted) >= EXPECTED
    assert aftermath.errors_logged(shared_service.output()) == []
    assert aftermath.check_ledger(shared_service.url, HEADERS) > 10


def test_make_fuzz_prints_its_seed_and_counts(
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


# --- failing fuzzers ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        (RawRequest("GET", "/v1/user"), Answer(500)),
        (RawRequest("GET", "/v1/user"), Answer(0)),
        (RawRequest("GET", "/v1/user"), Answer(418, body=bytearray(b"{}"))),
        (RawRequest("GET", "/v1/user"), Answer(200, body=bytearray(b'{"items": []}'))),
        (
            RawRequest("GET", "/v1/user"),
            Answer(200, body=bytearray(b'{"items":[],"next_cursor":1}')),
        ),
        (RawRequest("GET", "/nope"), Answer(404, body=bytearray(b"File /app/x.py, line 1"))),
        (RawRequest("GET", "/metrics"), Answer(200, [("server", "nginx")])),
    ],
)
def test_forbidden_answer_is_detected(
    shared_service: ServiceProcess, asked: RawRequest, answer: Answer
) -> None:
    mutations = Mutations(shared_service.url, SEED, RAW_HEADERS)
    headers = [("content-type", "application/json"), *answer.headers]
    with pytest.raises((AssertionError, KeyError)):
        mutations._check(asked, replace(answer, headers=headers))


def test_damaged_requests_vary_and_depend_on_the_seed(
    shared_service: ServiceProcess,
) -> None:
    first, second = (Mutations(shared_service.url, seed, RAW_HEADERS) for seed in (1, 2))
    first._known = second._known
    sent = [first.generate().encode(b"a") for _ in range(300)]
    assert len(set(sent)) > 250
    assert sent != [second.generate().encode(b"a") for _ in range(300)]


class _Wrong(BaseHTTPRequestHandler):
    """A service with one operation, which behaves differently from its document."""

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
def test_service_that_differs_from_its_document_fails(
    shared_service: ServiceProcess, status: int, told: str
) -> None:
    content = httpx.get(f"{shared_service.url}/openapi.json").json()
    with _wrong_service(content, status) as url:
        report = openapi.run(url, 2, SEED, phases="fuzzing")
    assert not report.passed
    assert told in report.output


def test_finding_is_printed_and_ends_the_rounds(
    shared_service: ServiceProcess,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    report = openapi.Report(passed=False, cases=1, operations=1, output="curl that shows it")
    monkeypatch.setattr(openapi, "run", lambda *_: report)
    fuzzing = Fuzzing()
    fuzzing._fuzz(shared_service, 2, SEED)
    assert fuzzing.found
    assert "curl that shows it" in capsys.readouterr().out


def test_fault_message_contains_the_bytes_of_the_request(
    shared_service: ServiceProcess,
) -> None:
    mutations = Mutations(shared_service.url, SEED, RAW_HEADERS)
    fault = mutations._fault("no answer", RawRequest("GET", "/a"), b"GET /a", Answer())
    assert isinstance(fault, FaultError)
    assert "R0VUIC9h" in str(fault)
