"""Manifests of Kubernetes as pods of Podman, as far as `podman kube play` supports them."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from harness.containers.engine import Engine

PLAYED: Final = frozenset({"ConfigMap", "Secret", "Pod", "Deployment"})
"""The kinds that Podman 4.3 plays. It ignores accounts, policies, budgets and services."""


def convert(manifests: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the manifests that Podman plays. A Job becomes a Pod with the same specification."""
    played = []
    for manifest in manifests:
        converted = dict(manifest)
        if converted["kind"] == "Job":
            template = converted["spec"]["template"]
            metadata = {**template["metadata"], "name": converted["metadata"]["name"]}
            converted = {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": metadata,
                "spec": template["spec"],
            }
        if converted["kind"] in PLAYED:
            played.append(converted)
    return played


def create_secret(engine: Engine, directory: Path, name: str, values: Mapping[str, str]) -> None:
    """Create a secret for environment variables.

    Podman 4.3 reads such a secret as a JSON object of encoded values, which it does not write when it plays a Secret.

    Args:
        engine: The engine that keeps the secret.
        directory: The directory for the secret's file.
        name: The name of the secret.
        values: The values by key.
    """
    file = directory / name
    file.write_text(json.dumps(_encode(values)))
    engine.run("secret", "create", name, str(file))


def build_secret(name: str, values: Mapping[str, str]) -> dict[str, Any]:
    """Return the manifest of a Secret for a volume."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name},
        "data": _encode(values),
    }


def _encode(values: Mapping[str, str]) -> dict[str, str]:
    return {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}


class Pods:
    """Played manifests."""

    def __init__(
        self, engine: Engine, file: Path, manifests: Iterable[Mapping[str, Any]], network: str
    ) -> None:
        """Write the manifests to a file, and play it.

        Args:
            engine: The engine, which must have the images.
            file: The path of the file.
            manifests: The manifests, of any kinds.
            network: The network that the pods join.
        """
        self._engine = engine
        self._file = file
        file.write_text(yaml.safe_dump_all(convert(manifests)))
        engine.run("kube", "play", f"--network={network}", str(file))

    def stop(self, seconds: int) -> None:
        """Stop all containers, and keep them, so that their logs can be read.

        Args:
            seconds: The grace period, since Podman 4.3 does not use that of the manifests.
        """
        self._engine.run("pod", "stop", "--all", f"--time={seconds}")
