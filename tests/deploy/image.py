"""The Dockerfile without Docker: its stages, and its build steps run as a script.

Two things are not tested: the base image (this machine's Python stands in), and what a step of a last stage does to the
image's file system. Directories of the test stand for paths of the image.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dockerfile_parse import DockerfileParser

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "Dockerfile"
STEP_SECONDS_MAX = 280


@dataclass
class Stage:
    """One stage: its base, and its instructions in order."""

    name: str
    base: str
    instructions: list[tuple[str, str]] = field(default_factory=list)

    def values(self, instruction: str) -> list[str]:
        return [value for name, value in self.instructions if name == instruction]

    def command(self, instruction: str) -> list[str]:
        """Return the command of an instruction in exec form; a shell would not pass on signals."""
        (value,) = self.values(instruction)
        found: Any = json.loads(value[value.index("[") :])
        return [str(part) for part in found]

    @property
    def environment(self) -> dict[str, str]:
        pairs = [pair for value in self.values("ENV") for pair in shlex.split(value)]
        return dict(pair.split("=", 1) for pair in pairs)


def stages() -> dict[str, Stage]:
    """Return all stages by name, in their order."""
    with DOCKERFILE.open("rb") as file:
        structure = DockerfileParser(fileobj=file).structure
    found: dict[str, Stage] = {}
    for step in structure:
        instruction, value = step["instruction"], step["value"]
        if instruction == "COMMENT":
            continue
        if instruction == "FROM":
            base, _, name = re.split(r"\s+(as)\s+", value, flags=re.IGNORECASE)
            current = found.setdefault(name, Stage(name, base))
        else:
            current.instructions.append((instruction, value))
    return found


class Builder:
    """A builder that runs the steps of builder stages and installs into `venv`."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self._directory = directory
        self.venv = directory / "venv"
        self._work = directory
        # The machine's settings of package sources are kept, and those of the tests' own environment are removed.
        self._environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("SALDO_", "PYTHON", "VIRTUAL_ENV"))
        }
        python = Path(sys.base_prefix) / "bin"
        self._environment["PATH"] = f"{python}:/usr/local/bin:/usr/bin:/bin"
        self._environment["VENV"] = str(self.venv)

    def run(self, stage: Stage) -> None:
        """Run every instruction of a stage, without those of its base stage."""
        for instruction, value in stage.instructions:
            match instruction:
                case "ENV":
                    self._environment |= stage.environment | {"VENV": str(self.venv)}
                    # The image must have no cache, while the machine's cache saves the download.
                    self._environment.pop("PIP_NO_CACHE_DIR", None)
                case "WORKDIR":
                    self._work = self._directory / value.lstrip("/")
                    self._work.mkdir(parents=True)
                case "COPY":
                    *sources, target = shlex.split(value)
                    self._copy(sources, target)
                case "RUN":
                    self._run(value)
                case _:
                    raise AssertionError(f"{instruction} in a builder stage is not tested")

    def _copy(self, sources: list[str], target: str) -> None:
        for source in sources:
            path = self._work / target
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, path, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / source, path)

    def _run(self, step: str) -> None:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", step],
            cwd=self._work,
            env=self._environment,
            umask=0o022,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=STEP_SECONDS_MAX,
        )
        assert done.returncode == 0, f"{step}\n{done.stdout}"
