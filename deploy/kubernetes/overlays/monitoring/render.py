"""Generator of prometheus-rule.yaml, with a PrometheusRule for each file in deploy/prometheus/rules.

    python deploy/kubernetes/overlays/monitoring/render.py >deploy/kubernetes/overlays/monitoring/prometheus-rule.yaml

The manifests are for the Prometheus Operator. Kustomize can't put the content of a file into a resource, so the rules
are repeated there. tests/deploy checks that they are the same.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml

RULES = Path(__file__).parents[3] / "prometheus/rules"
HEADER = "# Made by render.py from deploy/prometheus/rules: change those.\n"


def render(rules: Path) -> str:
    """Return the manifests, one for each file of rules.

    Several files can contain groups of the same name, but one manifest cannot contain a name twice.
    """
    manifests = [_manifest(file) for file in sorted(rules.glob("*.yml"))]
    return HEADER + yaml.dump_all(
        manifests, Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True
    )


class _Dumper(yaml.SafeDumper):
    """A YAML dumper that writes texts with line breaks as block scalars."""


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
