"""The files of a release, each built by one function."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from saldo.version import VERSION

ROOT: Final = Path(__file__).parents[1]

FEATURES: Final = "server,parquet,pdf,tracing"
"""Extras of the installation that the bill of materials and the requirements describe."""

SIGNATURE_NAMESPACE: Final = "saldo-release"
"""Purpose of a signature, which `ssh-keygen -Y verify` compares."""

EARLIEST_TIME: Final = "315532800"
"""The earliest time that zip files can hold. It is used outside of a git repository."""

COMMAND_SECONDS_MAX: Final = 600.0

_OWN_FILE: Final = re.compile(r"SHA256SUMS(\.sig)?|requirements\.txt|saldo_ledger-[^/]+")


class ReleaseError(Exception):
    """A file of the release could not be built; the message says which and why."""


def commit_time() -> str:
    """Return the time of the current commit in seconds since 1970, so that a second build has the same bytes."""
    try:
        done = subprocess.run(
            ["git", "log", "-1", "--format=%ct"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=COMMAND_SECONDS_MAX,
        )
    except FileNotFoundError:
        return EARLIEST_TIME
    return done.stdout.strip() or EARLIEST_TIME


def empty_directory(directory: Path) -> None:
    """Create a directory, or remove the files of an earlier release from it.

    Raises:
        ReleaseError: The directory contains something else, which is kept.
    """
    directory.mkdir(parents=True, exist_ok=True)
    found = [*directory.iterdir()]
    for path in found:
        if path.is_dir() or not _OWN_FILE.fullmatch(path.name):
            raise ReleaseError(
                f"{directory} contains {path.name}, which is not a file of a release"
            )
    for path in found:
        path.unlink()


def build_distributions(output: Path) -> Path:
    """Build the wheel and the source distribution.

    Args:
        output: An empty directory.

    Returns:
        Path of the wheel.

    Raises:
        ReleaseError: The build failed.
    """
    run(
        "the wheel and the source distribution",
        sys.executable,
        "-m",
        "hatchling",
        "build",
        "-d",
        str(output),
    )
    (wheel,) = output.glob("*.whl")
    return wheel


def describe_installation(wheel: Path, scratch: Path, output: Path) -> None:
    """Install the wheel with all features, and write two lists of the packages that this installs.

    The files are `….cdx.json`, a bill of materials in CycloneDX's format, and `requirements.txt` with the hash of each
    package, for `pip install --require-hashes`. The hashes are those of the files for this Python and this platform.

    Args:
        wheel: Path of the wheel.
        scratch: An empty directory for a virtual environment.
        output: The directory of the release.

    Raises:
        ReleaseError: The packages can't be installed, or a package has no hash.
    """
    environment = scratch / "venv"
    python = environment / "bin/python"
    report = scratch / "report.json"
    run("a virtual environment", sys.executable, "-m", "venv", "--without-pip", str(environment))
    run(
        "the installation of the wheel",
        *(sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"),
        *(
            "--ignore-installed",
            "--constraint",
            str(ROOT / "constraints.txt"),
            "--report",
            str(report),
        ),
        f"saldo-ledger[{FEATURES}] @ {wheel.as_uri()}",
    )
    requirements = pinned_requirements(json.loads(report.read_bytes())["install"])
    (output / "requirements.txt").write_text(requirements, encoding="utf-8")
    bill = output / f"{wheel.name.partition('-py3')[0]}.cdx.json"
    run(
        "the bill of materials",
        *(
            sys.executable,
            "-m",
            "cyclonedx_py",
            "environment",
            "--pyproject",
            str(ROOT / "pyproject.toml"),
        ),
        *("--output-reproducible", "--of", "JSON", "-o", str(bill), str(python)),
    )
    content = json.loads(bill.read_bytes())
    # pyproject.toml has no version: the build takes it from saldo/version.py.
    content["metadata"]["component"] |= {
        "version": VERSION,
        "purl": f"pkg:pypi/saldo-ledger@{VERSION}",
    }
    bill.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def pinned_requirements(installed: Iterable[Any]) -> str:
    """Return the requirements of an installation, with versions and hashes, sorted by name.

    Args:
        installed: Items of the key `install` of pip's installation report. Saldo itself is left out, because its hash
            is that of the wheel, which is in `SHA256SUMS`.

    Raises:
        ReleaseError: A package has no SHA-256 hash.
    """
    lines = []
    for item in installed:
        name, version = item["metadata"]["name"], item["metadata"]["version"]
        if name == "saldo-ledger":
            continue
        digest = item["download_info"].get("archive_info", {}).get("hashes", {}).get("sha256")
        if digest is None:
            raise ReleaseError(
                f"{name} {version} has no SHA-256 hash: pip installed it from a directory or repository"
            )
        lines.append(f"{name.lower()}=={version} --hash=sha256:{digest}\n")
    return "".join(sorted(lines))


def write_sums(output: Path) -> Path:
    """Write `SHA256SUMS` over all files of a directory, in the format of `sha256sum`, and return its path."""
    files = sorted(path for path in output.iterdir() if path.is_file())
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files]
    sums = output / "SHA256SUMS"
    sums.write_text("".join(lines), encoding="utf-8")
    return sums


def sign(file: Path, key: Path) -> Path:
    """Sign a file with an SSH key, and return the path of the signature, which is beside the file.

    Raises:
        ReleaseError: The key can't be read, or `ssh-keygen` is not installed.
    """
    run(
        "the signature",
        "ssh-keygen",
        "-q",
        "-Y",
        "sign",
        "-n",
        SIGNATURE_NAMESPACE,
        "-f",
        str(key),
        str(file),
    )
    return file.with_name(file.name + ".sig")


def run(purpose: str, *command: str) -> str:
    """Run a command in the repository, and return its output. Without a terminal, nothing asks for a passphrase.

    Raises:
        ReleaseError: The command failed or does not exist.
    """
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=COMMAND_SECONDS_MAX,
        )
    except FileNotFoundError:
        raise ReleaseError(f"{purpose} can't be built: {command[0]} is not installed") from None
    if done.returncode != 0:
        raise ReleaseError(f"{purpose} can't be built: {done.stdout.strip()}")
    return done.stdout
