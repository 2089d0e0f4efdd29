"""compose.yaml: it is a valid Compose file, and its parts fit each other."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from psycopg import sql

from harness.events.rabbitmq import Broker
from harness.ports import find_free_ports
from harness.prerequisites import find_program
from saldo.settings.model import Settings
from saldo.store.connections.connection import check_connection
from saldo.store.embedded import EmbeddedServer
from saldo.store.schema.migrate import prepare_schema
from tests.deploy.image import ROOT, stages
from tests.deploy.manifests import KUBERNETES, read

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
"""Files that are mounted and are checked by the tests of monitoring."""


def _interpolate(text: str) -> str:
    def value(found: re.Match[str]) -> str:
        name, colon, message = found[1].partition(":?")
        assert colon and message, f"{name} without a word on where to set it"
        return PASSWORDS[name]

    return re.sub(r"\$\{([^}]+)\}", value, text)


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(_interpolate(FILE.read_text()))
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
    """Validate a file against the schema of the Compose specification, which check_jsonschema contains."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    return subprocess.run([*command, str(path)], capture_output=True, text=True, check=False)


def test_compose_file_is_valid() -> None:
    checked = _check_schema(FILE)
    assert checked.returncode == 0, checked.stdout


def test_invalid_compose_file_is_detected(compose: dict[str, Any], tmp_path: Path) -> None:
    compose = compose | {"services": {**compose["services"], "saldo": {"imagge": "saldo"}}}
    wrong = tmp_path / "compose.yaml"
    wrong.write_text(yaml.safe_dump(compose))
    checked = _check_schema(wrong)
    assert checked.returncode == 1
    assert "imagge" in checked.stdout


def test_unknown_setting_in_the_compose_file_is_detected(
    services: dict[str, Any],
) -> None:
    for name in ("migrate", "saldo", "relay"):
        for variable in services[name]["environment"]:
            assert variable.removeprefix("SALDO_").lower() in Settings.model_fields


SAFE = {
    # May 2026 fixed eleven vulnerabilities, a crash by unauthenticated clients among them; August 2026 more.
    "postgres": (17, 11),
    "grafana/grafana": (13, 2, 1),
    "prom/prometheus": (3, 13, 0),
    "rabbitmq": (4, 3, 0),
}
"""The lowest versions without vulnerabilities known on 2026-11-30, or of a line that still gets fixes."""


def test_image_versions_have_no_known_vulnerability(services: dict[str, Any]) -> None:
    """Check the bounds; a later advisory must raise its bound first."""
    found = {}
    for service in services.values():
        if "build" not in service:
            name, _, tag = service["image"].partition(":")
            found[name] = tuple(map(int, re.findall(r"\d+", tag)))
    assert found.keys() == SAFE.keys()
    for name, version in found.items():
        assert version >= SAFE[name], name


def test_every_container_is_restricted(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        if "build" not in service:
            assert int(service["user"].partition(":")[0]) > 0, name
            # The mount points of volumes and /tmp must be writable.
            assert any(mount.startswith("/tmp:") for mount in service["tmpfs"]), name


def test_metrics_and_dashboards_can_not_reach_the_database(
    compose: dict[str, Any], services: dict[str, Any]
) -> None:
    on = {
        network: {name for name, service in services.items() if network in service["networks"]}
        for network in compose["networks"]
    }
    assert on["data"] == {"migrate", "saldo", "relay", "postgres", "rabbitmq"}
    assert compose["networks"]["data"] == {"internal": True}
    assert on["monitoring"] == {"saldo", "rabbitmq", "prometheus", "grafana"}
    assert on["webhooks"] == {"relay"}
    for name, service in services.items():
        # Ports are published from networks that aren't internal, and names resolve within a common network.
        assert "ports" not in service or {*service["networks"]} - {"data"}, name
        for other in service.get("depends_on", {}):
            assert {*service["networks"]} & {*services[other]["networks"]}, (name, other)


def test_prometheus_retention_covers_the_objectives(services: dict[str, Any]) -> None:
    arguments = dict(each.partition("=")[::2] for each in services["prometheus"]["command"])
    assert int(arguments["--storage.tsdb.retention.time"].removesuffix("d")) >= 35
    assert arguments["--enable-feature"] == "exemplar-storage"
    mounts = dict(_mounts(services["prometheus"]))
    assert arguments["--config.file"] == mounts["./deploy/prometheus/prometheus.yml"]
    assert arguments["--storage.tsdb.path"] == mounts["prometheus"]
    jobs = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())["scrape_configs"]
    targets = {
        job["job_name"]: job["static_configs"][0]["targets"][0]
        for job in jobs
        if "static_configs" in job
    }
    for job in ("saldo", "rabbitmq"):
        host = targets[job].partition(":")[0]
        assert "monitoring" in services[host]["networks"]
    assert "rabbitmq_prometheus" in (ROOT / "deploy/compose/rabbitmq_plugins").read_text()


def test_images_are_pinned(services: dict[str, Any]) -> None:
    for name, service in services.items():
        if "build" in service:
            assert service["build"]["target"] in stages()
        else:
            assert re.search(r":v?\d+\.\d+(\.\d+)?(-[a-z]+)?$", service["image"]), name


def test_mounted_files_exist(compose: dict[str, Any], services: dict[str, Any]) -> None:
    mounted = {source for service in services.values() for source, _ in _mounts(service)}
    files = {source for source in mounted if source.startswith(".")}
    assert mounted - files == set(compose["volumes"])
    assert files >= MONITORING
    for source in files:
        if source in MONITORING and not (ROOT / source).exists():
            continue
        assert (ROOT / source).exists(), source
    assert os.access(ROOT / "deploy/compose/roles.sh", os.X_OK)


def test_dependencies_on_health_have_a_health_check(services: dict[str, Any]) -> None:
    checked = {
        name for name, service in services.items() if "test" in service.get("healthcheck", {})
    }
    # The image has its own health check.
    checked |= {"saldo"}
    for service in services.values():
        for name, dependency in service.get("depends_on", {}).items():
            if dependency["condition"] == "service_healthy":
                assert name in checked
            else:
                assert dependency["condition"] == "service_completed_successfully"
                assert services[name]["restart"] == "no"


def test_ports_are_published_on_loopback_only(services: dict[str, Any]) -> None:
    for service in services.values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))


def test_stop_grace_period_covers_the_stop(services: dict[str, Any]) -> None:
    shutdown_timeout_seconds = Settings.model_fields["shutdown_timeout_seconds"].default
    for name in ("saldo", "relay"):
        assert (
            int(services[name]["stop_grace_period"].removesuffix("s"))
            > 2 * shutdown_timeout_seconds
        )


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """Yield a server without Saldo's database and roles, like a new container of the PostgreSQL image."""
    started = EmbeddedServer(tmp_path_factory.mktemp("server"))
    started.start()
    try:
        with psycopg.connect(started.superuser_url, autocommit=True) as admin:
            for statement in ("DROP DATABASE saldo", "DROP ROLE saldo", "DROP ROLE saldo_owner"):
                admin.execute(statement)
        yield started
    finally:
        started.stop()


def test_postgresql_accepts_the_parameters(
    server: EmbeddedServer, services: dict[str, Any]
) -> None:
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
                assert value == "lz4"  # the embedded server is built without it
                continue
            # This checks the name and the value; the server doesn't load them.
            change = sql.SQL("ALTER SYSTEM SET {} = {}").format(sql.Identifier(name), value)
            admin.execute(change)


async def test_init_script_creates_the_roles_of_the_service(
    server: EmbeddedServer, services: dict[str, Any]
) -> None:
    if find_program("psql", "psql") is None:
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
    owner_role_url, service_role_url = (
        re.sub(r"@postgres:5432/(\w+)$", rf"@/\1?host={host}&port=5432", urls[name])
        for name in ("SALDO_DATABASE_OWNER_URL", "SALDO_DATABASE_URL")
    )
    prepare_schema(owner_role_url, service_role_url, currency_decimals=2, max_lateness=None)
    await check_connection(service_role_url)


def test_broker_accepts_its_configuration(tmp_path: Path, rabbitmq_program: str) -> None:
    """Start a broker of the test's own with the mounted files, on other ports."""
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
    (prometheus,) = find_free_ports(1)
    ports.append(f"prometheus.tcp.port = {prometheus}")
    configuration.write_text("\n".join([*ports, mounted]))
    try:
        running.start()
    finally:
        running.kill()
