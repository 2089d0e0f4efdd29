"""Makes the example calls of the API reference: `python -m tests.website.api_examples` records the responses."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
import time
from pathlib import Path

import httpx

from harness.program.service import run_service_process
from website.api_examples import BASE_URL, CALLS, FAULTY_CALL, PROBLEM, RESPONSES, ExampleCall

ADMIN_KEY = "an-example-key-of-the-operator-0123456789"
HTTP_ERROR_EXIT_CODE = 22
"""The exit code of curl for a status of 400 or more."""
SEALED_SECONDS_MAX = 60
METRIC = "saldo_http_requests_total"
METRICS_LINES = 4

_SECRET = re.compile(r"\b(whsec_|saldo_)[A-Za-z0-9_/+=-]{40,}")


def make_calls(directory: Path) -> dict[str, str]:
    """Start a service on a new ledger, make all calls in order, and return the text of each response."""
    with run_service_process(directory, SALDO_ADMIN_KEY=ADMIN_KEY) as service:
        responses = {}
        for call in CALLS:
            if call.operation == "GET /v1/proof/{uuid}":
                _wait_until_sealed(f"{service.url}{call.target}")
            responses[call.operation] = _make_call(call, service.url)
        responses[PROBLEM] = _make_call(FAULTY_CALL, service.url, exit_code=HTTP_ERROR_EXIT_CODE)
    return responses


def _make_call(call: ExampleCall, url: str, *, exit_code: int = 0) -> str:
    command = call.format_curl().replace(BASE_URL, url)
    environment = os.environ | {"SALDO_KEY": ADMIN_KEY}
    if not call.is_stream:
        command = command.replace("curl ", "curl --silent --show-error --fail-with-body ", 1)
        done = subprocess.run(
            ["bash", "-c", command], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == exit_code, f"{command}\n{done.stdout}{done.stderr}"
        if call.operation == "GET /metrics":
            samples = [line for line in done.stdout.splitlines() if METRIC in line]
            return "\n".join(["…", *samples[:METRICS_LINES], "…"])
        return _SECRET.sub(r"\1…", done.stdout.strip("\n"))
    with subprocess.Popen(
        ["bash", "-c", f"exec {command} --silent"],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        lines: list[str] = []
        # The response is shown up to the first event, whose frame ends with an empty line.
        while not any(line.startswith("data:") for line in lines):
            lines.append(process.stdout.readline())
            assert lines[-1], lines
        process.terminate()
    return "".join(lines).strip("\n")


def _wait_until_sealed(url: str) -> None:
    deadline = time.monotonic() + SEALED_SECONDS_MAX
    with httpx.Client(headers={"Authorization": f"Bearer {ADMIN_KEY}"}) as client:
        while client.get(url).status_code != httpx.codes.OK:
            assert time.monotonic() < deadline, "the transaction was not sealed"
            time.sleep(0.05)  # there is no event for a seal


def main() -> None:
    """Record the responses."""
    with tempfile.TemporaryDirectory() as directory:
        responses = make_calls(Path(directory))
    RESPONSES.write_text(json.dumps(responses, indent=2, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
