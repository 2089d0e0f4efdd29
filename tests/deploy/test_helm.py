"""The Helm chart: its templates are generated from the manifests, and it renders the same objects as Kustomize."""

from __future__ import annotations

import subprocess
from typing import Any

import kubernetes_validate
import pytest
import yaml

from deploy.helm.render import CHART, render
from harness.prerequisites import find_program, skip_or_fail
from saldo.version import VERSION
from tests.deploy.manifests import Manifest, build, container, only, pod

OF_HELM = {
    "helm.sh/chart",
    "app.kubernetes.io/instance",
    "app.kubernetes.io/managed-by",
    "app.kubernetes.io/version",
}
"""Labels that the chart adds to each object."""

EVERYTHING = (
    *("--set", "ingress.enabled=true", "--set", "httpRoute.enabled=true"),
    *("--set", "httpRoute.envoyGateway=true", "--set", "monitoring.enabled=true"),
)


def _helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    helm = find_program("helm", "helm")
    if helm is None:
        skip_or_fail("helm", "no helm in PATH")
    return subprocess.run([helm, *arguments], capture_output=True, text=True, check=False)


def _render(*arguments: str) -> list[Manifest]:
    """Return the objects of `helm template`, in a release named differently from its objects."""
    done = _helm("template", "ledger", str(CHART), "--namespace", "saldo", *arguments)
    assert done.returncode == 0, done.stderr
    return [manifest for manifest in yaml.safe_load_all(done.stdout) if manifest]


def _comparable(manifests: list[Manifest]) -> dict[tuple[str, str], Manifest]:
    """Return the manifests by kind and name, without what only Helm or only Kustomize adds."""
    names = {
        m["metadata"]["name"]: m["metadata"]["name"].rpartition("settings")[0] + "settings"
        for m in manifests
        if m["kind"] == "ConfigMap"
    }
    found = {}
    for manifest in manifests:
        metadata = manifest["metadata"]
        # Kustomize adds a hash to the ConfigMap's name. Helm adds it to the pods' annotations.
        metadata["name"] = names.get(metadata["name"], metadata["name"])
        metadata["namespace"] = "saldo"
        labels = {k: v for k, v in metadata.pop("labels", {}).items() if k not in OF_HELM}
        annotations = {
            k: v
            for k, v in metadata.pop("annotations", {}).items()
            if not k.startswith("helm.sh/hook")
        }
        metadata |= {"labels": labels, "annotations": annotations}
        template = manifest["spec"].get("template") if "spec" in manifest else None
        if template is not None:
            template["metadata"].get("annotations", {}).pop("checksum/settings", None)
            for only_container in template["spec"]["containers"]:
                only_container.pop("imagePullPolicy", None)
                reference = only_container["envFrom"][0]["configMapRef"]
                reference["name"] = names[reference["name"]]
        found[manifest["kind"], metadata["name"]] = manifest
    return found


def test_templates_are_generated_from_the_manifests() -> None:
    for name, text in render().items():
        assert (CHART / name).read_text() == text, f"{name}: run python -m deploy.helm.render"


def test_chart_has_the_version_of_the_program() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == VERSION


def test_chart_renders_the_overlay_production_and_the_migration() -> None:
    assert _comparable(_render()) == _comparable([*build("overlays/production"), *build("migrate")])


def test_chart_with_all_options_renders_the_other_overlays() -> None:
    directories = ("overlays/monitoring", "overlays/ingress-nginx", "overlays/gateway-envoy")
    manifests = [m for directory in (*directories, "migrate") for m in build(directory)]
    rendered = _render(*EVERYTHING)
    assert _comparable(rendered) == _comparable(manifests)
    kinds = {"Deployment", "Job", "Service", "Ingress", "NetworkPolicy", "ConfigMap"}
    for manifest in (m for m in rendered if m["kind"] in kinds):
        kubernetes_validate.validate(manifest, "1.30", strict=True)


def test_lint_finds_no_fault() -> None:
    done = _helm("lint", "--strict", str(CHART), *EVERYTHING)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[WARNING]" not in done.stdout


def test_migration_runs_before_the_upgrade() -> None:
    manifests = _render()
    job = only(manifests, "Job", "saldo-migrate")
    annotations = job["metadata"]["annotations"]
    assert annotations["helm.sh/hook"] == "pre-install,pre-upgrade"
    # What the Job refers to exists before it.
    (source,) = container(job)["envFrom"]
    for needed in (
        only(manifests, "ConfigMap", source["configMapRef"]["name"]),
        only(manifests, "ServiceAccount", pod(job)["serviceAccountName"]),
    ):
        hook = needed["metadata"]["annotations"]
        assert hook["helm.sh/hook"] == annotations["helm.sh/hook"]
        assert int(hook["helm.sh/hook-weight"]) < int(annotations["helm.sh/hook-weight"])


def test_values_set_image_settings_and_pods() -> None:
    manifests = _render(
        *("--set", "image.repository=registry.example/saldo"),
        *("--set", f"image.digest=sha256:{'0' * 64}"),
        *("--set", "imagePullSecrets[0].name=saldo-registry"),
        *("--set-string", "settings.SALDO_MAX_LATENESS_SECONDS=2592000"),
        *("--set", "autoscaling.enabled=false", "--set", "replicas=4"),
        *("--set", "service.nodeSelector.disk=fast", "--set", "relay.priorityClassName=high"),
        *("--set", "podSecurityContext.runAsUser=null", "--set", "workingDir=/tmp"),
        *("--set", "networkPolicies.enabled=false"),
    )
    workloads = [m for m in manifests if m["kind"] in {"Deployment", "Job"}]
    assert len(workloads) == 3
    for workload in workloads:
        assert container(workload)["image"] == f"registry.example/saldo@sha256:{'0' * 64}"
        assert "runAsUser" not in pod(workload)["securityContext"]
        assert container(workload)["workingDir"] == "/tmp"
        account = only(manifests, "ServiceAccount", pod(workload)["serviceAccountName"])
        assert account["imagePullSecrets"] == [{"name": "saldo-registry"}]
    for manifest in (m for m in manifests if m["kind"] == "ConfigMap"):
        assert manifest["data"]["SALDO_MAX_LATENESS_SECONDS"] == "2592000"
    service = only(manifests, "Deployment", "saldo")
    assert service["spec"]["replicas"] == 4
    assert pod(service)["nodeSelector"] == {"disk": "fast"}
    assert pod(only(manifests, "Deployment", "saldo-relay"))["priorityClassName"] == "high"
    kinds = {m["kind"] for m in manifests}
    assert not kinds & {"HorizontalPodAutoscaler", "NetworkPolicy"}


def test_changed_setting_starts_new_pods() -> None:
    def checksum(*arguments: str) -> Any:
        deployment = only(_render(*arguments), "Deployment", "saldo")
        return deployment["spec"]["template"]["metadata"]["annotations"]["checksum/settings"]

    assert checksum() != checksum("--set-string", "settings.SALDO_CURRENCY_DECIMALS=3")


@pytest.mark.parametrize(
    "value",
    [
        *("imag.tag=1", "settings.SALDO_CURRENCY_DECIMALS=2", "image.digest=latest"),
        *("settings.CURRENCY=x", "service.replicas=3"),
    ],
)
def test_values_with_a_mistake_are_rejected(value: str) -> None:
    done = _helm("template", "saldo", str(CHART), "--set", value)
    assert done.returncode != 0
    assert "values.schema.json" in done.stderr or "schema" in done.stderr
