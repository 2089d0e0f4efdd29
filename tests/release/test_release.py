"""The files of a release: built, signed, verified and installed by the commands of docs/howto/release.md."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.program.outside import SECONDS_MAX, run_outside
from release import __main__ as command
from release import artifacts
from release.artifacts import ROOT, ReleaseError
from saldo.version import VERSION

HOWTO = "docs/howto/release.md"
PIPX_DIRECTORIES = ("PIPX_HOME", "PIPX_BIN_DIR", "PIPX_MAN_DIR", "PIPX_SHARED_LIBS")


def package(name: str, **archive_info: Any) -> dict[str, Any]:
    """Return an item of pip's installation report."""
    return {
        "metadata": {"name": name, "version": "1.0"},
        "download_info": {"url": "https://example.com/x.whl", "archive_info": archive_info},
    }


def run(command: str, directory: Path) -> subprocess.CompletedProcess[str]:
    """Run a shell command. `make` exports constraints without hashes, which pip refuses beside required hashes."""
    return run_outside("/bin/sh", "-euc", command, directory=directory, without=["PIP_CONSTRAINT"])


def shell_blocks() -> list[str]:
    """Return the shell commands of the page, without the indentation of a list."""
    text = (ROOT / HOWTO).read_text("utf-8")
    found = re.findall(r"^( *)```sh\n(.*?)^ *```$", text, re.DOTALL | re.MULTILINE)
    return [code.replace(f"\n{indent}", "\n").strip() for indent, code in found]


def test_requirements_have_versions_and_hashes_sorted_by_name() -> None:
    installed = [
        package("Zebra", hashes={"sha256": "ff"}),
        package("saldo-ledger", hashes={"sha256": "00"}),
        package("apple", hashes={"md5": "1", "sha256": "aa"}),
    ]
    assert artifacts.pinned_requirements(installed) == (
        "apple==1.0 --hash=sha256:aa\nzebra==1.0 --hash=sha256:ff\n"
    )


@pytest.mark.parametrize("archive_info", [{}, {"hashes": {"md5": "1"}}])
def test_package_without_a_hash_is_an_error(archive_info: dict[str, Any]) -> None:
    with pytest.raises(ReleaseError, match=r"^apple 1\.0 has no SHA-256 hash"):
        artifacts.pinned_requirements([package("apple", **archive_info)])


def test_sums_are_what_sha256sum_checks(tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(b"two")
    (tmp_path / "a").write_bytes(b"one")
    artifacts.write_sums(tmp_path)
    done = run("sha256sum --check SHA256SUMS", tmp_path)
    assert (done.returncode, done.stdout) == (0, "a: OK\nb: OK\n")
    (tmp_path / "b").write_bytes(b"three")
    assert run("sha256sum --check SHA256SUMS", tmp_path).returncode == 1


def test_directory_with_other_files_is_kept(tmp_path: Path) -> None:
    (tmp_path / "SHA256SUMS").write_bytes(b"")
    (tmp_path / "saldo_ledger-0.1.0.tar.gz").write_bytes(b"")
    artifacts.empty_directory(tmp_path)
    assert not [*tmp_path.iterdir()]
    (tmp_path / "SHA256SUMS").write_bytes(b"")
    (tmp_path / "letter.txt").write_bytes(b"")
    with pytest.raises(
        ReleaseError, match=r"contains letter\.txt, which is not a file of a release$"
    ):
        artifacts.empty_directory(tmp_path)
    assert len([*tmp_path.iterdir()]) == 2


def test_key_that_cannot_sign_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(artifacts, "build_distributions", lambda output: output / "x.whl")
    monkeypatch.setattr(artifacts, "describe_installation", lambda *_: None)
    missing = tmp_path / "missing"
    arguments = ["release", "--output", str(tmp_path / "dist"), "--signing-key", str(missing)]
    monkeypatch.setattr(sys, "argv", arguments)
    assert command.main() == 1
    error = capsys.readouterr().err
    assert error.startswith("release: the signature can't be built: ")
    assert str(missing) in error


@pytest.mark.long
@pytest.mark.timeout(4 * SECONDS_MAX)
def test_the_howto_builds_verifies_and_installs_a_release(tmp_path: Path) -> None:
    build, verify, install = shell_blocks()
    key = tmp_path / "id_ed25519"
    assert run(f"ssh-keygen -q -t ed25519 -N '' -f {key}", tmp_path).returncode == 0
    dist = tmp_path / "dist"
    assert "SIGNING_KEY=~/.ssh/id_ed25519" in build
    command = build.replace("~/.ssh/id_ed25519", f"{key} ARGS='--output {dist}'")
    done = run(command, ROOT)
    assert done.returncode == 0, done.stdout
    assert sorted(path.name for path in dist.iterdir()) == [
        "SHA256SUMS",
        "SHA256SUMS.sig",
        "requirements.txt",
        f"saldo_ledger-{VERSION}-py3-none-any.whl",
        f"saldo_ledger-{VERSION}.cdx.json",
        f"saldo_ledger-{VERSION}.tar.gz",
    ]

    bill = json.loads((dist / f"saldo_ledger-{VERSION}.cdx.json").read_bytes())
    assert bill["bomFormat"] == "CycloneDX"
    assert bill["metadata"]["component"]["version"] == VERSION
    described = {f"{part['name'].lower()}=={part['version']}" for part in bill["components"]}
    required = {line.split()[0] for line in (dist / "requirements.txt").read_text().splitlines()}
    assert described == required

    public = key.with_suffix(".pub").read_text()
    (dist / "allowed_signers").write_text(
        f'releases@saldo.example namespaces="saldo-release" {public}'
    )
    done = run(verify, dist)
    assert done.returncode == 0, done.stdout
    assert 'Good "saldo-release" signature' in done.stdout
    sums = (dist / "SHA256SUMS").read_text()
    (dist / "SHA256SUMS").write_text(sums.replace("a", "b"))
    assert run(verify, dist).returncode != 0
    (dist / "SHA256SUMS").write_text(sums)

    done = run(install.replace("python3 ", f"{sys.executable} ", 1), dist)
    assert done.returncode == 0, done.stdout
    assert VERSION in done.stdout.splitlines()[-1]

    # The README installs the wheel with pipx.
    (readme,) = re.findall(
        r"```sh\nmake release\n(pipx install .*?)\nsaldo serve\n```",
        (ROOT / "README.md").read_text(),
    )
    variables = " ".join(f"{name}={tmp_path / name}" for name in PIPX_DIRECTORIES)
    done = run(f"export {variables}; {Path(sys.executable).parent}/{readme}", tmp_path)
    assert done.returncode == 0, done.stdout
    done = run(f"{tmp_path / 'PIPX_BIN_DIR'}/saldo serve --help", tmp_path)
    assert done.returncode == 0, done.stdout
