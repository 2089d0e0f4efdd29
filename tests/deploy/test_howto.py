"""The commands that the how-tos of containers and Kubernetes print: run where they can be, checked where they can't."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.conftest import missing
from tests.deploy.manifests import APPLIED, KUBERNETES, ROOT, Manifest, build, container

KUBECTL = (
    "apply -k ",
    "create secret ",
    "delete job ",
    "label namespace ",
    "rollout status ",
    "wait ",
)


def _blocks(document: str) -> list[str]:
    text = (ROOT / "docs/howto" / document).read_text()
    return re.findall(r"```sh\n(.*?)```", text, re.DOTALL)


def _lines(document: str) -> list[str]:
    """Each command on a line of its own."""
    return [
        line.strip()
        for block in _blocks(document)
        for line in block.replace("\\\n", " ").splitlines()
    ]


def _secrets(directory: Path) -> list[Manifest]:
    """Those that the commands create, as kubectl would send them."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        missing("kubectl", "no kubectl in PATH")
    shim = directory / "kubectl"
    shim.write_text(
        "#!/bin/sh\n"
        'case "$1 $2" in\n'
        f'"create secret") echo ---; exec {kubectl} "$@" --dry-run=client --output=yaml ;;\n'
        "esac\n"
    )
    shim.chmod(0o755)
    blocks = [block for block in _blocks("kubernetes.md") if "create secret" in block]
    done = subprocess.run(
        ["bash", "-euc", "\n".join(blocks)],
        env=os.environ | {"PATH": f"{directory}:{os.environ['PATH']}", "KUBECONFIG": "/dev/null"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [secret for secret in yaml.safe_load_all(done.stdout) if secret]


def test_passwords_for_compose_are_made_as_printed(tmp_path: Path) -> None:
    (block,) = (block for block in _blocks("containers.md") if ".env" in block)
    subprocess.run(["bash", "-euc", block], cwd=tmp_path, check=True)
    made = tmp_path / ".env"
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    passwords = dict(line.split("=") for line in made.read_text().splitlines())
    assert all(re.fullmatch("[0-9a-f]{48}", password) for password in passwords.values())
    asked = set(re.findall(r"\$\{(\w+):\?", (ROOT / "compose.yaml").read_text()))
    assert set(passwords) == asked
    # Saldo reads the file too, when it runs there, and refuses names that are no settings.
    assert not [name for name in passwords if name.startswith("SALDO_")]


def test_secrets_are_made_as_the_manifests_name_them(tmp_path: Path) -> None:
    made = _secrets(tmp_path)
    assert {secret["metadata"]["namespace"] for secret in made} == {"saldo"}
    keys: dict[str, set[str]] = {}
    for secret in made:
        keys.setdefault(secret["metadata"]["name"], set()).update(secret["data"])
    manifests = [manifest for directory in ("migrate", "base") for manifest in build(directory)]
    for workload in (m for m in manifests if m["kind"] in {"Deployment", "Job"}):
        for variable in container(workload)["env"]:
            if "valueFrom" in variable:
                reference = variable["valueFrom"]["secretKeyRef"]
                assert reference["key"] in keys[reference["name"]]
    (cluster,) = (m for m in build("overlays/cloudnative-pg") if m["kind"] == "Cluster")
    spec = cluster["spec"]
    for name in (
        spec["bootstrap"]["initdb"]["secret"]["name"],
        spec["managed"]["roles"][0]["passwordSecret"]["name"],
    ):
        assert keys[name] == {"username", "password"}


def test_kubectl_is_told_what_there_is() -> None:
    lines = [
        line.removeprefix("kubectl ")
        for line in _lines("kubernetes.md")
        if line.startswith("kubectl ")
    ]
    assert len(lines) > 12
    for line in lines:
        assert line.startswith(KUBECTL), line
        if line.startswith("apply -k "):
            directory = line.removeprefix("apply -k deploy/kubernetes/")
            assert directory in {*APPLIED, "namespace"}
    names = {(m["kind"].lower(), m["metadata"]["name"]) for d in APPLIED for m in build(d)}
    text = "\n".join(lines)
    for kind, name in re.findall(r"\b(job|deployment|cluster)[/ ](saldo[\w-]*)", text):
        assert (kind, name) in names


def test_the_rules_are_rendered_as_printed() -> None:
    (line,) = (line for line in _lines("kubernetes.md") if line.startswith("python "))
    command, _, target = line.partition(" >")
    assert (ROOT / target) == KUBERNETES / "overlays/monitoring/prometheus-rule.yaml"
    if not (ROOT / "deploy/prometheus/rules").is_dir():
        pytest.skip("no deploy/prometheus/rules yet")
    assert (ROOT / command.split()[1]).is_file()
