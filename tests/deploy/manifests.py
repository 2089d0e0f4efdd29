"""The manifests of deploy/kubernetes: each file by itself, and the output of kustomize."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
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
)
"""The directories that an operator passes to `kubectl apply -k`."""

Manifest = dict[str, Any]


def build(directory: str) -> list[Manifest]:
    """Return what `kubectl apply -k` would send; skip the test where kustomize is not installed."""
    if find_program("kustomize", "kubectl"):
        command = ["kustomize", "build"]
    elif find_program("kubectl", "kubectl"):
        command = ["kubectl", "kustomize"]
    else:
        skip_or_fail("kubectl", "no kubectl and no kustomize in PATH")
    done = subprocess.run(
        [*command, str(KUBERNETES / directory)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
    return [manifest for manifest in yaml.safe_load_all(done.stdout) if manifest]


def kustomizations() -> list[Path]:
    return sorted(KUBERNETES.rglob("kustomization.yaml"))


def resources(kustomization: Path) -> Iterator[Path]:
    """Yield the files that a kustomization lists, including those of the directories that it lists."""
    for name in yaml.safe_load(kustomization.read_text())["resources"]:
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


def environment(workload: Manifest) -> dict[str, str]:
    """Return the environment variables whose values are in the manifest."""
    return {v["name"]: v["value"] for v in container(workload)["env"] if "value" in v}
