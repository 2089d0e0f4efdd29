"""`make fuzz`: all fuzzers in turn, until the time is over or something is found.

SALDO_FUZZ_SECONDS: the duration; 0: until it is stopped. SALDO_FUZZ_SEED: a printed seed, to repeat its run.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from harness.program.service import ServiceProcess, run_service_process
from tests.fuzz import aftermath, harnesses, openapi
from tests.fuzz.mutations import FaultError, Mutations

SECONDS_DEFAULT: Final = 600

ROUND_SECONDS_MAX: Final = 300
"""Longest duration of a round, in seconds; each round has a service of its own and a part for each fuzzer."""

OPENAPI_PART, MUTATIONS_PART = 0.4, 0.3
"""Parts of a round; the harnesses share the rest."""

KEY: Final = "a-key-of-the-fuzzers-own-0123456789abcdef"
HEADERS: Final = (("Authorization", f"Bearer {KEY}"),)

SETTINGS: Final = {
    # Without it, the first key that a fuzzer creates would lock out all requests.
    "SALDO_ADMIN_KEY": KEY,
    # The URLs that fuzzers give to webhooks may exist.
    "SALDO_RELAY_ENABLED": "false",
    "SALDO_WEBHOOKS_ENABLED": "false",
    "SALDO_LOG_FORMAT": "json",
}


def main() -> int:
    """Run the fuzzers and return the exit code, which is 1 if something was found."""
    seconds = float(os.environ.get("SALDO_FUZZ_SECONDS", SECONDS_DEFAULT))
    seed = int(os.environ.get("SALDO_FUZZ_SEED", secrets.randbelow(2**31)))
    print(f"fuzzing with SALDO_FUZZ_SEED={seed}", flush=True)
    ends_at = time.monotonic() + seconds if seconds else float("inf")
    fuzzing = Fuzzing()
    try:
        while not fuzzing.found and (left := ends_at - time.monotonic()) > 0:
            fuzzing.round(min(left, ROUND_SECONDS_MAX), seed)
            seed += 1
    except KeyboardInterrupt:
        print("stopped")
    print(
        f"{fuzzing.requests:,} requests and {fuzzing.inputs:,} inputs of parsers: "
        f"{'something was found, see above' if fuzzing.found else 'nothing was found'}"
    )
    return int(fuzzing.found)


class Fuzzing:
    """Rounds, and their results.

    Attributes:
        requests: answered by the services, by their own count.
        inputs: given to parsers.
    """

    def __init__(self) -> None:
        self.requests = 0
        self.inputs = 0
        self.found = False

    def round(self, seconds: float, seed: int) -> None:
        """Run one round: one service, each fuzzer once."""
        with (
            tempfile.TemporaryDirectory(prefix="saldo-fuzz-") as directory,
            run_service_process(Path(directory), **SETTINGS) as running,
        ):
            self._fuzz(running, seconds, seed)
        harness_seconds = seconds * (1 - OPENAPI_PART - MUTATIONS_PART) / len(harnesses.NAMES)
        for name in harnesses.NAMES:
            self._run_harness(name, max(1, round(harness_seconds)), seed)

    def _fuzz(self, running: ServiceProcess, seconds: float, seed: int) -> None:
        report = openapi.run(running.url, seconds * OPENAPI_PART, seed, HEADERS)
        if not report.passed:
            self._tell(report.output)
        headers = tuple((name.encode(), value.encode()) for name, value in HEADERS)
        mutations = Mutations(running.url, seed, headers)
        try:
            asyncio.run(mutations.run(seconds * MUTATIONS_PART))
        except* FaultError as group:
            for fault in group.exceptions:
                self._tell(str(fault))
        counted = aftermath.requests_by_status(running.url, HEADERS)
        self.requests += sum(counted.values())
        for status, count in counted.items():
            if status >= 500:
                self._tell(f"{count} answers were {status}")
        for line in aftermath.errors_logged(running.output()):
            self._tell(line)
        try:
            entries = aftermath.check_ledger(running.url, HEADERS)
        except AssertionError as error:
            self._tell(f"the ledger is not intact: {error}")
            return
        print(
            f"seed {seed}: {report.cases:,} requests of the document, {mutations.requests:,} spoilt ones; "
            f"{entries:,} entries are whole",
            flush=True,
        )

    def _run_harness(self, name: str, seconds: int, seed: int) -> None:
        if find_spec("atheris") is None:
            return
        command = [sys.executable, "-m", "tests.fuzz.harnesses", name, f"--seconds={seconds}"]
        done = subprocess.run(
            [*command, f"--seed={seed}"],
            check=False,
            capture_output=True,
            text=True,
            timeout=seconds + 120,
        )
        self.inputs += harnesses.count_executed(done.stderr)
        if done.returncode != 0:
            self._tell(done.stderr)

    def _tell(self, what: str) -> None:
        self.found = True
        print(what, flush=True)


if __name__ == "__main__":
    sys.exit(main())
