"""docs/reference/security.md names tests that there are, and what it says of linting and pinning is so."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "security.md"

NAMED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def test_every_test_that_is_named_exists() -> None:
    named = NAMED.findall(PAGE.read_text("utf-8"))
    assert len(named) > 30
    missing = [f"{path}::{name}" for path, name in named if not _exists(path, name)]
    assert missing == []


def test_every_threat_names_a_test() -> None:
    rows = [
        row
        for row in PAGE.read_text("utf-8").splitlines()
        if row.startswith("| ") and not row.startswith("| threat ")
    ]
    assert [row for row in rows if not NAMED.search(row)] == []


def test_a_harness_that_is_named_exists() -> None:
    for path, names in re.findall(
        r"`(tests/fuzz/\w+\.py)::\w+` \(([^)]*)\)", PAGE.read_text("utf-8")
    ):
        assert path == "tests/fuzz/test_harnesses.py"
        for name in re.findall(r"`(\w+)`", names):
            assert (ROOT / "tests" / "fuzz" / "harnesses" / f"{name}.py").is_file()


def test_every_dependency_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    pinned = {
        _normal(line.partition("==")[0])
        for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines()
        if "==" in line
    }
    for requirement in [*project["dependencies"], *(each for extra in extras for each in extra)]:
        name = re.match(r"[A-Za-z0-9._-]+", requirement)
        assert name is not None
        assert name[0] == project["name"] or _normal(name[0]) in pinned, requirement


def test_the_security_rules_of_the_linter_are_on_for_all_of_the_service() -> None:
    lint = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["ruff"]["lint"]
    assert "S" in lint["select"]
    assert [rule for rule in lint["ignore"] if rule.startswith("S") and rule != "S101"] == []
    assert [pattern for pattern in lint["per-file-ignores"] if pattern.startswith("src")] == []


def test_no_other_security_rule_is_passed_over_than_the_page_says() -> None:
    passed_over = {
        code
        for path in (ROOT / "src").rglob("*.py")
        for codes in re.findall(r"# noqa: ([A-Z0-9, ]+)", path.read_text("utf-8"))
        for code in re.findall(r"\bS\d+", codes)
    }
    said = set(re.findall(r"`(S\d+)`", PAGE.read_text("utf-8")))
    assert passed_over == said


def _exists(path: str, name: str) -> bool:
    file = ROOT / path
    pattern = rf"^(async )?def {name}\("
    return file.is_file() and re.search(pattern, file.read_text("utf-8"), re.MULTILINE) is not None


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
