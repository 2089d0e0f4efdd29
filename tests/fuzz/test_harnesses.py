"""Runs of the harnesses on their seeds, with Hypothesis and with atheris; and a check that they can fail."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from harness.prerequisites import skip_or_fail
from saldo.ledger import money
from saldo.parsing import transactions as wire
from saldo.parsing import webhooks
from saldo.relay.webhooks import address_policy, destinations
from tests.fuzz import harnesses
from tests.fuzz.harnesses import NAMES, check_of, seeds_of

ROOT = Path(__file__).parents[2]

INPUTS = 2000
"""Number of inputs for each harness in every test run, always the same ones; `make fuzz` tries many others."""

EXAMPLES = 200


def _mutate_seeds(name: str) -> st.SearchStrategy[bytes]:
    """Return a strategy of seeds with a few bytes changed, inserted and removed."""
    bytes_changed = st.lists(
        st.tuples(st.integers(0, 200), st.integers(0, 3), st.binary(max_size=4)), max_size=4
    )

    def mutate(seed: bytes, changes: list[tuple[int, int, bytes]]) -> bytes:
        for at, count, put in changes:
            seed = seed[:at] + put + seed[at + count :]
        return seed

    return st.builds(mutate, st.sampled_from(seeds_of(name)), bytes_changed)


def test_every_harness_has_seeds_and_is_named() -> None:
    modules = {path.stem for path in Path(harnesses.__file__).parent.glob("[!_]*.py")}
    assert modules == set(NAMES) == {path.stem for path in harnesses.CORPUS.glob("*.txt")}
    for name in NAMES:
        assert len(seeds_of(name)) >= 3


@pytest.mark.parametrize("name", NAMES)
def test_harness_finds_no_violation(name: str) -> None:
    check = check_of(name)
    for seed in (b"", *seeds_of(name)):
        check(seed)

    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        data=st.one_of(
            _mutate_seeds(name), st.binary(max_size=60), st.text(max_size=40).map(_encode_text)
        )
    )
    @example(data=b"\xff\xfe")
    def hold(data: bytes) -> None:
        check(data)

    hold()


def _encode_text(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


@pytest.mark.parametrize("name", NAMES)
def test_guided_inputs_violate_no_property(name: str) -> None:
    _need_atheris()
    done = _run(name, "--seconds=60", f"--inputs={INPUTS}", "--seed=1")
    assert done.returncode == 0, done.stderr
    assert harnesses.count_executed(done.stderr) > len(seeds_of(name))


PLANTED = """
from saldo.ledger.money import MoneyError, parse_amount

def check(data):
    try:
        amount = parse_amount(data.decode("latin-1"), 2)
    except MoneyError:
        return
    assert amount < 100
"""


def test_planted_fault_is_found_and_its_input_repeats_it(tmp_path: Path) -> None:
    """Plant a fault that random inputs would miss: eight random bytes are hardly ever an amount."""
    _need_atheris()
    (tmp_path / "planted").mkdir()
    (tmp_path / "planted" / "harness.py").write_text(PLANTED)
    done = _run("planted.harness", "--seconds=60", "--seed=1", path=tmp_path)
    assert done.returncode != 0
    again = re.search(r"--again=(\S+)", done.stderr)
    assert again is not None, done.stderr
    done = _run("planted.harness", again[0], path=tmp_path)
    assert "AssertionError" in done.stderr


LARGE_ID = (
    b'{"uuid":"ea3015b1-c25c-47e5-beb7-2679ac7c89a7","type":"DEPOSIT","amount":"1",'
    b'"user_id":1234567}'
)


@pytest.mark.parametrize(
    ("name", "module", "attribute", "wrong", "data"),
    [
        ("amounts", money, "_AMOUNT", re.compile(r"([0-9]+)(?:\.([0-9]*))?"), b"\x021."),
        ("transactions", wire, "_DIGITS", re.compile(r"[0-9]{1,5}"), LARGE_ID),
        ("webhook_urls", webhooks, "_ADDRESS", re.compile(r"[0-9.]+|.*:.*"), b"\x7f\0\0\1"),
        ("webhook_urls", destinations, "is_public", lambda _: True, b"\x0a\0\0\1"),
        ("addresses", address_policy, "_ISATAP", 0, b"\x26\x06\x47\0" + b"\0" * 12 + b"\x7f\0\0\1"),
        ("cursors", wire, "_DIGITS", re.compile(r".+"), b"dXNlcnM6LTE"),
    ],
)
def test_wrong_parser_is_detected(
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    module: object,
    attribute: str,
    wrong: object,
    data: bytes,
) -> None:
    monkeypatch.setattr(module, attribute, wrong)
    with pytest.raises((AssertionError, ValueError)):
        check_of(name)(data)


def _need_atheris() -> None:
    if find_spec("atheris") is None:
        skip_or_fail(
            "atheris",
            "atheris is not installed: it has wheels for Linux on x86-64, Python 3.11 to 3.13",
        )


def _run(name: str, *options: str, path: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.fuzz.harnesses", name, *options],
        check=False,
        capture_output=True,
        text=True,
        timeout=200,
        cwd=ROOT,
        env={"PYTHONPATH": f"{path}:{ROOT / 'src'}:{ROOT}", "PATH": "/usr/bin:/bin"},
    )
