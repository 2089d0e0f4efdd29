"""An installation of the wheel alone: it contains the client, and none of the service's dependencies."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from harness.program.outside import run_outside
from harness.program.service import ServiceProcess
from saldo.version import VERSION
from tests.client.documents import ROOT, blocks

CLIENT_ALONE = """
import sys
import saldo
assert "httpx" not in sys.modules and "msgspec" not in sys.modules, "importing is not light"
from saldo.client.proof import verify_proof
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


@pytest.fixture(scope="module")
def venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a virtual environment with the wheel installed."""
    directory = tmp_path_factory.mktemp("installed")
    made = directory / "venv"
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    constraints = f"--constraint={ROOT / 'constraints.txt'}"
    for command in (
        (*pip, "wheel", "--quiet", "--no-deps", f"--wheel-dir={directory}", constraints, str(ROOT)),
        (sys.executable, "-m", "venv", "--without-pip", str(made)),
    ):
        # The directory matters because `make` gives the build's constraints as a relative path.
        done = run_outside(*command, directory=ROOT)
        assert done.returncode == 0, done.stdout
    (wheel,) = directory.glob("saldo_ledger-*.whl")
    done = run_outside(
        *(*pip, "--python", str(made / "bin/python"), "install", "--quiet", constraints),
        str(wheel),
        directory=ROOT,
    )
    assert done.returncode == 0, done.stdout
    return made


def test_installed_package_has_its_name_and_version(venv: Path, tmp_path: Path) -> None:
    code = "from importlib.metadata import version; import saldo; print(version('saldo-ledger'), saldo.__version__)"
    done = run_outside(str(venv / "bin/python"), "-c", code, directory=tmp_path)
    assert done.stdout == f"{VERSION} {VERSION}\n"


def test_wheel_installs_the_client_without_the_service(venv: Path, tmp_path: Path) -> None:
    done = run_outside(str(venv / "bin/python"), "-c", CLIENT_ALONE, directory=tmp_path)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("readme", ["README.md", "README.ru.md"])
def test_the_quick_start_works(
    venv: Path, tmp_path: Path, shared_service: ServiceProcess, readme: str
) -> None:
    (code,) = blocks(readme, shared_service.url)
    done = run_outside(str(venv / "bin/python"), "-c", code, directory=tmp_path)
    assert done.returncode == 0, done.stdout
    assert done.stdout == "74.50\n"


@pytest.mark.parametrize("command", [("bin/saldo", "serve"), ("bin/python", "-m", "saldo")])
def test_command_names_the_missing_packages(
    venv: Path, tmp_path: Path, command: tuple[str, ...]
) -> None:
    program, *arguments = command
    done = run_outside(str(venv / program), *arguments, directory=tmp_path)
    assert done.returncode == 2
    assert len(done.stdout.splitlines()) == 1, done.stdout
    assert "pip install 'saldo-ledger[server]'" in done.stdout
