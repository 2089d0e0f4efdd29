"""The configurations of nginx and Caddy, with a running service: streams pass unbuffered, addresses can't be chosen."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import httpx
import pytest
import trustme

from harness.ports import find_free_ports
from harness.prerequisites import find_program, skip_or_fail
from harness.program.service import run_service_process
from tests.deploy.manifests import ROOT

NAME = "ledger.example"
KEY = "an-admin-key-of-the-operators-own-0123456789"
METRICS_KEY = "a-metrics-key-of-the-tests-0123456789"
START_SECONDS_MAX = 30
PIECE_BYTES = 60_000

pytestmark = pytest.mark.long

NGINX = """
daemon off;
{user}
pid nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
{site}
}}
"""


class Proxy(NamedTuple):
    """A reverse proxy in front of a service.

    Attributes:
        program: `nginx` or `caddy`.
        port: The port for HTTPS.
        plain_port: The port for HTTP.
        authority: The file with the authority of its certificate.
    """

    program: str
    port: int
    plain_port: int
    authority: Path

    @property
    def url(self) -> str:
        return f"https://{NAME}:{self.port}"

    def curl(self, *arguments: str) -> list[str]:
        """Return a command that sends a request with a key through the proxy."""
        program = find_program("curl", "curl")
        if program is None:
            skip_or_fail("curl", "no curl in PATH")
        return [
            program,
            *("--silent", "--show-error", "--no-buffer", "--cacert", str(self.authority)),
            *("--resolve", f"{NAME}:{self.port}:127.0.0.1", "--oauth2-bearer", KEY),
            *arguments,
        ]

    def request(self, path: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.curl(*arguments, f"{self.url}{path}"),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def status(self, path: str, *arguments: str) -> int:
        done = self.request(path, "--output", os.devnull, "--write-out", "%{http_code}", *arguments)
        return int(done.stdout)


def find(program: str) -> str:
    """Return the path of a proxy, also from the directory of Debian's daemons, or skip the test."""
    found = find_program(program, program) or find_program(program, program, path="/usr/sbin")
    if found is None:
        skip_or_fail(program, f"no {program} is installed")
    return found


def write_configuration(program: str, directory: Path, service: int) -> Proxy:
    """Write the shipped configuration with free ports and a certificate of the test.

    Args:
        service: The port of the service.
    """
    authority = trustme.CA()
    certificate = authority.issue_cert(NAME)
    authority.cert_pem.write_to_path(directory / "ca.pem")
    certificate.private_key_and_cert_chain_pem.write_to_path(directory / "all.pem")
    port, plain_port = find_free_ports(2)
    address = f"127.0.0.1:{service}"
    if program == "nginx":
        site = (ROOT / "deploy/nginx/saldo.conf").read_text()
        user = "user root;" if os.geteuid() == 0 else ""
        for original, changed in (
            ("127.0.0.1:8000", address),
            ("    listen [::]:80;\n", ""),
            ("    listen [::]:443 ssl http2;\n", ""),
            ("listen 80;", f"listen 127.0.0.1:{plain_port};"),
            ("listen 443 ", f"listen 127.0.0.1:{port} "),
            ("/etc/ssl/saldo/certificate.pem", f"{directory}/all.pem"),
            ("/etc/ssl/saldo/key.pem", f"{directory}/all.pem"),
        ):
            assert original in site, original
            site = site.replace(original, changed)
        (directory / "nginx.conf").write_text(NGINX.format(user=user, site=site))
    else:
        site = (ROOT / "deploy/caddy/Caddyfile").read_text()
        for original, changed in (
            ("127.0.0.1:8000", address),
            (f"\n{NAME} {{\n", f"\n{NAME} {{\n\ttls {directory}/all.pem {directory}/all.pem\n"),
        ):
            assert original in site, original
            site = site.replace(original, changed)
        options = f"{{\n\tadmin off\n\thttp_port {plain_port}\n\thttps_port {port}\n}}\n"
        (directory / "Caddyfile").write_text(options + site)
    return Proxy(program, port, plain_port, directory / "ca.pem")


def command(program: str, directory: Path) -> list[str]:
    """Return the command that starts a proxy in the foreground."""
    if program == "nginx":
        return [
            find(program),
            "-p",
            str(directory),
            "-c",
            f"{directory}/nginx.conf",
            "-e",
            "stderr",
        ]
    return [find(program), "run", "--config", f"{directory}/Caddyfile", "--adapter", "caddyfile"]


def wait_until_listening(process: subprocess.Popen[bytes], port: int) -> None:
    """Wait until the port accepts connections. Fail if the process ends before, or in time."""
    deadline = time.monotonic() + START_SECONDS_MAX
    with socket.socket() as client:
        while client.connect_ex(("127.0.0.1", port)) != 0:
            assert process.poll() is None, process.returncode
            assert time.monotonic() < deadline
            time.sleep(0.05)


@contextmanager
def run_proxy(program: str, directory: Path, service: int) -> Iterator[Proxy]:
    proxy = write_configuration(program, directory, service)
    with (directory / "proxy.log").open("wb") as log:
        process = subprocess.Popen(
            command(program, directory),
            env=os.environ | {"HOME": str(directory), "XDG_DATA_HOME": str(directory)},
            stdout=log,
            stderr=log,
        )
        try:
            wait_until_listening(process, proxy.port)
            yield proxy
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Run a service that trusts proxies on this machine, and return its port. The user 1 exists."""
    directory = tmp_path_factory.mktemp("service")
    with run_service_process(
        directory,
        SALDO_ADMIN_KEY=KEY,
        SALDO_METRICS_KEY=METRICS_KEY,
        SALDO_TRUSTED_PROXIES="127.0.0.1/32",
    ) as running:
        headers = {"Authorization": f"Bearer {KEY}"}
        created = httpx.post(f"{running.url}/v1/user", json={"name": "a"}, headers=headers)
        assert created.json()["id"] == 1
        yield int(running.url.rpartition(":")[2])


@pytest.fixture(scope="module", params=["nginx", "caddy"])
def proxy(
    request: pytest.FixtureRequest, service: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    find(request.param)
    with run_proxy(request.param, tmp_path_factory.mktemp("proxy"), service) as running:
        yield running


def deposit() -> str:
    return json.dumps({"uuid": str(uuid4()), "type": "DEPOSIT", "amount": "1", "user_id": 1})


class Stream:
    """A request with lines that is still open, over HTTP/1.1."""

    def __init__(self, client: ssl.SSLSocket) -> None:
        self._client = client
        self._received = b""
        client.sendall(
            f"POST /v1/transactions HTTP/1.1\r\nHost: {NAME}\r\nAuthorization: Bearer {KEY}\r\n"
            "Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        )

    def post(self, lines: bytes) -> None:
        """Send lines, of which one is a transaction, and wait for its outcome."""
        self._client.sendall(b"%x\r\n%b\r\n" % (len(lines), lines))
        expected = self._received.count(b'"balance"') + 1
        while self._received.count(b'"balance"') < expected:
            piece = self._client.recv(65536)
            assert piece, self._received
            self._received += piece
        assert b" 200 " in self._received.partition(b"\r\n")[0]


@contextmanager
def open_stream(proxy: Proxy) -> Iterator[Stream]:
    context = ssl.create_default_context(cafile=str(proxy.authority))
    with (
        socket.create_connection(("127.0.0.1", proxy.port), timeout=20) as connection,
        context.wrap_socket(connection, server_hostname=NAME) as client,
    ):
        yield Stream(client)


def test_outcomes_arrive_while_lines_are_sent(proxy: Proxy) -> None:
    """Wait for an outcome while the request is still open; a proxy that buffers would hold it back."""
    if proxy.program == "caddy":
        pytest.skip(
            "Caddy before 2.8 can't stream in both directions over HTTP/1.1, as the page says"
        )
    with open_stream(proxy) as stream:
        for _ in range(3):
            stream.post(f"{deposit()}\n".encode())


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
def test_events_arrive_while_the_stream_is_open(proxy: Proxy, version: str) -> None:
    with subprocess.Popen(
        proxy.curl(version, "--max-time", "20", f"{proxy.url}/v1/events?user_id=1"),
        stdout=subprocess.PIPE,
        text=True,
    ) as client:
        assert client.stdout is not None
        # The service sends the first id immediately.
        next(line for line in client.stdout if line.startswith("id:"))
        for _ in range(2):
            posted = proxy.request(
                *("/v1/transaction", "--json", deposit(), "--fail"),
            )
            assert posted.returncode == 0, posted.stderr
            number = json.loads(posted.stdout)["number"]
            data = next(line for line in client.stdout if line.startswith("data:"))
            assert json.loads(data.removeprefix("data:"))["data"]["number"] == number
        client.terminate()


def test_stream_may_be_larger_than_other_bodies(proxy: Proxy, tmp_path: Path) -> None:
    if proxy.program == "nginx":
        # One piece after the other: some kernels' loopback loses the wake-up of nginx 1.22 when more than 4 MiB arrive
        # at once, and the request then does not reach the service.
        with open_stream(proxy) as stream:
            for _ in range(6_000_000 // PIECE_BYTES):
                stream.post(b"\n" * PIECE_BYTES + f"{deposit()}\n".encode())
    else:
        lines = tmp_path / "lines"
        lines.write_text("\n" * 6_000_000 + f"{deposit()}\n")
        done = proxy.request(
            "/v1/transactions",
            *("--header", "Content-Type: application/x-ndjson", "--data-binary", f"@{lines}"),
        )
        assert json.loads(done.stdout)["status"] == 200


def test_other_bodies_are_limited_by_the_service_and_by_the_proxy(
    proxy: Proxy, tmp_path: Path
) -> None:
    (tmp_path / "array").write_text(f"[{' ' * 4_300_000}]")
    done = proxy.request("/v1/transactions", "--json", f"@{tmp_path}/array")
    assert json.loads(done.stdout)["code"] == "body_too_large"
    (tmp_path / "user").write_text(" " * 6_000_000)
    # curl reports an error as well when the proxy closes the connection while curl still sends.
    assert proxy.status("/v1/user", "--json", f"@{tmp_path}/user") == 413


def test_client_cannot_choose_its_address(proxy: Proxy) -> None:
    created = proxy.request(
        "/v1/key",
        "--json",
        json.dumps({"name": str(uuid4()), "scopes": ["read"], "networks": ["192.0.2.0/24"]}),
    )
    key = json.loads(created.stdout)["key"]
    arguments = ("--header", "X-Forwarded-For: 192.0.2.1", "--oauth2-bearer", key)
    assert proxy.status("/v1/user", *arguments) == 401


def test_metrics_are_served_to_the_listed_address_only(proxy: Proxy) -> None:
    assert proxy.status("/metrics", "--oauth2-bearer", METRICS_KEY) == 200


def test_plain_http_is_not_answered_by_the_service(proxy: Proxy) -> None:
    answer = httpx.get(
        f"http://127.0.0.1:{proxy.plain_port}/v1/user",
        headers={"Host": NAME, "Authorization": f"Bearer {KEY}"},
    )
    assert answer.status_code == (403 if proxy.program == "nginx" else 308)


def test_browsers_are_told_to_use_https_only(proxy: Proxy) -> None:
    context = ssl.create_default_context(cafile=str(proxy.authority))
    with httpx.Client(verify=context) as client:
        answer = client.get(
            f"https://127.0.0.1:{proxy.port}/console/sign-in",
            headers={"Host": f"{NAME}:{proxy.port}"},
            extensions={"sni_hostname": NAME},
        )
    assert answer.headers["strict-transport-security"] == "max-age=31536000"
    cookies = answer.headers.get_list("set-cookie")
    assert all("Secure" in cookie for cookie in cookies)
