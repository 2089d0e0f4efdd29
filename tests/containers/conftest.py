"""An engine with the images that stand for those of the registries, and with the images of the Dockerfile."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.containers import stand_ins
from harness.containers.engine import Engine, find_obstacle
from harness.prerequisites import skip_or_fail
from tests.containers.commands import printed_commands, run_with_podman
from tests.deploy.image import stages

STORAGE = os.environ.get("SALDO_TEST_CONTAINERS")
"""A directory that keeps the images for the next run. By default, they are removed with the tests' directory."""


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Yield an engine with an image for the Dockerfile's base; skip the tests if no container can be run."""
    obstacle = find_obstacle()
    if obstacle is not None:
        skip_or_fail("podman", obstacle)
    directory = tmp_path_factory.mktemp("containers")
    storage = Path(STORAGE) if STORAGE else directory / "storage"
    started = Engine(directory, storage, stand_ins.find_package_mounts(directory))
    started.remove_all()
    stand_ins.prepare(started, stages()["builder"].base)
    yield started
    started.close()


@pytest.fixture(scope="module")
def images(engine: Engine) -> dict[str, str]:
    """Return the names of the images by target. They are built as the how-to says, unless the storage has them."""
    names = {target: f"saldo:{target}" for target in ("slim", "embedded")}
    block = next(each for each in printed_commands() if "docker build" in each)
    embedded = block.partition("\n")[0]
    assert embedded == "docker build --tag saldo:embedded ."
    commands = {
        "slim": "docker build --target slim --tag saldo:slim .",
        "embedded": embedded,
    }
    for target, command in commands.items():
        if not (STORAGE and engine.succeeds("image", "exists", names[target])):
            run_with_podman(engine, engine.directory, command)
    return names


@pytest.fixture(autouse=True)
def clean(engine: Engine) -> Iterator[None]:
    """Remove the containers of each test."""
    yield
    engine.remove_all()
