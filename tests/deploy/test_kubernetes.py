"""The Kubernetes manifests: they are valid, and agree with each other and with the service."""

from __future__ import annotations

import re
import runpy
from typing import Any

import kubernetes_validate
import pytest
import yaml

from harness.program.settings import create_settings
from saldo.bootstrap.pools import count_relay_connections, count_service_connections
from saldo.settings.model import Settings
from saldo.version import VERSION
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
    parse_quantity,
    pod,
    read,
    resources,
    settings_of,
)

VERSIONS = ("1.30", kubernetes_validate.latest_version())
"""The oldest version that the how-to page supports, and the newest whose schemas are available."""

CUSTOM = {
    "ServiceMonitor": "monitoring.coreos.com/v1",
    "PrometheusRule": "monitoring.coreos.com/v1",
    "Cluster": "postgresql.cnpg.io/v1",
    "HTTPRoute": "gateway.networking.k8s.io/v1",
    "BackendTrafficPolicy": "gateway.envoyproxy.io/v1alpha1",
}
WORKLOADS = {"Deployment", "Job"}
STOP_SECONDS_BESIDE = 8
"""Time for the steps of a stop other than its waits, in seconds."""

OTHER_CONNECTIONS = 15
"""Connections reserved for the superuser (3), the migration's Job, the operator and an exporter of metrics."""

HOW_TO = ROOT / "docs/howto/kubernetes.md"


@pytest.mark.parametrize("kustomization", kustomizations(), ids=lambda path: path.parent.name)
def test_kustomizations_name_existing_files(kustomization: Any) -> None:
    content = yaml.safe_load(kustomization.read_text())
    assert set(content) <= {
        *("apiVersion", "kind", "namespace", "namePrefix", "resources", "components"),
        *("images", "configMapGenerator", "patches"),
    }
    manifests = [manifest for path in resources(kustomization) for manifest in read(path)]
    keys = [(m["kind"], m["metadata"]["name"]) for m in manifests]
    assert len(keys) == len(set(keys))
    for patch in content.get("patches", ()):
        if content["kind"] != "Component":
            assert (patch["target"]["kind"], patch["target"]["name"]) in keys
    for generator in content.get("configMapGenerator", ()):
        assert all((kustomization.parent / name).is_file() for name in generator["envs"])


def test_every_manifest_belongs_to_a_kustomization() -> None:
    named = {
        path
        for directory in APPLIED
        for path in resources(KUBERNETES / directory / "kustomization.yaml")
    }
    there = {path for path in KUBERNETES.rglob("*.yaml") if path.name != "kustomization.yaml"}
    assert named == there


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("directory", APPLIED)
def test_manifests_are_valid_for_kubernetes(directory: str, version: str) -> None:
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
        # Kubernetes' own variables for the Service `saldo` would be read as settings.
        assert spec["enableServiceLinks"] is False
        assert not re.search(r":latest$|^[^:]+$", only_container["image"])
        for variable in only_container["env"]:
            setting = variable["name"].removeprefix("SALDO_").lower()
            assert setting in Settings.model_fields
            if setting.endswith("_url"):
                assert set(variable["valueFrom"]) == {"secretKeyRef"}
        for name in settings_of(workload, manifests):
            assert name.removeprefix("SALDO_").lower() in Settings.model_fields


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
    # The relay's pods do not belong to the Service.
    relay = only(manifests, "Deployment", "saldo-relay")
    assert (
        not service["spec"]["selector"].items()
        <= relay["spec"]["template"]["metadata"]["labels"].items()
    )
    assert environment(deployment)["SALDO_RELAY_ENABLED"] == "false"


def test_termination_grace_period_covers_drain_and_stop() -> None:
    manifests = build("overlays/production")
    deployment = only(manifests, "Deployment", "saldo")
    given = {k.removeprefix("SALDO_").lower(): v for k, v in environment(deployment).items()}
    settings = create_settings("postgresql://saldo@db/saldo", **given)
    # One wait is for connections to end, the other one for the engine.
    needed = (
        settings.shutdown_delay_seconds
        + 2 * settings.shutdown_timeout_seconds
        + STOP_SECONDS_BESIDE
    )
    assert pod(deployment)["terminationGracePeriodSeconds"] >= needed
    probe = container(deployment)["readinessProbe"]
    unready = probe["failureThreshold"] * probe["periodSeconds"] + probe["timeoutSeconds"]
    assert settings.shutdown_delay_seconds > unready
    # In a failover of the database, the service holds requests. It stays in the Service for as long as it does so.
    tolerance = (probe["failureThreshold"] - 1) * probe["periodSeconds"]
    assert tolerance >= settings.request_deadline_seconds
    relay = only(manifests, "Deployment", "saldo-relay")
    shutdown_timeout_seconds = float(environment(relay)["SALDO_SHUTDOWN_TIMEOUT_SECONDS"])
    assert (
        pod(relay)["terminationGracePeriodSeconds"]
        >= 2 * shutdown_timeout_seconds + STOP_SECONDS_BESIDE
    )


@pytest.mark.parametrize("directory", APPLIED)
def test_only_the_namespace_itself_contains_the_namespace(directory: str) -> None:
    """Check the kinds: otherwise `kubectl delete -k` of another directory would delete the database and its volumes."""
    kinds = {manifest["kind"] for manifest in build(directory)}
    assert ("Namespace" in kinds) == (directory == "namespace")


def test_pod_that_exits_early_stops_the_rollout() -> None:
    manifests = build("overlays/production")
    for deployment in (m for m in manifests if m["kind"] == "Deployment"):
        assert deployment["spec"]["minReadySeconds"] >= 15, deployment["metadata"]["name"]
    # A new pod counts as available only after the old pod has drained and stopped.
    service = only(manifests, "Deployment", "saldo")
    shutdown_delay_seconds = float(environment(service)["SALDO_SHUTDOWN_DELAY_SECONDS"])
    assert service["spec"]["minReadySeconds"] > shutdown_delay_seconds


def _pods_max(workload: Manifest, replicas: int) -> int:
    """Return the number of pods with connections during a rollout, with a terminating pod for each replica."""
    surge: int = workload["spec"]["strategy"]["rollingUpdate"]["maxSurge"]
    return 2 * replicas + surge


def test_all_pods_together_fit_the_connections_of_the_database() -> None:
    manifests = build("overlays/production")
    deployment = only(manifests, "Deployment", "saldo")
    autoscaler = only(manifests, "HorizontalPodAutoscaler", "saldo")["spec"]
    assert autoscaler["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert "replicas" not in deployment["spec"]
    assert autoscaler["minReplicas"] > 1
    lanes = int(environment(deployment)["SALDO_LANES"])
    a_service = count_service_connections(
        create_settings("postgresql://saldo@db/saldo", lanes=lanes)
    )
    a_relay = count_relay_connections()
    services = _pods_max(deployment, autoscaler["maxReplicas"])
    relay = only(manifests, "Deployment", "saldo-relay")
    relays = _pods_max(relay, relay["spec"]["replicas"])
    needed = services * a_service + relays * a_relay + OTHER_CONNECTIONS
    (cluster,) = (m for m in build("overlays/cloudnative-pg") if m["kind"] == "Cluster")
    given = int(cluster["spec"]["postgresql"]["parameters"]["max_connections"])
    assert needed <= given
    # The how-to page contains the formula, and its result with these numbers.
    text = HOW_TO.read_text()
    reserve = relays * a_relay + OTHER_CONNECTIONS
    assert f"{a_service} × (2 × `maxReplicas` + 1) + {reserve}" in text
    assert f"= {needed}" in text
    assert f"`max_connections` of {given}" in text
    assert f"up to {a_service} connections" in text
    assert f"up to {a_relay}" in text


def test_the_page_on_postgresql_has_the_same_connections() -> None:
    text = " ".join((ROOT / "docs/howto/postgresql.md").read_text().split())
    settings = create_settings("postgresql://saldo@db/saldo", lanes=2)
    beside = count_service_connections(settings) - 2 - settings.read_connections
    assert f"`SALDO_LANES` + `SALDO_READ_CONNECTIONS` + {beside}" in text
    assert f"{count_service_connections(settings)} with two lanes" in text
    assert f"(`saldo relay`), with up to {count_relay_connections()} connections" in text


def test_budgets_and_policies_select_existing_pods() -> None:
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


def test_network_policies_name_sources_and_destinations() -> None:
    """Check that egress rules name destinations, and ingress rules a namespace and not only a pod's labels."""
    policies = [m for m in build("overlays/monitoring") if m["kind"] == "NetworkPolicy"]
    assert len(policies) == 4
    for policy in policies:
        name, spec = policy["metadata"]["name"], policy["spec"]
        for rule in spec.get("egress", ()):
            assert rule["to"], name
            assert rule["ports"], name
            everywhere = [
                each["ipBlock"]
                for each in rule["to"]
                if each.get("ipBlock", {}).get("cidr") in {"0.0.0.0/0", "::/0"}
            ]
            assert all(block["except"] for block in everywhere), name
            assert not everywhere or name == "saldo-webhooks"
        for rule in spec.get("ingress", ()):
            for each in rule["from"]:
                assert each["namespaceSelector"]["matchLabels"], name


def test_commented_parts_of_the_network_policies_are_valid() -> None:
    path = KUBERNETES / "base/network-policies.yaml"
    used = re.sub(r"^( +)# (?=- |  )", r"\1", path.read_text(), flags=re.MULTILINE)
    for policy in yaml.safe_load_all(used):
        kubernetes_validate.validate(policy, VERSIONS[-1], strict=True)
    for port in (443, 4318, 5353, 5551, 5671, 6432, 8053):
        assert f"port: {port} }}" in used
        assert re.search(rf"\b{port}\b", HOW_TO.read_text())


def test_only_the_migration_gets_the_owners_url() -> None:
    def names(workload: Manifest) -> set[str]:
        return {variable["name"] for variable in container(workload)["env"]}

    owner = "SALDO_DATABASE_OWNER_URL"
    assert owner in names(only(build("migrate"), "Job", "saldo-migrate"))
    for workload in (m for m in build("overlays/production") if m["kind"] == "Deployment"):
        assert owner not in names(workload)


def test_migration_job_has_the_version_of_the_deployment() -> None:
    images = {
        container(workload)["image"]
        for directory in ("migrate", "overlays/production")
        for workload in build(directory)
        if workload["kind"] in WORKLOADS
    }
    assert images == {f"saldo:{VERSION}-slim"}


def test_prometheus_finds_the_service() -> None:
    manifests = build("overlays/monitoring")
    monitor = only(manifests, "ServiceMonitor", "saldo")["spec"]
    service = only(manifests, "Service", "saldo")
    labels = service["metadata"]["labels"]
    assert monitor["selector"]["matchLabels"].items() <= labels.items()
    # The rules select the service by the job's name.
    assert labels[monitor["jobLabel"]] == "saldo"
    (endpoint,) = monitor["endpoints"]
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
    assert endpoint["path"] == "/metrics"


def test_prometheus_rules_equal_those_without_kubernetes() -> None:
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


def test_cloudnative_pg_cluster_has_the_roles_and_synchronous_commits() -> None:
    (cluster,) = (m for m in build("overlays/cloudnative-pg") if m["kind"] == "Cluster")
    spec = cluster["spec"]
    initdb = spec["bootstrap"]["initdb"]
    assert (initdb["database"], initdb["owner"]) == ("saldo", "saldo_owner")
    assert initdb["secret"]["name"] == "saldo-db-owner"
    (role,) = spec["managed"]["roles"]
    assert (role["name"], role["ensure"], role["login"]) == ("saldo", "present", True)
    assert role["passwordSecret"]["name"] == "saldo-db-service"
    # One standby has everything that was acknowledged; with fewer than three instances, one failure stops all writes.
    assert spec["instances"] >= 3
    assert spec["postgresql"]["synchronous"] == {
        "method": "any",
        "number": 1,
        "dataDurability": "required",
        "failoverQuorum": True,
    }
    parameters = spec["postgresql"]["parameters"]
    assert all(isinstance(value, str) for value in parameters.values())
    assert spec["storage"]["size"]
    # The WAL of a lost standby and the current WAL together fit in the volume.
    wal = parse_quantity(parameters["max_wal_size"]) + parse_quantity(
        parameters["max_slot_wal_keep_size"]
    )
    assert wal < parse_quantity(spec["walStorage"]["size"])
    memory = parse_quantity(spec["resources"]["limits"]["memory"])
    assert parse_quantity(parameters["shared_buffers"]) * 4 == memory
    assert re.search(r":\d+\.\d+", spec["imageName"]), "the image has no version"
    assert "CloudNativePG 1.28 or newer" in HOW_TO.read_text()


def test_cloudnative_pg_role_states_the_defaults_of_the_webhook() -> None:
    (cluster,) = (m for m in build("overlays/cloudnative-pg") if m["kind"] == "Cluster")
    (role,) = cluster["spec"]["managed"]["roles"]
    assert (role["inherit"], role["connectionLimit"]) == (True, -1)


def test_only_named_peers_reach_the_database() -> None:
    manifests = build("overlays/cloudnative-pg")
    policy = only(manifests, "NetworkPolicy", "saldo-db")["spec"]
    (cluster,) = (m for m in manifests if m["kind"] == "Cluster")
    label = {"cnpg.io/cluster": cluster["metadata"]["name"]}
    assert policy["podSelector"]["matchLabels"] == label
    assert policy["policyTypes"] == ["Ingress"]
    peers = {
        tuple(port["port"] for port in rule["ports"]): rule["from"] for rule in policy["ingress"]
    }
    (saldo,) = peers[(5432,)]
    workloads = [*build("base"), *build("migrate")]
    for workload in (m for m in workloads if m["kind"] in WORKLOADS):
        labels = workload["spec"]["template"]["metadata"]["labels"]
        assert saldo["podSelector"]["matchLabels"].items() <= labels.items()
    # Replication, and the operator, which also queries the status.
    instances, operator = peers[(5432, 8000)]
    assert instances["podSelector"]["matchLabels"] == label
    assert "cnpg-system" in operator["namespaceSelector"]["matchLabels"].values()
    (prometheus,) = peers[(9187,)]
    assert prometheus["namespaceSelector"]["matchLabels"] == {"saldo-monitoring": "true"}


def _user_of_the_image() -> int:
    found = re.search(r"^USER (\d+):\d+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1])
