"""The programs of other projects that the tests run: where they are, and how they are installed.

They are not in the extra `test`, because their dependencies conflict with those of the service.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import Final, NamedTuple

from harness.prerequisites import HIDDEN, find_program, skip_or_fail
from harness.repository import ROOT

SOURCES: Final = Path(__file__).parent
DIRECTORY: Final = ROOT / "build/generators"
SECONDS_MAX: Final = 240


class PackageSet(NamedTuple):
    """Packages of one kind, which are installed into a directory of their own.

    Attributes:
        name: The name among `harness.prerequisites.NAMES`, and of the directory.
        versions: The file that lists the packages with their versions. Its copy is the mark of a complete installation.
        programs: The directory of the programs, in the directory of the packages.
    """

    name: str
    versions: str
    programs: str

    @property
    def directory(self) -> Path:
        """The directory of the packages."""
        return DIRECTORY / self.name

    @property
    def is_installed(self) -> bool:
        """True if exactly these versions are installed."""
        mark = self.directory / "installed" / self.versions
        return mark.is_file() and mark.read_bytes() == (SOURCES / self.versions).read_bytes()

    def find(self, program: str) -> str:
        """Return the path of a program. The test is skipped if the packages are not installed."""
        if self.name in HIDDEN or not self.is_installed:
            skip_or_fail(
                self.name,
                f"the packages of tests/generators/{self.versions} are not installed "
                "(python -m tests.generators)",
            )
        return str(self.directory / self.programs / program)

    def add_mark(self) -> None:
        """Mark the installation as complete."""
        mark = self.directory / "installed" / self.versions
        mark.parent.mkdir(exist_ok=True)
        shutil.copyfile(SOURCES / self.versions, mark)


NODE_PACKAGES: Final = PackageSet("node-packages", "package.json", "node_modules/.bin")
PYTHON_PACKAGES: Final = PackageSet("generator-packages", "requirements.txt", "bin")


def install() -> None:
    """Install the packages that are missing.

    Raises:
        subprocess.CalledProcessError: npm or pip failed.
        LookupError: npm is not installed.
    """
    if not NODE_PACKAGES.is_installed:
        _install_node_packages(NODE_PACKAGES)
    if not PYTHON_PACKAGES.is_installed:
        _install_python_packages(PYTHON_PACKAGES)


def _install_node_packages(packages: PackageSet) -> None:
    npm = find_program("npm", "node")
    if npm is None:
        raise LookupError("npm is not installed (Debian: packages nodejs and npm)")
    shutil.rmtree(packages.directory, ignore_errors=True)
    packages.directory.mkdir(parents=True)
    shutil.copy(SOURCES / packages.versions, packages.directory)
    options = ("--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts", "--silent")
    subprocess.run([npm, "install", *options], cwd=packages.directory, check=True)
    packages.add_mark()


def _install_python_packages(packages: PackageSet) -> None:
    venv.create(packages.directory, clear=True)
    # The pip of this environment installs into the other one, which is faster than to install pip there first.
    command = [sys.executable, "-m", "pip", "--python", str(packages.directory / "bin/python")]
    # The versions of the service's packages do not apply here.
    environment = {name: value for name, value in os.environ.items() if name != "PIP_CONSTRAINT"}
    subprocess.run(
        [*command, "install", "--quiet", "--requirement", str(SOURCES / packages.versions)],
        env=environment,
        check=True,
    )
    packages.add_mark()


def run(*command: str | Path, directory: Path) -> str:
    """Run a program and return its output. Fail with the output if the program fails."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=directory,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS_MAX,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout
