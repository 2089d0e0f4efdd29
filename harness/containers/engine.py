"""Podman with its own storage, so that a test neither sees nor changes the images and containers of this machine."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from harness.prerequisites import HIDDEN

PROGRAMS: Final = {name: name for name in ("podman", "runc", "mmdebstrap", "catatonit")}
"""The programs that are needed, with the Debian package of each."""

SECONDS_MAX: Final = 560.0
"""Timeout of one command in seconds. The longest ones install packages."""

LIMIT_MAX: Final = 20_000
"""Upper bound of the limits of a container. Podman's own defaults need the right to raise limits."""


class EngineError(Exception):
    """A command of the engine failed; the message contains the command and its output."""


def find_obstacle() -> str | None:
    """Return the reason why no containers can be run on this machine, or None."""
    if "podman" in HIDDEN:
        return "podman is hidden"
    missing = [package for name, package in PROGRAMS.items() if shutil.which(name) is None]
    if missing:
        return f"no {', '.join(missing)} (Debian: {' '.join(missing)} netavark aardvark-dns)"
    if os.geteuid() != 0:
        return "only root can build the images"
    return None


class Engine:
    """Podman with its own configuration and storage in one directory.

    Attributes:
        directory: the directory of the configuration.
        environment: the variables with which other programs use the same storage.
    """

    def __init__(self, directory: Path, storage: Path, mounts: Sequence[str] = ()) -> None:
        """Write the configuration.

        Args:
            directory: An existing directory, for the configuration and the state of running containers.
            storage: The directory of the images, which may contain those of an earlier run. Only one engine at a time
                can use it.
            mounts: Mounts of each container in the form SOURCE:TARGET:OPTIONS, also while an image is built.
        """
        self.directory = directory
        self.environment = os.environ | {
            "CONTAINERS_CONF": str(directory / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(directory / "storage.conf"),
            "CONTAINERS_REGISTRIES_CONF": str(directory / "registries.conf"),
            # Podman runs health checks by timers of systemd. These tests run the checks themselves.
            "DISABLE_HC_SYSTEMD": "true",
        }
        self._storage = storage
        limits = [
            f'"{name}={bound}:{bound}"'
            for name, number in (
                ("nofile", resource.RLIMIT_NOFILE),
                ("nproc", resource.RLIMIT_NPROC),
            )
            for bound in [_bound(resource.getrlimit(number)[1])]
        ]
        (directory / "containers.conf").write_text(
            f"[containers]\ndefault_ulimits = [{', '.join(limits)}]\nvolumes = {json.dumps([*mounts])}\n"
            '[engine]\nruntime = "runc"\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n'
            f'tmp_dir = "{storage}/state"\nlock_type = "file"\n'
            f'[network]\nnetwork_config_dir = "{directory}/networks"\n'
        )
        # Docker completes short names in the same way.
        (directory / "registries.conf").write_text(
            'unqualified-search-registries = ["docker.io"]\n'
        )
        self._write_storage("overlay")
        if self._run("info").returncode != 0:
            self._write_storage("vfs")

    def _write_storage(self, driver: str) -> None:
        (self.directory / "storage.conf").write_text(
            f'[storage]\ndriver = "{driver}"\ngraphroot = "{self._storage}/graph"\n'
            f'runroot = "{self._storage}/run"\n'
        )

    def _run(
        self, *arguments: str, program: Sequence[str] = ("podman",), directory: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*program, *arguments],
            cwd=directory,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS_MAX,
        )

    def run(
        self,
        *arguments: str,
        program: Sequence[str] = ("podman",),
        directory: Path | None = None,
    ) -> str:
        """Run a command of Podman, and return its output.

        Args:
            arguments: The arguments of the command.
            program: Another program that uses the same storage.
            directory: The working directory.

        Raises:
            EngineError: The command failed.
        """
        done = self._run(*arguments, program=program, directory=directory)
        if done.returncode != 0:
            command = " ".join([*program, *arguments])
            raise EngineError(f"{command}\n{done.stdout[-4000:]}{done.stderr[-4000:]}")
        return done.stdout

    def succeeds(self, *arguments: str) -> bool:
        """Return whether a command of Podman exits with 0."""
        return self._run(*arguments).returncode == 0

    def inspect(self, name: str) -> Any:
        """Return what Podman knows about a container or an image."""
        (found,) = json.loads(self.run("inspect", name))
        return found

    def is_healthy(self, container: str) -> bool:
        """Run the health check of a container once, and return its result."""
        return self.succeeds("healthcheck", "run", container)

    def logs(self, container: str) -> str:
        """Return what a container has written to its standard output and standard error."""
        done = self._run("logs", container)
        return done.stdout + done.stderr

    def remove_all(self) -> None:
        """Remove all containers, pods, networks, volumes and secrets, but no images."""
        self._run("pod", "rm", "--force", "--all", "--time", "0")
        # `rm --all` fails if a container depends on another one.
        for container in self._run("ps", "--all", "--quiet").stdout.split():
            self._run("rm", "--force", "--depend", "--volumes", "--time", "0", container)
        networks = self._run("network", "ls", "--quiet").stdout.split()
        self._run("network", "rm", "--force", *(name for name in networks if name != "podman"))
        self._run("volume", "prune", "--force")
        self._run("secret", "rm", "--all")

    def close(self) -> None:
        """Remove all containers, and release the mounts of the storage."""
        self.remove_all()
        self._run("umount", "--all", "--force")


def _bound(limit: int) -> int:
    return LIMIT_MAX if limit == resource.RLIM_INFINITY else min(limit, LIMIT_MAX)
