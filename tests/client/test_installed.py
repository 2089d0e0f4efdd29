"""What `pip install` of the wheel alone brings: the client, without the service's packages."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.service import ServiceProcess
from tests.client.documents import ROOT, blocks

COMMAND_SECONDS_MAX = 280

CLIENT_ALONE = """
import sys
import saldo
assert "httpx" not in sys.modules and "msgspec" not in sys.modules, "importing is not light"
from saldo.client.proof import check
assert "httpx" not in sys.modules and "msgspec" not in sys.modules, "the verifier needs packages"
import saldo.client, saldo.testing
for name in saldo.client.__all__:
    getattr(saldo.client, name)
for name in ("asyncpg", "litestar", "typer"):
    try:
        __import__(name)
    except ImportError:
        continue
    raise SystemExit(f"{name} is installed")
"""


def run(*command: str, directory: Path) -> subprocess.CompletedProcess[str]:
    """Outside of the repository, and of what the tests are run with."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SALDO_", "PYTHON", "VIRTUAL_ENV"))
    }
    return subprocess.run(
        command,
        cwd=directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=COMMAND_SECONDS_MAX,
    )


@pytest.fixture(scope="module")
def venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment of its own with the wheel in it."""
    directory = tmp_path_factory.mktemp("installed")
    made = directory / "venv"
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    constraints = f"--constraint={ROOT / 'constraints.txt'}"
    for command in (
        (*pip, "wheel", "--quiet", "--no-deps", f"--wheel-dir={directory}", constraints, str(ROOT)),
        (sys.executable, "-m", "venv", "--without-pip", str(made)),
    ):
        # There, as `make` names the constraints of a build relative to it.
        done = run(*command, directory=ROOT)
        assert done.returncode == 0, done.stdout
    (wheel,) = directory.glob("saldo-*.whl")
    done = run(
        *(*pip, "--python", str(made / "bin/python"), "install", "--quiet", constraints),
        str(wheel),
        directory=ROOT,
    )
    assert done.returncode == 0, done.stdout
    return made


def test_the_client_is_there_alone(venv: Path, tmp_path: Path) -> None:
    done = run(str(venv / "bin/python"), "-c", CLIENT_ALONE, directory=tmp_path)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("readme", ["README.md", "README.ru.md"])
def test_the_quick_start_works(
    venv: Path, tmp_path: Path, shared_service: ServiceProcess, readme: str
) -> None:
    (code,) = blocks(readme, shared_service.url)
    done = run(str(venv / "bin/python"), "-c", code, directory=tmp_path)
    assert done.returncode == 0, done.stdout
    assert done.stdout == "74.50\n"


@pytest.mark.parametrize("command", [("bin/saldo", "serve"), ("bin/python", "-m", "saldo")])
def test_the_command_says_what_is_missing(
    venv: Path, tmp_path: Path, command: tuple[str, ...]
) -> None:
    program, *arguments = command
    done = run(str(venv / program), *arguments, directory=tmp_path)
    assert done.returncode == 1
    assert len(done.stdout.splitlines()) == 1, done.stdout
    assert "pip install 'saldo[server]'" in done.stdout
