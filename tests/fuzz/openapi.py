"""Schemathesis on a running service: requests and sequences of requests generated from the OpenAPI document.

It runs in a process of its own, as users run it. Its phases use examples, boundary values, random values and sequences
of calls (users are created, posted to, listed page by page), valid and invalid. All its checks are enabled;
tests/fuzz/hooks.py contains what no schema can express.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parents[2]
CONFIGURATION: Final = Path(__file__).with_name("schemathesis.toml")

PHASES: Final = "examples,coverage,fuzzing,stateful"


class Report(NamedTuple):
    """The result of a run.

    Attributes:
        passed: whether no check failed, and no error made it skip anything.
        cases: number of generated requests.
        operations: number of operations of the document that were called.
        output: text for people; for a failure, it contains a curl command that repeats it.
    """

    passed: bool
    cases: int
    operations: int
    output: str


def run(
    url: str,
    seconds: float,
    seed: int,
    headers: tuple[tuple[str, str], ...] = (),
    phases: str = PHASES,
) -> Report:
    """Run Schemathesis until the time is over.

    Args:
        headers: headers of every request, such as a key.
    """
    command = [
        str(Path(sys.executable).with_name("schemathesis")),
        *("--config-file", str(CONFIGURATION), "--no-color"),
        *("run", f"{url}/openapi.json", "--phases", phases, "--continue-on-failure"),
        *("--max-time", str(max(1, round(seconds))), "--seed", str(seed)),
    ]
    for name, value in headers:
        command += ["--header", f"{name}: {value}"]
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {
        **os.environ,
        "SCHEMATHESIS_HOOKS": "tests.fuzz.hooks",
        "PYTHONPATH": os.pathsep.join(paths),
    }
    done = subprocess.run(
        command,
        check=False,
        env=environment,
        capture_output=True,
        text=True,
        timeout=seconds * 3 + 120,
    )
    output = done.stdout + done.stderr
    return Report(
        passed=done.returncode == 0,
        cases=_number(r"(\d+) generated", output),
        operations=_number(r"Tested: (\d+)", output),
        output=output,
    )


def _number(pattern: str, output: str) -> int:
    found = re.search(pattern, output)
    return int(found[1]) if found else 0
