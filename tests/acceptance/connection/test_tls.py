"""HTTPS with certificate files: TLS versions, workers, renewal, and unusable files."""

from __future__ import annotations

import os
import re
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509 import load_pem_x509_certificates

from harness.program.service import ServiceProcess, run_service_process
from tests.acceptance.raw import FINAL_PROBE, SECONDS_MAX, deposit, exchange, read_to_end

ROOT = Path(__file__).parents[3]


class Authority:
    """A certificate authority, and the service's certificate and key files."""

    def __init__(self, directory: Path) -> None:
        self._authority = trustme.CA()
        self.certificate_file = directory / "certificate.pem"
        self.key_file = directory / "key.pem"
        self.authority_file = directory / "authority.pem"
        self._authority.cert_pem.write_to_path(self.authority_file)
        self.trusting = ssl.create_default_context()
        self._authority.configure_trust(self.trusting)
        self.renew()

    @property
    def settings(self) -> dict[str, str]:
        return {
            "SALDO_TLS_CERTIFICATE_FILE": str(self.certificate_file),
            "SALDO_TLS_KEY_FILE": str(self.key_file),
            "SALDO_TLS_RELOAD_INTERVAL_SECONDS": "0.1",
        }

    def renew(self) -> None:
        """Write new files, the certificate first, as a tool that knows nothing of the service may do."""
        issued = self._authority.issue_cert("127.0.0.1", "localhost")
        self.certificate_file.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(self.key_file)

    def shown_by(self, url: str) -> str:
        """Return the certificate that the service presents to a new connection (PEM)."""
        parts = urlsplit(url)
        with (
            socket.create_connection((parts.hostname or "", parts.port or 0), SECONDS_MAX) as raw,
            self.trusting.wrap_socket(raw, server_hostname=parts.hostname) as connection,
        ):
            der = connection.getpeercert(binary_form=True)
        assert der is not None
        return ssl.DER_cert_to_PEM_cert(der)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def shared_service(
    tmp_path_factory: pytest.TempPathFactory, authority: Authority
) -> Iterator[ServiceProcess]:
    with run_service_process(
        tmp_path_factory.mktemp("tls"),
        authority.trusting,
        SALDO_WORKERS="2",
        **authority.settings,
    ) as started:
        yield started
        assert "Traceback" not in started.output()


def _client(authority: Authority) -> httpx.Client:
    return httpx.Client(verify=authority.trusting)


def test_transactions_are_posted_over_tls_by_several_workers(
    shared_service: ServiceProcess, authority: Authority
) -> None:
    assert shared_service.url.startswith("https://")
    with _client(authority) as client:
        created = client.post(f"{shared_service.url}/v1/user", json={"name": str(uuid4())})
        user_id = created.json()["id"]
    for _ in range(10):  # a connection each
        with _client(authority) as client:
            answer = client.post(f"{shared_service.url}/v1/transaction", content=deposit(user_id))
        assert answer.status_code == 200
        assert answer.headers["strict-transport-security"] == "max-age=31536000"


def test_a_stream_goes_over_tls_both_ways(
    shared_service: ServiceProcess, authority: Authority
) -> None:
    with _client(authority) as client:
        created = client.post(f"{shared_service.url}/v1/user", json={"name": str(uuid4())})
        user_id = created.json()["id"]
        body = b"".join(deposit(user_id) + b"\n" for _ in range(3000))
        headers = {"content-type": "application/x-ndjson"}
        answer = client.post(f"{shared_service.url}/v1/transactions", content=body, headers=headers)
    assert answer.text.count('"posted"') == 3000


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_1_2_and_1_3_are_supported(
    shared_service: ServiceProcess, authority: Authority, version: ssl.TLSVersion
) -> None:
    context = ssl.create_default_context(cafile=authority.authority_file)
    context.minimum_version = context.maximum_version = version
    assert httpx.get(f"{shared_service.url}/healthz/live", verify=context).status_code == 200


def test_older_tls_version_is_rejected(
    shared_service: ServiceProcess, authority: Authority
) -> None:
    context = ssl.create_default_context(cafile=authority.authority_file)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning):
        context.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(httpx.ConnectError, match="SSL"):
        httpx.get(f"{shared_service.url}/healthz/live", verify=context)


def test_client_without_tls_is_disconnected(shared_service: ServiceProcess) -> None:
    plain = shared_service.url.replace("https", "http")
    received = exchange(plain, FINAL_PROBE)
    assert b"HTTP" not in received


def test_rejected_client_gets_the_reason_over_tls(
    shared_service: ServiceProcess, authority: Authority
) -> None:
    parts = urlsplit(shared_service.url)
    with (
        socket.create_connection((parts.hostname or "", parts.port or 0), SECONDS_MAX) as raw,
        authority.trusting.wrap_socket(raw, server_hostname=parts.hostname) as connection,
    ):
        connection.sendall(FINAL_PROBE[:-2] + b"a: b\r\n" * 5000)
        answer = b""
        while b'"head_too_large"' not in answer:
            piece = connection.recv(65536)
            assert piece
            answer += piece


def test_image_health_check_supports_tls(
    shared_service: ServiceProcess, authority: Authority
) -> None:
    port = str(urlsplit(shared_service.url).port)
    done = subprocess.run(
        [sys.executable, ROOT / "deploy/docker/healthy.py"],
        env=os.environ | authority.settings | {"SALDO_PORT": port},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_without_tls_no_hsts_header_is_sent(tmp_path: Path) -> None:
    with run_service_process(tmp_path) as plain:
        answer = httpx.get(f"{plain.url}/healthz/live")
    assert "strict-transport-security" not in answer.headers


def _until_shown(authority: Authority, url: str, pem: str) -> None:
    """Wait until each worker presents the certificate; ten connections are enough to reach all of them."""
    deadline = time.monotonic() + SECONDS_MAX
    while {authority.shown_by(url) for _ in range(10)} != {pem}:
        assert time.monotonic() < deadline


def _first_of(file: Path) -> str:
    """Return the service's own certificate, without those of its authorities."""
    end = "-----END CERTIFICATE-----\n"
    return file.read_text().split(end)[0] + end


def test_renewed_files_are_used_for_new_connections_and_broken_ones_are_not(
    tmp_path: Path,
) -> None:
    authority = Authority(tmp_path)
    with run_service_process(tmp_path, authority.trusting, **authority.settings) as running:
        first = authority.shown_by(running.url)
        with _client(authority) as kept:
            assert kept.get(f"{running.url}/healthz/live").status_code == 200
            authority.renew()
            renewed = _first_of(authority.certificate_file)
            assert renewed != first
            _until_shown(authority, running.url, renewed)
            assert kept.get(f"{running.url}/healthz/live").status_code == 200
        authority.key_file.write_text("not a key\n")
        deadline = time.monotonic() + SECONDS_MAX
        while "remains in use" not in running.output():
            assert time.monotonic() < deadline
        assert authority.shown_by(running.url) == renewed
        authority.key_file.unlink()
        assert authority.shown_by(running.url) == renewed
        authority.renew()
        _until_shown(authority, running.url, _first_of(authority.certificate_file))
        chain = load_pem_x509_certificates(authority.certificate_file.read_bytes())
        expiry = min(each.not_valid_after_utc for each in chain).timestamp()
        name = "saldo_tls_certificate_expiry_timestamp_seconds"
        with _client(authority) as client:
            (value,) = re.findall(
                rf"^{name}\{{.*\}} (.*)$", client.get(f"{running.url}/metrics").text, re.MULTILINE
            )
        assert float(value) == expiry
        assert "Traceback" not in running.output()


def test_the_commands_of_the_howto_work_as_printed(tmp_path: Path) -> None:
    text = (ROOT / "docs/howto/tls.md").read_text()
    make, ask = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    (settings,) = re.findall(r"```ini\n(.*?)```", text, re.DOTALL)
    subprocess.run(["bash", "-euc", make], cwd=tmp_path, check=True, capture_output=True)
    (tmp_path / ".env").write_text(settings)
    trusting = ssl.create_default_context(cafile=tmp_path / "certificate.pem")
    with run_service_process(tmp_path, trusting) as running:
        there = ask.replace("8000", str(urlsplit(running.url).port)).replace("curl", "curl -sS", 1)
        done = subprocess.run(
            ["bash", "-euc", there], cwd=tmp_path, check=True, capture_output=True, text=True
        )
    assert '"ok"' in done.stdout, done.stdout


def _encrypt(file: Path) -> None:
    key = load_pem_private_key(file.read_bytes(), None)
    file.write_bytes(
        key.private_bytes(
            Encoding.PEM, PrivateFormat.TraditionalOpenSSL, BestAvailableEncryption(b"secret")
        )
    )


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("no key", "SALDO_TLS_CERTIFICATE_FILE is set, but SALDO_TLS_KEY_FILE is not"),
        ("no certificate", "SALDO_TLS_KEY_FILE is set, but SALDO_TLS_CERTIFICATE_FILE is not"),
        ("no such file", "SALDO_TLS_KEY_FILE="),
        ("another key", "the key is not the certificate's"),
        ("garbage", "no PEM"),
        ("password", "the key has a password"),
    ],
)
def test_files_that_cannot_be_used_are_one_line_at_the_start(
    tmp_path: Path, fault: str, expected: str
) -> None:
    authority = Authority(tmp_path)
    settings = authority.settings
    match fault:
        case "no key":
            del settings["SALDO_TLS_KEY_FILE"]
        case "no certificate":
            del settings["SALDO_TLS_CERTIFICATE_FILE"]
        case "no such file":
            authority.key_file.unlink()
        case "another key":
            trustme.CA().issue_cert("localhost").private_key_pem.write_to_path(authority.key_file)
        case "garbage":
            authority.certificate_file.write_text("garbage\n")
        case "password":
            _encrypt(authority.key_file)
    started = ServiceProcess(tmp_path, **settings)
    assert started.process.wait(SECONDS_MAX) == 2
    (line,) = started.output().strip().splitlines()
    assert line.startswith("saldo: ")
    assert expected in line
    assert "secret" not in line
    assert not (tmp_path / "data").exists()


def test_a_handshake_that_is_not_finished_does_not_hold_a_connection_for_ever(
    shared_service: ServiceProcess,
) -> None:
    plain = shared_service.url.replace("https", "http")
    parts = urlsplit(plain)
    with socket.create_connection((parts.hostname or "", parts.port or 0), SECONDS_MAX) as raw:
        raw.sendall(b"\x16\x03\x01\x02\x00\x01")
        assert b"HTTP" not in read_to_end(raw)
