"""Access through an Ingress or the Gateway API: limits and timeouts, and streams through a real nginx."""

from __future__ import annotations

import json
import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import pytest

from harness.ports import find_free_ports
from harness.prerequisites import find_program, skip_or_fail
from harness.program.service import ServiceProcess, run_service_process
from saldo.settings.model import Settings
from tests.deploy.manifests import ROOT, build, container, environment, only

HOW_TO = ROOT / "docs/howto/kubernetes.md"
PREFIX = "nginx.ingress.kubernetes.io/"
KEY = "k" * 48

DIRECTIVES = {
    "proxy-body-size": "client_max_body_size {}",
    "proxy-request-buffering": "proxy_request_buffering {}",
    "proxy-buffering": "proxy_buffering {}",
    "proxy-http-version": "proxy_http_version {}",
    "proxy-read-timeout": "proxy_read_timeout {}s",
    "proxy-send-timeout": "proxy_send_timeout {}s",
}
"""The directives that the controller ingress-nginx generates from the annotations."""


def _annotations() -> dict[str, str]:
    ingress = only(build("overlays/ingress-nginx"), "Ingress", "saldo")
    return {k.removeprefix(PREFIX): v for k, v in ingress["metadata"]["annotations"].items()}


def _default(name: str) -> float:
    return float(Settings.model_fields[name].default)


def _drain_seconds() -> float:
    deployment = only(build("base"), "Deployment", "saldo")
    return float(environment(deployment)["SALDO_SHUTDOWN_DELAY_SECONDS"])


def test_routes_lead_to_the_service() -> None:
    service = only(build("base"), "Service", "saldo")
    (port,) = service["spec"]["ports"]
    ingress = only(build("overlays/ingress-nginx"), "Ingress", "saldo")["spec"]
    (rule,) = ingress["rules"]
    (path,) = rule["http"]["paths"]
    assert path["backend"]["service"] == {"name": "saldo", "port": {"name": port["name"]}}
    assert ingress["tls"][0]["hosts"] == [rule["host"]]
    for directory in ("overlays/gateway", "overlays/gateway-envoy"):
        route = only(build(directory), "HTTPRoute", "saldo")["spec"]
        (backend,) = route["rules"][0]["backendRefs"]
        assert (backend["name"], backend["port"]) == ("saldo", port["port"])
        # Live streams have no end.
        assert route["rules"][0]["timeouts"] == {"request": "0s", "backendRequest": "0s"}
    ports = container(only(build("base"), "Deployment", "saldo"))["ports"]
    assert port["targetPort"] == ports[0]["name"]


def test_timeouts_of_proxies_are_longer_than_those_of_the_service() -> None:
    given = _annotations()
    longest = max(
        _default("stream_idle_timeout_seconds"),
        _default("response_write_timeout_seconds"),
        _default("events_heartbeat_seconds"),
    )
    assert float(given["proxy-read-timeout"]) > longest
    assert float(given["proxy-send-timeout"]) > longest
    (policy,) = (m for m in build("overlays/gateway-envoy") if m["kind"] == "BackendTrafficPolicy")
    timeouts = policy["spec"]["timeout"]["http"]
    assert timeouts["requestTimeout"] == timeouts["maxStreamDuration"] == "0s"
    assert float(timeouts["streamIdleTimeout"].removesuffix("s")) > longest


def test_proxies_close_idle_connections_before_the_drain_ends() -> None:
    (policy,) = (m for m in build("overlays/gateway-envoy") if m["kind"] == "BackendTrafficPolicy")
    idle = policy["spec"]["timeout"]["http"]["connectionIdleTimeout"]
    assert float(idle.removesuffix("s")) < _drain_seconds()
    (printed,) = re.findall(r'"upstream-keepalive-timeout": "(\d+)"', HOW_TO.read_text())
    assert float(printed) < _drain_seconds()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    directory = tmp_path_factory.mktemp("service")
    with run_service_process(directory, SALDO_ADMIN_KEY=KEY, SALDO_HOST="::") as started:
        yield started


@pytest.fixture(scope="module")
def nginx(tmp_path_factory: pytest.TempPathFactory, service: ServiceProcess) -> Iterator[str]:
    """Yield the address of an nginx that is configured as the annotations say."""
    program = find_program(
        "nginx", "nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin"
    )
    if program is None:
        skip_or_fail("nginx", "no nginx in PATH")
    directory = tmp_path_factory.mktemp("nginx")
    (port,) = find_free_ports(1)
    lines = "\n".join(f"{DIRECTIVES[k].format(v)};" for k, v in _annotations().items())
    paths = "\n".join(
        f"{name}_temp_path {directory}/{name};"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    configuration = directory / "nginx.conf"
    configuration.write_text(
        f"""daemon off; master_process off; pid {directory}/pid; error_log {directory}/error.log;
        events {{}}
        http {{
          access_log off; {paths}
          upstream saldo {{
            server 127.0.0.1:{urlsplit(service.url).port}; keepalive 8; keepalive_timeout 10s;
          }}
          server {{
            listen 127.0.0.1:{port};
            location / {{
              proxy_pass http://saldo; proxy_set_header Host $host;
              proxy_set_header Connection ""; proxy_set_header X-Forwarded-For $remote_addr;
              {lines}
            }}
          }}
        }}"""
    )
    log = (directory / "error.log").open("wb")
    process = subprocess.Popen([program, "-c", str(configuration)], stdout=log, stderr=log)
    try:
        transport = httpx.HTTPTransport(retries=10)
        with httpx.Client(transport=transport) as client:
            assert client.get(f"http://127.0.0.1:{port}/healthz/ready").status_code == 200
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)
        log.close()


@pytest.fixture
def client(nginx: str) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {KEY}"}
    with httpx.Client(base_url=nginx, headers=headers, timeout=60) as created:
        yield created


def _user(client: httpx.Client) -> int:
    return int(client.post("/v1/user", json={"name": f"user {uuid4()}"}).json()["id"])


def test_array_of_the_maximum_size_passes_through_nginx(client: httpx.Client) -> None:
    user = _user(client)
    array = json.dumps([_deposit(user) for _ in range(5)])
    # Spaces between the elements are part of the body.
    body = array.replace("}, {", "}, " + " " * 900_000 + "{")
    assert 3_500_000 < len(body) < _default("array_bytes_max")
    answer = client.post(
        "/v1/transactions", content=body, headers={"content-type": "application/json"}
    )
    assert answer.status_code == 200, answer.text
    assert [outcome["status"] for outcome in answer.json()] == [200] * 5


def test_line_of_a_stream_is_answered_through_nginx_before_the_next_is_sent(
    client: httpx.Client, nginx: str
) -> None:
    user = _user(client)
    address = urlsplit(nginx)
    with closing(socket.create_connection((address.hostname, address.port), timeout=60)) as plain:
        plain.sendall(
            f"POST /v1/transactions HTTP/1.1\r\nHost: saldo.example\r\nAuthorization: Bearer {KEY}\r\n"
            "Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        )
        received = b""
        for count in (1, 2, 3):
            line = json.dumps(_deposit(user)).encode() + b"\n"
            plain.sendall(f"{len(line):x}\r\n".encode() + line + b"\r\n")
            while received.count(b'"balance"') < count:
                piece = plain.recv(65536)
                assert piece, received
                received += piece
        assert b" 200 " in received.partition(b"\r\n")[0]


def test_events_arrive_through_nginx_while_the_stream_is_open(client: httpx.Client) -> None:
    user = _user(client)
    with client.stream("GET", f"/v1/events?user_id={user}&from=start") as stream:
        assert stream.status_code == 200
        lines = stream.iter_lines()
        assert _next_event(lines)["name"]
        posted = _deposit(user)
        assert client.post("/v1/transaction", json=posted).status_code in {200, 201}
        assert _next_event(lines)["uuid"] == posted["uuid"]


def test_service_on_all_ipv6_addresses_serves_ipv4(service: ServiceProcess) -> None:
    """Check the setting that the manifests recommend for clusters with IPv6 only, and the address in the log."""
    assert urlsplit(service.url).hostname == "::"
    port = urlsplit(service.url).port
    for host in ("127.0.0.1", "[::1]"):
        assert httpx.get(f"http://{host}:{port}/healthz/ready").status_code == 200


def _deposit(user: int) -> dict[str, object]:
    return {"uuid": str(uuid4()), "user_id": user, "type": "DEPOSIT", "amount": "1.00"}


def _next_event(lines: Iterator[str]) -> dict[str, object]:
    """Return the data of the next event."""
    line = next(line for line in lines if line.startswith("data:"))
    data: dict[str, object] = json.loads(line.removeprefix("data:"))
    inner = data.get("data", data)
    assert isinstance(inner, dict)
    return inner
