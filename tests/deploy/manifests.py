"""The manifests of deploy/kubernetes: each file by itself, and the output of kustomize."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from harness.prerequisites import find_program, skip_or_fail

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "deploy/kubernetes"
APPLIED = (
    "namespace",
    "migrate",
    "base",
    *(f"overlays/{n}" for n in ("production", "monitoring", "cloudnative-pg")),
    *(f"overlays/{n}" for n in ("ingress-nginx", "gateway", "gateway-envoy")),
    *(f"overlays/example/{n}" for n in ("migrate", "service")),
)
"""The directories that an operator passes to `kubectl apply -k`."""

Manifest = dict[str, Any]


def build(directory: str, *, root: Path = KUBERNETES) -> list[Manifest]:
    """Return what `kubectl apply -k` would send; skip the test where kustomize is not installed.

    Args:
        directory: The directory's path below the root.
        root: The directory `deploy/kubernetes`, or a copy of it.
    """
    return [manifest for manifest in yaml.safe_load_all(_build(root / directory)) if manifest]


@cache
def _build(directory: Path) -> str:
    """Return the output of kustomize; many tests use the same directories."""
    if find_program("kustomize", "kubectl"):
        command = ["kustomize", "build"]
    elif find_program("kubectl", "kubectl"):
        command = ["kubectl", "kustomize"]
    else:
        skip_or_fail("kubectl", "no kubectl and no kustomize in PATH")
    done = subprocess.run([*command, str(directory)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
    return done.stdout


def kustomizations() -> list[Path]:
    return sorted(KUBERNETES.rglob("kustomization.yaml"))


def resources(kustomization: Path) -> Iterator[Path]:
    """Yield the files that a kustomization lists, including those of the directories that it lists."""
    for name in yaml.safe_load(kustomization.read_text()).get("resources", ()):
        path = (kustomization.parent / name).resolve()
        if path.is_dir():
            yield from resources(path / "kustomization.yaml")
        else:
            yield path


def read(path: Path) -> list[Manifest]:
    return [manifest for manifest in yaml.safe_load_all(path.read_text()) if manifest]


def only(manifests: list[Manifest], kind: str, name: str) -> Manifest:
    """Return the one manifest of this kind and name."""
    (found,) = (m for m in manifests if m["kind"] == kind and m["metadata"]["name"] == name)
    return found


def pod(workload: Manifest) -> dict[str, Any]:
    """Return the pod specification of a Deployment or a Job."""
    spec: dict[str, Any] = workload["spec"]["template"]["spec"]
    return spec


def container(workload: Manifest) -> dict[str, Any]:
    (found,) = pod(workload)["containers"]
    return dict(found)


def settings_of(workload: Manifest, manifests: list[Manifest]) -> dict[str, str]:
    """Return the data of the ConfigMap that a workload takes its shared settings from."""
    (source,) = container(workload)["envFrom"]
    data: dict[str, str] = only(manifests, "ConfigMap", source["configMapRef"]["name"])["data"]
    return data


def environment(workload: Manifest) -> dict[str, str]:
    """Return the environment variables whose values are in the workload's manifest."""
    return {v["name"]: v["value"] for v in container(workload)["env"] if "value" in v}


def parse_quantity(text: str) -> int:
    """Return a size of Kubernetes (Mi, Gi) or PostgreSQL (MB, GB) in bytes."""
    units = {"Mi": 2**20, "MB": 2**20, "Gi": 2**30, "GB": 2**30}
    return int(text[:-2]) * units[text[-2:]]
