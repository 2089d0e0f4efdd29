"""The manifests of deploy/kubernetes: each file by itself, and what kustomize makes of them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.conftest import missing

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "deploy/kubernetes"
APPLIED = (
    "migrate",
    "base",
    *(f"overlays/{n}" for n in ("production", "monitoring", "cloudnative-pg")),
)
"""What an operator names to `kubectl apply -k`."""

Manifest = dict[str, Any]


def build(directory: str) -> list[Manifest]:
    """What `kubectl apply -k` would send; skips the test where kustomize is not installed."""
    if shutil.which("kustomize"):
        command = ["kustomize", "build"]
    elif shutil.which("kubectl"):
        command = ["kubectl", "kustomize"]
    else:
        missing("kubectl", "no kubectl and no kustomize in PATH")
    done = subprocess.run(
        [*command, str(KUBERNETES / directory)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
    return [manifest for manifest in yaml.safe_load_all(done.stdout) if manifest]


def kustomizations() -> list[Path]:
    return sorted(KUBERNETES.rglob("kustomization.yaml"))


def resources(kustomization: Path) -> Iterator[Path]:
    """The files that a kustomization names, those of the directories it names too."""
    for name in yaml.safe_load(kustomization.read_text())["resources"]:
        path = (kustomization.parent / name).resolve()
        if path.is_dir():
            yield from resources(path / "kustomization.yaml")
        else:
            yield path


def read(path: Path) -> list[Manifest]:
    return [manifest for manifest in yaml.safe_load_all(path.read_text()) if manifest]


def only(manifests: list[Manifest], kind: str, name: str) -> Manifest:
    """The one of this kind and name."""
    (found,) = (m for m in manifests if m["kind"] == kind and m["metadata"]["name"] == name)
    return found


def pod(workload: Manifest) -> dict[str, Any]:
    """The specification of the pods of a Deployment or a Job."""
    spec: dict[str, Any] = workload["spec"]["template"]["spec"]
    return spec


def container(workload: Manifest) -> dict[str, Any]:
    (found,) = pod(workload)["containers"]
    return dict(found)


def environment(workload: Manifest) -> dict[str, str]:
    """The variables whose values are in the manifest."""
    return {v["name"]: v["value"] for v in container(workload)["env"] if "value" in v}
