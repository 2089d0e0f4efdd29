"""compose.yaml is a Compose file, and its parts fit each other."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from psycopg import sql

from saldo.settings import Settings
from saldo.store.connection import check
from saldo.store.embedded import EmbeddedServer
from saldo.store.migrate import prepare
from tests.deploy.image import ROOT, stages
from tests.deploy.manifests import KUBERNETES, read
from tests.faults.broker import Broker, free_ports

FILE = ROOT / "compose.yaml"
PASSWORDS = {
    name: f"{name.lower().replace('_', '')}1"
    for name in (
        *("POSTGRES_PASSWORD", "DATABASE_PASSWORD", "DATABASE_OWNER_PASSWORD"),
        *("RABBITMQ_PASSWORD", "GRAFANA_PASSWORD", "ADMIN_KEY", "METRICS_KEY"),
    )
}
MONITORING = {
    "./deploy/prometheus/prometheus.yml",
    "./deploy/prometheus/rules",
    "./deploy/grafana/provisioning",
    "./deploy/grafana/dashboards",
}
"""Mounted, and looked after by the tests of monitoring."""


def _interpolated(text: str) -> str:
    def value(found: re.Match[str]) -> str:
        name, colon, message = found[1].partition(":?")
        assert colon and message, f"{name} without a word on where to set it"
        return PASSWORDS[name]

    return re.sub(r"\$\{([^}]+)\}", value, text)


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(_interpolated(FILE.read_text()))
    return content


@pytest.fixture(scope="module")
def services(compose: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = compose["services"]
    return found


def _mounts(service: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for mount in service.get("volumes", ()):
        source, target, *_ = mount.split(":")
        yield source, target


def _check_schema(path: Path) -> subprocess.CompletedProcess[str]:
    """Against the Compose specification's own schema, which the tool carries."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    return subprocess.run([*command, str(path)], capture_output=True, text=True, check=False)


def test_it_is_a_compose_file() -> None:
    checked = _check_schema(FILE)
    assert checked.returncode == 0, checked.stdout


def test_what_is_no_compose_file_would_be_found(compose: dict[str, Any], tmp_path: Path) -> None:
    compose = compose | {"services": {**compose["services"], "saldo": {"imagge": "saldo"}}}
    wrong = tmp_path / "compose.yaml"
    wrong.write_text(yaml.safe_dump(compose))
    checked = _check_schema(wrong)
    assert checked.returncode == 1
    assert "imagge" in checked.stdout


def test_a_variable_that_is_wrong_in_the_environment_of_saldo_would_be_found(
    services: dict[str, Any],
) -> None:
    for name in ("migrate", "saldo", "relay"):
        for variable in services[name]["environment"]:
            assert variable.removeprefix("SALDO_").lower() in Settings.model_fields


def test_images_are_pinned(services: dict[str, Any]) -> None:
    for name, service in services.items():
        if "build" in service:
            assert service["build"]["target"] in stages()
        else:
            assert re.search(r":v?\d+\.\d+(\.\d+)?(-[a-z]+)?$", service["image"]), name


def test_what_is_mounted_is_there(compose: dict[str, Any], services: dict[str, Any]) -> None:
    mounted = {source for service in services.values() for source, _ in _mounts(service)}
    files = {source for source in mounted if source.startswith(".")}
    assert mounted - files == set(compose["volumes"])
    assert files >= MONITORING
    for source in files:
        if source in MONITORING and not (ROOT / source).exists():
            continue
        assert (ROOT / source).exists(), source
    assert os.access(ROOT / "deploy/compose/roles.sh", os.X_OK)


def test_who_waits_for_health_waits_for_a_check(services: dict[str, Any]) -> None:
    checked = {
        name for name, service in services.items() if "test" in service.get("healthcheck", {})
    }
    # By the image's own check.
    checked |= {"saldo"}
    for service in services.values():
        for name, dependency in service.get("depends_on", {}).items():
            if dependency["condition"] == "service_healthy":
                assert name in checked
            else:
                assert dependency["condition"] == "service_completed_successfully"
                assert services[name]["restart"] == "no"


def test_nothing_is_reached_from_other_machines(services: dict[str, Any]) -> None:
    for service in services.values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))


def test_a_stop_has_the_time_that_it_takes(services: dict[str, Any]) -> None:
    stop_seconds = Settings.model_fields["stop_seconds"].default
    for name in ("saldo", "relay"):
        assert int(services[name]["stop_grace_period"].removesuffix("s")) > 2 * stop_seconds


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """One without a database and roles of Saldo, as the image of PostgreSQL makes it."""
    started = EmbeddedServer(tmp_path_factory.mktemp("server"))
    started.start()
    try:
        with psycopg.connect(started.superuser_url, autocommit=True) as admin:
            for statement in ("DROP DATABASE saldo", "DROP ROLE saldo", "DROP ROLE saldo_owner"):
                admin.execute(statement)
        yield started
    finally:
        started.stop()


def test_postgresql_knows_the_parameters(server: EmbeddedServer, services: dict[str, Any]) -> None:
    program, *arguments = services["postgres"]["command"]
    assert program == "postgres"
    assert arguments[::2] == ["-c"] * (len(arguments) // 2)
    (cluster,) = (
        manifest
        for manifest in read(KUBERNETES / "overlays/cloudnative-pg/cluster.yaml")
        if manifest["kind"] == "Cluster"
    )
    parameters = [argument.split("=") for argument in arguments[1::2]]
    parameters += cluster["spec"]["postgresql"]["parameters"].items()
    with psycopg.connect(server.superuser_url, autocommit=True) as admin:
        for name, value in parameters:
            if name == "wal_compression":
                assert value == "lz4"  # which the embedded server is built without
                continue
            # Checks name and value; the server is not told to read them.
            change = sql.SQL("ALTER SYSTEM SET {} = {}").format(sql.Identifier(name), value)
            admin.execute(change)


async def test_the_script_makes_the_roles_that_the_service_uses(
    server: EmbeddedServer, services: dict[str, Any]
) -> None:
    if shutil.which("psql") is None:
        pytest.skip("no psql (Debian: package postgresql-client)")
    with psycopg.connect(server.superuser_url) as admin:
        host = admin.info.host
    done = subprocess.run(
        [ROOT / "deploy/compose/roles.sh"],
        env={"PATH": os.environ["PATH"], "PGHOST": host, "PGPORT": "5432"}
        | services["postgres"]["environment"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    urls = services["migrate"]["environment"]
    owner_url, service_url = (
        re.sub(r"@postgres:5432/(\w+)$", rf"@/\1?host={host}&port=5432", urls[name])
        for name in ("SALDO_DATABASE_OWNER_URL", "SALDO_DATABASE_URL")
    )
    prepare(owner_url, service_url, currency_decimals=2, max_lateness=None)
    await check(service_url)


def test_the_broker_takes_its_configuration(tmp_path: Path, rabbitmq_program: str) -> None:
    """A broker of the test's own starts with the mounted files, on other ports."""
    running = Broker(rabbitmq_program, tmp_path)
    (tmp_path / "plugins").write_text((ROOT / "deploy/compose/rabbitmq_plugins").read_text())
    mounted = (ROOT / "deploy/compose/rabbitmq.conf").read_text()
    named = {line.partition(" = ")[0] for line in mounted.splitlines()}
    configuration = tmp_path / "rabbitmq.conf"
    ports = [
        line
        for line in configuration.read_text().splitlines()
        if line.partition(" = ")[0] not in named
    ]
    management, prometheus = free_ports(2)
    ports.append(f"management.tcp.port = {management}")
    ports.append(f"prometheus.tcp.port = {prometheus}")
    configuration.write_text("\n".join([*ports, mounted]))
    try:
        running.start()
    finally:
        running.kill()
