"""Commands in the how-to pages about containers and Kubernetes: run where that is possible, else checked."""

from __future__ import annotations

import base64
import os
import re
import shlex
import stat
import subprocess
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
import yaml

from harness.prerequisites import find_program, skip_or_fail
from saldo.settings.model import Settings
from tests.deploy.image import stages
from tests.deploy.manifests import APPLIED, KUBERNETES, ROOT, Manifest, build, container, only, pod

DEPLOYMENTS = ("saldo", "saldo-relay")

KUBECTL = (
    "apply -k ",
    "create secret ",
    "get secret ",
    "label namespace ",
    "patch configmap ",
    "rollout restart ",
    "rollout undo ",
    "drain ",
    "wait ",
)


def _blocks(document: str) -> list[str]:
    text = (ROOT / "docs/howto" / document).read_text()
    return re.findall(r"```sh\n(.*?)```", text, re.DOTALL)


def _lines(document: str) -> list[str]:
    """Return each command of a document as one line."""
    return [
        line.strip()
        for block in _blocks(document)
        for line in block.replace("\\\n", " ").splitlines()
    ]


def _secrets(directory: Path) -> list[Manifest]:
    """Return the Secrets that the commands create, as kubectl would send them."""
    kubectl = find_program("kubectl", "kubectl")
    if kubectl is None:
        skip_or_fail("kubectl", "no kubectl in PATH")
    shim = directory / "kubectl"
    shim.write_text(
        "#!/bin/sh\n"
        'case "$1 $2" in\n'
        f'"create secret") echo ---; exec {kubectl} "$@" --dry-run=client --output=yaml ;;\n'
        "esac\n"
    )
    shim.chmod(0o755)
    blocks = [block for block in _blocks("kubernetes.md") if "create secret" in block]
    (directory / "database-ca.pem").write_text("a certificate")
    done = subprocess.run(
        ["bash", "-euc", "\n".join(blocks)],
        cwd=directory,
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
    # When Saldo runs in that directory it reads the file, too, and rejects unknown names of settings.
    assert not [name for name in passwords if name.startswith("SALDO_")]


@pytest.mark.parametrize("readme", ["README.md", "README.ru.md"])
def test_container_of_the_quick_start_answers_on_this_machine_only(readme: str) -> None:
    build, start = re.findall(r"^podman .*$", (ROOT / readme).read_text(), re.MULTILINE)
    assert build == "podman build --tag saldo ."
    arguments = shlex.split(start)
    assert arguments[-1] == "saldo"
    ports = arguments[arguments.index("--publish") + 1].split(":")
    assert ports == ["127.0.0.1", "8000", "8000"]
    # Without a key and without this setting, a service that listens on all addresses does not start.
    assert arguments[arguments.index("--env") + 1] == "SALDO_INSECURE=true"
    assert "insecure" in Settings.model_fields
    *_, last = stages().values()
    assert last.name == "embedded"
    assert stages()["base"].values("EXPOSE") == ["8000"]


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
        for volume in (each for each in pod(workload)["volumes"] if "secret" in each):
            wanted = {item["key"] for item in volume["secret"]["items"]}
            assert wanted == keys[volume["secret"]["secretName"]]
            # A connection string that names a certificate must use the path of the mount.
            (mount,) = (
                m for m in container(workload)["volumeMounts"] if m["name"] == volume["name"]
            )
            for secret in (s for s in made if s["metadata"]["name"] == "saldo-database"):
                for url in map(_decode, secret["data"].values()):
                    query = dict(parse_qsl(urlsplit(url).query))
                    assert query["sslmode"] == "verify-full"
                    assert query["sslrootcert"] == f"{mount['mountPath']}/ca.crt"
    (cluster,) = (m for m in build("overlays/cloudnative-pg") if m["kind"] == "Cluster")
    spec = cluster["spec"]
    for name in (
        spec["bootstrap"]["initdb"]["secret"]["name"],
        spec["managed"]["roles"][0]["passwordSecret"]["name"],
    ):
        assert keys[name] == {"username", "password"}


def _decode(data: str) -> str:
    return base64.b64decode(data).decode()


KUBECTL_OF_THE_TEST = """#!/bin/sh
echo "$@" >>"$CALLS"
case "$1" in
"$FAILS") exit 1 ;;
get) case $(grep -c ^get "$CALLS") in 1) ;; 2) exit 1 ;; *) echo "$CONDITIONS" ;; esac ;;
esac
"""
"""A kubectl that records its calls.

The first query after the Job finds no condition yet, and the second one no server.
"""


def _roll_out(directory: Path, *, own: bool = False, **environment: str) -> tuple[int, list[str]]:
    """Run the script with the test's kubectl; return its exit code and the calls of kubectl.

    Args:
        own: Whether to run the page's second command, with an overlay of the operator's own.
        environment: Variables for the test's kubectl.
    """
    (directory / "kubectl").write_text(KUBECTL_OF_THE_TEST)
    (directory / "sleep").write_text("#!/bin/sh\n")
    for program in ("kubectl", "sleep"):
        (directory / program).chmod(0o755)
    calls = directory / "calls"
    commands = [each for each in _lines("kubernetes.md") if "roll-out.sh" in each]
    script, overlay, *migration = commands[int(own)].split()
    # The number of polls is reduced, since the original takes an hour.
    copy = directory / "roll-out.sh"
    copy.write_text(re.sub(r"polls_max=\d+", "polls_max=3", (ROOT / script).read_text()))
    done = subprocess.run(
        ["sh", str(copy), overlay, *(migration or ["deploy/kubernetes/migrate"])],
        cwd=ROOT,
        env=os.environ
        | {"PATH": f"{directory}:{os.environ['PATH']}", "CALLS": str(calls), "FAILS": "nothing"}
        | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, calls.read_text().splitlines()


def test_a_rollout_follows_a_migration_that_has_completed(tmp_path: Path) -> None:
    code, calls = _roll_out(tmp_path, CONDITIONS="SuccessCriteriaMet Complete")
    assert code == 0
    migrated = max(index for index, call in enumerate(calls) if call.startswith("get job"))
    logged, applied, *waited = calls[migrated + 1 :]
    assert logged.startswith("logs ")
    assert applied == "apply -k deploy/kubernetes/overlays/production"
    assert [call.rpartition("/")[2] for call in waited] == [*DEPLOYMENTS]
    assert calls[0].startswith("delete job saldo-migrate ")
    assert calls[1] == "apply -k deploy/kubernetes/migrate"


def test_own_overlay_is_rolled_out_after_its_own_migration(tmp_path: Path) -> None:
    code, calls = _roll_out(tmp_path, own=True, CONDITIONS="Complete")
    assert code == 0
    directories = [call.removeprefix("apply -k ") for call in calls if call.startswith("apply")]
    assert directories == [
        f"deploy/kubernetes/overlays/example/{n}" for n in ("migrate", "service")
    ]
    for directory in directories:
        assert directory.removeprefix("deploy/kubernetes/") in APPLIED


@pytest.mark.parametrize(
    "environment",
    [
        {"CONDITIONS": "FailureTarget Failed"},
        {"CONDITIONS": ""},
        {"CONDITIONS": "Complete", "FAILS": "delete"},
    ],
    ids=["failed", "never ended", "no cluster"],
)
def test_nothing_is_rolled_out_without_a_migration(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    code, calls = _roll_out(tmp_path, own=False, **environment)
    assert code != 0
    assert not [call for call in calls if "overlays" in call]
    if "FAILS" not in environment:
        assert [call for call in calls if call.startswith("logs ")]


def test_failed_rollout_makes_the_script_fail(tmp_path: Path) -> None:
    code, _ = _roll_out(tmp_path, CONDITIONS="Complete", FAILS="rollout")
    assert code != 0


def test_rollout_script_names_existing_resources() -> None:
    script = (KUBERNETES / "roll-out.sh").read_text()
    job = only(build("migrate"), "Job", "saldo-migrate")
    assert f"job={job['metadata']['name']}\n" in script
    assert f"namespace={job['metadata']['namespace']}\n" in script
    names = {m["metadata"]["name"] for m in build("base") if m["kind"] == "Deployment"}
    assert set(re.findall(r"deployment/([\w-]+)", script)) == names == set(DEPLOYMENTS)
    polls, seconds = (
        int(re.findall(rf"^poll{s}=(\d+)", script, re.MULTILINE)[0]) for s in ("s_max", "_seconds")
    )
    assert polls * seconds > job["spec"]["activeDeadlineSeconds"]


def test_kubectl_commands_name_existing_resources() -> None:
    lines = [
        line.removeprefix("kubectl ")
        for line in _lines("kubernetes.md")
        if line.startswith("kubectl ")
    ]
    assert len(lines) > 10
    for line in lines:
        assert line.startswith(KUBECTL), line
        if line.startswith("apply -k "):
            directory = line.removeprefix("apply -k deploy/kubernetes/")
            assert directory in APPLIED
    names = {(m["kind"].lower(), m["metadata"]["name"]) for d in APPLIED for m in build(d)}
    text = "\n".join(lines)
    for kind, name in re.findall(r"\b(job|deployment|cluster)[/ ](saldo[\w-]*)", text):
        assert (kind, name) in names


def test_helm_renders_the_values_of_the_page(tmp_path: Path) -> None:
    """Run the printed command as `helm template`, because no cluster is available."""
    helm = find_program("helm", "helm")
    if helm is None:
        skip_or_fail("helm", "no helm in PATH")
    text = (ROOT / "docs/howto/kubernetes.md").read_text()
    (values,) = (b for b in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL) if "repository:" in b)
    (tmp_path / "values.yaml").write_text(values)
    (line,) = (line for line in _lines("kubernetes.md") if line.startswith("helm "))
    printed = line.replace("deploy/helm/saldo", str(ROOT / "deploy/helm/saldo")).split()
    assert printed[:3] == ["helm", "upgrade", "--install"]
    seconds = int(printed.pop(printed.index("--timeout") + 1).removesuffix("m")) * 60
    arguments = [each for each in printed[3:] if each not in {"--wait", "--timeout"}]
    done = subprocess.run(
        [helm, "template", *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    manifests = [manifest for manifest in yaml.safe_load_all(done.stdout) if manifest]
    job = only(manifests, "Job", "saldo-migrate")
    assert container(job)["image"].startswith("registry.example/saldo@sha256:")
    assert only(manifests, "HTTPRoute", "saldo")["spec"]["hostnames"] == ["ledger.example"]
    assert job["spec"]["activeDeadlineSeconds"] < seconds


def test_the_rules_are_rendered_as_printed() -> None:
    (line,) = (line for line in _lines("kubernetes.md") if line.startswith("python "))
    command, _, target = line.partition(" >")
    assert (ROOT / target) == KUBERNETES / "overlays/monitoring/prometheus-rule.yaml"
    if not (ROOT / "deploy/prometheus/rules").is_dir():
        pytest.skip("no deploy/prometheus/rules yet")
    assert (ROOT / command.split()[1]).is_file()
