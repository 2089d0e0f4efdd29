"""The services of a Compose file as containers, in the order of their dependencies.

podman-compose translates the file and creates the containers. It doesn't wait until a container is healthy if Podman is
older than 4.6, so the containers are started here.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from harness.containers.engine import Engine

HEALTHY_SECONDS_MAX: Final = 180.0
POLL_SECONDS: Final = 0.5

PODMAN: Final = """#!/bin/sh
if [ "$1" = create ]; then
    shift
    for argument do
        shift
        case $argument in --requires=*) ;; *) set -- "$@" "$argument" ;; esac
    done
    set -- create --read-only-tmpfs=false "$@"
fi
exec podman "$@"
"""
"""A podman that creates containers as Docker does.

Docker mounts no tmpfs on /run, which would hide the directories that the image has there. It also has no
`--requires`, with which Podman 4.3 can't start a container whose dependency has ended.
"""


class Stack:
    """The containers of a Compose file; the name of each is that of its service."""

    def __init__(
        self,
        engine: Engine,
        file: Path,
        variables: Mapping[str, str],
        ports: Mapping[str, str],
        left_out: Collection[str],
    ) -> None:
        """Create all containers, their networks and their volumes. No network is internal.

        Args:
            engine: The engine, which must have the images.
            file: The path of the Compose file.
            variables: The values of the variables in the file.
            ports: The published ports by service, which replace those of the file.
            left_out: The services that are not created.
        """
        self._engine = engine
        content: dict[str, Any] = yaml.safe_load(file.read_text())
        self._services = {n: s for n, s in content["services"].items() if n not in left_out}
        self._project = content["name"]
        directory = engine.directory
        (directory / "variables").write_text("".join(f"{k}={v}\n" for k, v in variables.items()))
        replaced = "".join(
            f"  {name}:\n    ports: !override ['{ports[name]}']\n"
            for name in self._services
            if name in ports
        )
        # Podman 4.3 resolves no names in an internal network.
        open_networks = "".join(f"  {name}: {{internal: false}}\n" for name in content["networks"])
        services = f"\n{replaced}" if replaced else " {}\n"
        (directory / "replaced.yaml").write_text(f"services:{services}networks:\n{open_networks}")
        (directory / "podman").write_text(PODMAN)
        (directory / "podman").chmod(0o755)
        engine.run(
            *(f"--file={path}" for path in (file, directory / "replaced.yaml")),
            f"--env-file={directory / 'variables'}",
            "--in-pod=false",
            f"--podman-path={directory / 'podman'}",
            *("up", "--no-start", "--no-build", "--pull=never"),
            *self._services,
            program=(sys.executable, "-m", "podman_compose"),
            directory=file.parent,
        )

    def container(self, service: str) -> str:
        """Return the name of a service's container."""
        return f"{self._project}_{service}_1"

    def start(self) -> None:
        """Start each container after its dependencies have reached their conditions."""
        started: set[str] = set()
        while waiting := [name for name in self._services if name not in started]:
            for name in waiting:
                dependencies = self._services[name].get("depends_on", {})
                if started >= dependencies.keys():
                    for other, dependency in dependencies.items():
                        self._wait(other, dependency["condition"])
                    self._engine.run("start", self.container(name))
                    started.add(name)

    def _wait(self, service: str, condition: str) -> None:
        if condition == "service_healthy":
            self.wait_until_healthy(service)
        else:
            assert condition == "service_completed_successfully"
            code = self._engine.run("wait", self.container(service)).strip()
            assert code == "0", self._engine.logs(self.container(service))

    def wait_until_healthy(self, service: str) -> None:
        """Run a container's health check until it succeeds; fail if the container ends before."""
        container = self.container(service)
        deadline = time.monotonic() + HEALTHY_SECONDS_MAX
        while not self._engine.is_healthy(container):
            running = self._engine.inspect(container)["State"]["Running"]
            assert running and time.monotonic() < deadline, self._engine.logs(container)
            time.sleep(POLL_SECONDS)

    def stop(self, service: str) -> int:
        """Stop a container with the signal and the grace period of the file, and return its exit code."""
        self._engine.run("stop", self.container(service))
        return int(self._engine.inspect(self.container(service))["State"]["ExitCode"])
