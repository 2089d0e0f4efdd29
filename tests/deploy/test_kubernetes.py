"""The manifests are what Kubernetes takes, and agree with each other and with the service."""

from __future__ import annotations

import importlib.metadata
import re
import runpy
from typing import Any

import kubernetes_validate
import pytest
import yaml

from saldo.bootstrap.access import KEY_CONNECTIONS
from saldo.bootstrap.pools import RELAY_CONNECTIONS, WEBHOOK_API_CONNECTIONS
from saldo.bootstrap.service import EVENTS_CONNECTIONS
from saldo.bootstrap.webhooks import WEBHOOK_CONNECTIONS
from saldo.settings import Settings
from tests.conftest import settings_for
from tests.deploy.manifests import (
    APPLIED,
    KUBERNETES,
    ROOT,
    Manifest,
    build,
    container,
    environment,
    kustomizations,
    only,
    pod,
    read,
    resources,
)

VERSIONS = ("1.30", kubernetes_validate.latest_version())
"""The oldest that the how-to promises, and the newest whose schemas are known."""

CUSTOM = {
    "ServiceMonitor": "monitoring.coreos.com/v1",
    "PrometheusRule": "monitoring.coreos.com/v1",
    "Cluster": "postgresql.cnpg.io/v1",
}
WORKLOADS = {"Deployment", "Job"}
STOP_SECONDS_BESIDE = 5
"""For what a stop does beside its waits."""

POSTGRESQL_CONNECTIONS = 97
"""Of a server as it comes: 100, 3 of them the superuser's."""


@pytest.mark.parametrize("kustomization", kustomizations(), ids=lambda path: path.parent.name)
def test_a_kustomization_names_files_that_are_there(kustomization: Any) -> None:
    content = yaml.safe_load(kustomization.read_text())
    assert set(content) <= {"apiVersion", "kind", "namespace", "resources", "images", "patches"}
    manifests = [manifest for path in resources(kustomization) for manifest in read(path)]
    keys = [(m["kind"], m["metadata"]["name"]) for m in manifests]
    assert len(keys) == len(set(keys))
    for patch in content.get("patches", ()):
        assert (patch["target"]["kind"], patch["target"]["name"]) in keys


def test_every_manifest_is_applied_with_something() -> None:
    named = {
        path
        for directory in APPLIED
        for path in resources(KUBERNETES / directory / "kustomization.yaml")
    }
    there = {path for path in KUBERNETES.rglob("*.yaml") if path.name != "kustomization.yaml"}
    assert named == there


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("directory", APPLIED)
def test_kubernetes_takes_what_kustomize_builds(directory: str, version: str) -> None:
    for manifest in build(directory):
        kind = manifest["kind"]
        if kind in CUSTOM:
            assert manifest["apiVersion"] == CUSTOM[kind]
        else:
            kubernetes_validate.validate(manifest, version, strict=True)
        if kind != "Namespace":
            assert manifest["metadata"]["namespace"] == "saldo"


@pytest.mark.parametrize("directory", APPLIED)
def test_pods_are_restricted_and_take_secrets_by_reference(directory: str) -> None:
    manifests = build(directory)
    assert "Secret" not in {m["kind"] for m in manifests}
    for workload in (m for m in manifests if m["kind"] in WORKLOADS):
        spec, only_container = pod(workload), container(workload)
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] == _user_of_the_image()
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert only_container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert spec["automountServiceAccountToken"] is False
        # Kubernetes' own variables for the Service `saldo` would be taken for settings.
        assert spec["enableServiceLinks"] is False
        assert not re.search(r":latest$|^[^:]+$", only_container["image"])
        for variable in only_container["env"]:
            setting = variable["name"].removeprefix("SALDO_").lower()
            assert setting in Settings.model_fields
            if setting.endswith("_url"):
                assert set(variable["valueFrom"]) == {"secretKeyRef"}


def test_the_service_finds_its_pods_and_probes_its_routes() -> None:
    manifests = build("overlays/production")
    service = only(manifests, "Service", "saldo")
    deployment = only(manifests, "Deployment", "saldo")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    assert (
        service["spec"]["selector"].items() <= deployment["spec"]["selector"]["matchLabels"].items()
    )
    (port,) = container(deployment)["ports"]
    assert port["containerPort"] == Settings.model_fields["port"].default
    assert service["spec"]["ports"][0]["targetPort"] == port["name"]
    probes = {
        name: container(deployment)[f"{name}Probe"]["httpGet"]
        for name in ("startup", "liveness", "readiness")
    }
    assert {name: probe["path"] for name, probe in probes.items()} == {
        "startup": "/healthz/startup",
        "liveness": "/healthz/live",
        "readiness": "/healthz/ready",
    }
    assert {probe["port"] for probe in probes.values()} == {port["name"]}
    # The relay's pods are no part of the Service.
    relay = only(manifests, "Deployment", "saldo-relay")
    assert (
        not service["spec"]["selector"].items()
        <= relay["spec"]["template"]["metadata"]["labels"].items()
    )
    assert environment(deployment)["SALDO_RELAY"] == "false"


def test_a_pod_is_given_the_time_that_its_stop_takes() -> None:
    manifests = build("overlays/production")
    deployment = only(manifests, "Deployment", "saldo")
    given = {k.removeprefix("SALDO_").lower(): v for k, v in environment(deployment).items()}
    settings = settings_for("postgresql://saldo@db/saldo", **given)
    # For connections to end, and then for the engine.
    needed = settings.drain_seconds + 2 * settings.stop_seconds + STOP_SECONDS_BESIDE
    assert pod(deployment)["terminationGracePeriodSeconds"] >= needed
    probe = container(deployment)["readinessProbe"]
    unready = probe["failureThreshold"] * probe["periodSeconds"] + probe["timeoutSeconds"]
    assert settings.drain_seconds > unready
    relay = only(manifests, "Deployment", "saldo-relay")
    stop_seconds = float(environment(relay)["SALDO_STOP_SECONDS"])
    assert pod(relay)["terminationGracePeriodSeconds"] >= 2 * stop_seconds + STOP_SECONDS_BESIDE


def test_all_pods_together_fit_the_connections_of_a_database() -> None:
    manifests = build("overlays/production")
    deployment = only(manifests, "Deployment", "saldo")
    autoscaler = only(manifests, "HorizontalPodAutoscaler", "saldo")["spec"]
    assert autoscaler["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert "replicas" not in deployment["spec"]
    assert autoscaler["minReplicas"] > 1
    a_service = (
        int(environment(deployment)["SALDO_LANES"])
        + Settings.model_fields["read_connections"].default
        + EVENTS_CONNECTIONS
        + WEBHOOK_API_CONNECTIONS
        + KEY_CONNECTIONS
    )
    a_relay = RELAY_CONNECTIONS + WEBHOOK_CONNECTIONS
    services = (
        autoscaler["maxReplicas"] + deployment["spec"]["strategy"]["rollingUpdate"]["maxSurge"]
    )
    relay = only(manifests, "Deployment", "saldo-relay")["spec"]
    relays = relay["replicas"] + relay["strategy"]["rollingUpdate"]["maxSurge"]
    assert services * a_service + relays * a_relay <= POSTGRESQL_CONNECTIONS


def test_budgets_and_policies_select_pods_that_there_are() -> None:
    manifests = build("overlays/monitoring")
    workloads = [m for m in manifests if m["kind"] == "Deployment"]
    labels = [workload["spec"]["template"]["metadata"]["labels"] for workload in workloads]
    labels += [
        only(build("migrate"), "Job", "saldo-migrate")["spec"]["template"]["metadata"]["labels"]
    ]
    for manifest in manifests:
        if manifest["kind"] == "PodDisruptionBudget":
            selector = manifest["spec"]["selector"]["matchLabels"]
            assert sum(selector.items() <= each.items() for each in labels) == 1
        if manifest["kind"] == "NetworkPolicy":
            selector = manifest["spec"]["podSelector"]["matchLabels"]
            assert any(selector.items() <= each.items() for each in labels)


def test_the_owner_is_known_to_the_migration_only() -> None:
    def names(workload: Manifest) -> set[str]:
        return {variable["name"] for variable in container(workload)["env"]}

    owner = "SALDO_DATABASE_OWNER_URL"
    assert owner in names(only(build("migrate"), "Job", "saldo-migrate"))
    for workload in (m for m in build("overlays/production") if m["kind"] == "Deployment"):
        assert owner not in names(workload)


def test_the_migration_is_of_the_version_that_is_rolled_out() -> None:
    images = {
        container(workload)["image"]
        for directory in ("migrate", "overlays/production")
        for workload in build(directory)
        if workload["kind"] in WORKLOADS
    }
    assert images == {f"saldo:{importlib.metadata.version('saldo')}-slim"}


def test_prometheus_finds_the_service() -> None:
    manifests = build("overlays/monitoring")
    monitor = only(manifests, "ServiceMonitor", "saldo")["spec"]
    service = only(manifests, "Service", "saldo")
    labels = service["metadata"]["labels"]
    assert monitor["selector"]["matchLabels"].items() <= labels.items()
    # The rules know the service by the job's name.
    assert labels[monitor["jobLabel"]] == "saldo"
    (endpoint,) = monitor["endpoints"]
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
    assert endpoint["path"] == "/metrics"


def test_the_rules_are_those_of_the_prometheus_without_kubernetes() -> None:
    rules = ROOT / "deploy/prometheus/rules"
    directory = KUBERNETES / "overlays/monitoring"
    made = (directory / "prometheus-rule.yaml").read_text()
    for manifest in yaml.safe_load_all(made):
        assert manifest["spec"]["groups"]
        for group in manifest["spec"]["groups"]:
            assert group["name"]
            assert all(("alert" in rule) != ("record" in rule) for rule in group["rules"])
            assert all(rule["expr"] for rule in group["rules"])
    if not rules.is_dir():
        pytest.skip("no deploy/prometheus/rules yet")
    assert made == runpy.run_path(str(directory / "render.py"))["render"](rules)


def test_the_database_of_the_operator_has_the_roles_and_keeps_the_promise() -> None:
    (cluster,) = (m for m in build("overlays/cloudnative-pg") if m["kind"] == "Cluster")
    spec = cluster["spec"]
    initdb = spec["bootstrap"]["initdb"]
    assert (initdb["database"], initdb["owner"]) == ("saldo", "saldo_owner")
    assert initdb["secret"]["name"] == "saldo-db-owner"
    (role,) = spec["managed"]["roles"]
    assert (role["name"], role["ensure"], role["login"]) == ("saldo", "present", True)
    assert role["passwordSecret"]["name"] == "saldo-db-service"
    # One of the others has what is answered; with fewer than three, one that is away stops all writing.
    assert spec["instances"] >= 3
    assert spec["postgresql"]["synchronous"] == {
        "method": "any",
        "number": 1,
        "dataDurability": "required",
    }
    assert all(isinstance(value, str) for value in spec["postgresql"]["parameters"].values())
    assert spec["storage"]["size"]


def _user_of_the_image() -> int:
    found = re.search(r"^USER (\d+):\d+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1])
