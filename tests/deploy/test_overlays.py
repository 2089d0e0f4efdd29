"""Settings, images, storage and accounts of pods, in the base and in an operator's own overlay."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from saldo.settings.model import Settings
from tests.deploy.manifests import (
    KUBERNETES,
    ROOT,
    build,
    container,
    environment,
    only,
    parse_quantity,
    pod,
    settings_of,
)

WORKLOADS = {"Deployment", "Job"}
HOW_TO = ROOT / "docs/howto/kubernetes.md"


def _workloads(*directories: str) -> list[dict[str, Any]]:
    return [m for d in directories for m in build(d) if m["kind"] in WORKLOADS]


def test_number_of_replicas_is_only_the_autoscalers() -> None:
    """Check the base: a number there would be reset to 1 when an overlay removes it, and override the autoscaler."""
    for directory in ("base", "overlays/production"):
        assert "replicas" not in only(build(directory), "Deployment", "saldo")["spec"]


@pytest.mark.parametrize("example", ["", "overlays/example/"], ids=["base", "example"])
def test_service_relay_and_migration_have_the_same_settings(example: str) -> None:
    service = build(f"{example}service" if example else "overlays/production")
    migration = build(f"{example}migrate" if example else "migrate")
    shared = {
        workload["metadata"]["name"]: settings_of(workload, manifests)
        for manifests in (service, migration)
        for workload in manifests
        if workload["kind"] in WORKLOADS
    }
    assert len(shared) == 3
    first, *others = shared.values()
    assert {"SALDO_CURRENCY_DECIMALS", "SALDO_MAX_LATENESS_SECONDS"} <= first.keys()
    assert all(other == first for other in others)
    # If the migration's ConfigMap had the service's name, `kubectl delete -k` of the migration would delete it.
    names = [
        {m["metadata"]["name"] for m in manifests if m["kind"] == "ConfigMap"}
        for manifests in (service, migration)
    ]
    assert not names[0] & names[1]


def test_changed_setting_starts_new_pods(tmp_path: Path) -> None:
    root = tmp_path / "kubernetes"
    shutil.copytree(KUBERNETES, root)
    file = root / "settings/settings.env"
    before = only(build("base"), "Deployment", "saldo")["spec"]["template"]
    file.write_text(file.read_text().replace("DECIMALS=2", "DECIMALS=3"))
    manifests = build("base", root=root)
    deployment = only(manifests, "Deployment", "saldo")
    assert settings_of(deployment, manifests)["SALDO_CURRENCY_DECIMALS"] == "3"
    assert deployment["spec"]["template"] != before


def test_example_overlay_sets_image_settings_and_pull_secret_in_one_place() -> None:
    for directory in ("service", "migrate"):
        manifests = build(f"overlays/example/{directory}")
        workloads = [m for m in manifests if m["kind"] in WORKLOADS]
        assert workloads
        for workload in workloads:
            name, _, digest = container(workload)["image"].partition("@sha256:")
            assert name == "registry.example/saldo"
            assert len(digest) == 64
            assert settings_of(workload, manifests)["SALDO_MAX_LATENESS_SECONDS"] == "2592000"
            account = only(manifests, "ServiceAccount", pod(workload)["serviceAccountName"])
            assert account["imagePullSecrets"] == [{"name": "saldo-registry"}]


def test_every_workload_has_an_account_in_its_own_directory() -> None:
    """Check the accounts: pull secrets are added to them, and the Job runs before the base exists."""
    for directory in ("base", "migrate"):
        manifests = build(directory)
        for workload in (m for m in manifests if m["kind"] in WORKLOADS):
            account = only(manifests, "ServiceAccount", pod(workload)["serviceAccountName"])
            assert account["automountServiceAccountToken"] is False


def test_storage_of_a_pod_is_requested_and_limited() -> None:
    for workload in _workloads("base", "migrate"):
        request = container(workload)["resources"]["requests"]["ephemeral-storage"]
        (tmp,) = (volume for volume in pod(workload)["volumes"] if "emptyDir" in volume)
        assert parse_quantity(request) >= parse_quantity(tmp["emptyDir"]["sizeLimit"])
        if workload["kind"] == "Deployment":
            annotations = workload["spec"]["template"]["metadata"]["annotations"]
            key = "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes"
            assert annotations[key] == tmp["name"]
        # The kubelet evicts a pod whose volume exceeds its limit, so the spool must fit.
        if workload["metadata"]["name"] == "saldo":
            spool = environment(workload).get(
                "SALDO_PROCESS_SPOOL_BYTES_MAX",
                Settings.model_fields["process_spool_bytes_max"].default,
            )
            assert parse_quantity(tmp["emptyDir"]["sizeLimit"]) > int(spool)


def test_autoscaler_measures_against_the_processor_of_a_process() -> None:
    manifests = build("overlays/production")
    requests = container(only(manifests, "Deployment", "saldo"))["resources"]["requests"]
    assert requests["cpu"] == "1"
    text = HOW_TO.read_text()
    assert "metrics-server" in text
    autoscaler = only(manifests, "HorizontalPodAutoscaler", "saldo")["spec"]
    (metric,) = autoscaler["metrics"]
    assert f"{metric['resource']['target']['averageUtilization']} %" in text


def test_openshift_chooses_the_user_ids(tmp_path: Path) -> None:
    root = tmp_path / "kubernetes"
    shutil.copytree(KUBERNETES, root)
    (root / "openshift").mkdir()
    (root / "openshift/kustomization.yaml").write_text(
        yaml.safe_dump(
            {
                "resources": ["../overlays/production", "../migrate"],
                "components": ["../components/openshift"],
            }
        )
    )
    workloads = [m for m in build("openshift", root=root) if m["kind"] in WORKLOADS]
    assert len(workloads) == 3
    for workload in workloads:
        context = pod(workload)["securityContext"]
        assert set(context) == {"runAsNonRoot", "seccompProfile"}
        assert container(workload)["workingDir"] == "/tmp"


def test_service_has_an_address_of_each_family() -> None:
    service = only(build("base"), "Service", "saldo")["spec"]
    assert service["ipFamilyPolicy"] == "PreferDualStack"
    assert "# SALDO_HOST=::\n" in (KUBERNETES / "settings/settings.env").read_text()
