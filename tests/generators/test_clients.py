"""Clients that are generated from the document of a running service work with that service.

Each client has the same session: it creates a user, deposits, deposits again with the same uuid, is refused, posts an
array, and reads a proof whose amount has more than 32 bits. The programs in python and typescript print what they saw.
The clients are generated with the commands of docs/howto/generate-clients.md.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from harness.prerequisites import find_program, skip_or_fail
from harness.program.service import ServiceProcess, run_service_process
from tests.generators.programs import (
    NODE_PACKAGES,
    PYTHON_PACKAGES,
    SOURCES,
    PackageSet,
    run,
)
from tests.website import documents

pytestmark = pytest.mark.long

EXPECTED = {
    "created": 201,
    "posted": [200, False, "30000000.00"],
    "repeated": [200, True],
    "equal": True,
    "refused": [402, "insufficient_funds"],
    "bulk": [200, ["posted", "insufficient_funds"]],
    "balance": "30000000.05",
    "recorded": "insufficient_funds",
    "missing": [404, "transaction_not_found"],
    "proven": 3_000_000_000,
}


@pytest.fixture(scope="module")
def shared_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    with run_service_process(tmp_path_factory.mktemp("service")) as running:
        yield running


@pytest.fixture
def document(shared_service: ServiceProcess) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(f"{shared_service.url}/openapi.json").json()
    return found


def generate(command: str, url: str, packages: PackageSet, directory: Path) -> str:
    """Run a command of the how-to page, and return its output."""
    (block,) = (
        each
        for each in documents.blocks("howto/generate-clients.md")
        if f"{command} " in each.commands
    )
    programs = f"{Path(packages.find(command)).parent}:{os.environ['PATH']}"
    return documents.run(block.commands, directory, url, PATH=programs)


def test_python_client_works(shared_service: ServiceProcess, tmp_path: Path) -> None:
    output = generate("openapi-python-client", shared_service.url, PYTHON_PACKAGES, tmp_path)
    assert list_skipped_parts(output) == SKIPPED_PARTS, output
    shutil.copy(SOURCES / "python/session.py", tmp_path)
    python = PYTHON_PACKAGES.find("python")
    assert json.loads(run(python, "session.py", shared_service.url, directory=tmp_path)) == EXPECTED


SKIPPED_PARTS: list[str] = []


def list_skipped_parts(output: str) -> list[str]:
    """Return the lines in which openapi-python-client says what it left out."""
    return [line for line in output.splitlines() if "WARNING" in line or "Unsupported" in line]


@pytest.fixture
def typescript(shared_service: ServiceProcess, document: dict[str, Any], tmp_path: Path) -> Path:
    """A directory with the programs in TypeScript and both generated clients, compiled."""
    for program in SOURCES.glob("typescript/*"):
        shutil.copy(program, tmp_path)
    NODE_PACKAGES.find("tsc")
    (tmp_path / "node_modules").symlink_to(NODE_PACKAGES.directory / "node_modules")
    for command in ("openapi-typescript", "openapi-ts"):
        generate(command, shared_service.url, NODE_PACKAGES, tmp_path)
    paths = {
        operation["operationId"]: path
        for path, operations in document["paths"].items()
        for operation in operations.values()
    }
    (tmp_path / "paths.ts").write_text(f"export const path = {json.dumps(paths)} as const;\n")
    run(NODE_PACKAGES.find("tsc"), "--project", ".", directory=tmp_path)
    return tmp_path


def test_typescript_clients_work(shared_service: ServiceProcess, typescript: Path) -> None:
    node = find_program("node", "node")
    if node is None:
        skip_or_fail("node", "node is not installed")
    for program in ("openapi_fetch", "hey_api"):
        output = run(node, f"out/{program}.js", shared_service.url, directory=typescript)
        assert json.loads(output) == EXPECTED, program
