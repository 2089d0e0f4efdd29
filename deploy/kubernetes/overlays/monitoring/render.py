"""Prints prometheus-rule.yaml: each file of deploy/prometheus/rules as a PrometheusRule, for the Prometheus Operator.

    python deploy/kubernetes/overlays/monitoring/render.py >deploy/kubernetes/overlays/monitoring/prometheus-rule.yaml

Kustomize can't put a file into a resource; tests/deploy holds the two against each other.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml

RULES = Path(__file__).parents[3] / "prometheus/rules"
HEADER = "# Made by render.py from deploy/prometheus/rules: change those.\n"


def render(rules: Path) -> str:
    """The manifests, one for each file: the same name of a group may be in several files, not twice in one."""
    manifests = [_manifest(file) for file in sorted(rules.glob("*.yml"))]
    return HEADER + yaml.dump_all(
        manifests, Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True
    )


class _Dumper(yaml.SafeDumper):
    """Writes what has several lines in several lines."""


_Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, style="|" if "\n" in text else None
    ),
)


def _manifest(file: Path) -> dict[str, Any]:
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {
            "name": f"saldo-{file.stem}",
            "labels": {"app.kubernetes.io/name": "saldo"},
        },
        "spec": yaml.safe_load(file.read_text()),
    }


if __name__ == "__main__":
    sys.stdout.write(render(RULES))
