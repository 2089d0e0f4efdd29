"""Claims of docs/reference/security.md: the named tests exist, and linting and pinning are as described."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "security.md"

NAMED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def test_every_named_test_exists() -> None:
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


def test_every_named_harness_exists() -> None:
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


def test_every_pinned_version_supports_the_python_of_debian_12() -> None:
    # `make test` and `make release` use it. pip reports a version for newer releases of Python only as a conflict.
    unsupported = [
        f"{each.name} {each.version} {each.metadata['Requires-Python']}"
        for each in metadata.distributions()
        if "3.11.2" not in SpecifierSet(each.metadata["Requires-Python"] or "")
    ]
    assert unsupported == []


LOWEST = {"aiohttp": (3, 14, 5), "jinja2": (3, 1, 6), "litestar": (2, 25), "pyjwt": (2, 15, 1)}
"""The lowest versions without vulnerabilities known on 2026-11-30."""


def test_minimum_versions_have_no_known_vulnerability() -> None:
    """Check the lower bounds, which apply to installations without `constraints.txt`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    server = project["optional-dependencies"]["server"]
    found = dict(re.findall(r"^([\w-]+)(?:\[\w+\])?>=([\d.]+)", "\n".join(server), re.MULTILINE))
    for name, lowest in LOWEST.items():
        assert tuple(map(int, found[name].split("."))) >= lowest, name


def test_security_rules_of_the_linter_apply_to_the_whole_service() -> None:
    lint = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["ruff"]["lint"]
    assert "S" in lint["select"]
    assert [rule for rule in lint["ignore"] if rule.startswith("S") and rule != "S101"] == []
    assert [pattern for pattern in lint["per-file-ignores"] if pattern.startswith("src")] == []


def test_page_lists_every_suppressed_security_rule() -> None:
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
