"""The commands of docs/howto/containers.md, run by Podman in place of Docker."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from harness.containers.engine import Engine
from harness.repository import ROOT

SHIM = """#!/bin/sh
command=$1; shift
# The OCI format, which is Podman's default, has no health checks.
[ "$command" != build ] || set -- --pull=never --network=host --format=docker "$@"
exec podman "$command" "$@"
"""


def printed_commands() -> list[str]:
    """Return the blocks of shell commands of the page."""
    text = (ROOT / "docs/howto/containers.md").read_text()
    return re.findall(r"```sh\n(.*?)```", text, re.DOTALL)


def run_with_podman(engine: Engine, directory: Path, commands: str) -> None:
    """Run commands in the repository; `docker` in them is Podman.

    Args:
        engine: The engine whose storage is used.
        directory: A directory for the program that stands for Docker.
        commands: Shell commands.
    """
    docker = directory / "docker"
    docker.write_text(SHIM)
    docker.chmod(0o755)
    done = subprocess.run(
        ["bash", "-euc", commands],
        cwd=ROOT,
        env=engine.environment | {"PATH": f"{directory}:{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
