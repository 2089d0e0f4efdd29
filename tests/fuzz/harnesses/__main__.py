"""Run one harness in a process of its own, guided by coverage: ``python -m tests.fuzz.harnesses NAME``.

The separate process has two reasons: the code must be instrumented when it is imported, and libFuzzer ends the process
when its time is over or a property doesn't hold. In the latter case it prints the command that repeats the failure.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from base64 import urlsafe_b64decode, urlsafe_b64encode
from pathlib import Path

from tests.fuzz import harnesses

LENGTH_MAX = 400
"""Longest input, in bytes: the parsers read short texts, and short inputs are found sooner."""


def main() -> None:
    """Run the command."""
    options = argparse.ArgumentParser(description="Runs one harness.")
    options.add_argument("name", help=f"one of {', '.join(harnesses.NAMES)}")
    options.add_argument("--seconds", type=int, default=10, help="0: until it is stopped")
    options.add_argument("--inputs", type=int, default=-1, help="-1: as many as there is time for")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--again", help="an input that failed, as it was printed")
    given = options.parse_args()
    if given.again is not None:
        harnesses.check_of(given.name)(urlsafe_b64decode(given.again))
        return
    _fuzz(given.name, given.seconds, given.inputs, given.seed)


def _fuzz(name: str, seconds: int, inputs: int, seed: int) -> None:
    try:
        import atheris
    except ImportError:
        sys.exit(
            "saldo: atheris is not installed: it has wheels for Linux on x86-64, Python 3.11 to 3.13"
        )
    with atheris.instrument_imports(include=["saldo"]):
        check = harnesses.check_of(name)

    def run(data: bytes) -> None:
        try:
            check(data)
        except BaseException:
            again = urlsafe_b64encode(data).decode()
            print(f"saldo: the harness {name} fails with {data!r}. Again:", file=sys.stderr)
            print(f"  python -m tests.fuzz.harnesses {name} --again={again}", file=sys.stderr)
            raise

    with tempfile.TemporaryDirectory(prefix="saldo-fuzz-") as corpus:
        for number, data in enumerate(harnesses.seeds_of(name)):
            (Path(corpus) / str(number)).write_bytes(data)
        atheris.Setup(
            [
                sys.argv[0],
                corpus,
                f"-max_total_time={seconds}",
                f"-runs={inputs}",
                f"-seed={seed}",
                f"-max_len={LENGTH_MAX}",
                f"-artifact_prefix={corpus}/",
                "-verbosity=0",
                "-print_final_stats=1",
            ],
            run,
        )
        atheris.Fuzz()


if __name__ == "__main__":
    main()
