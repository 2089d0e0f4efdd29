"""Choice of the service and the key by a command, and its message when there is no service."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from uuid import uuid4

import pytest

from harness.program.command import Program
from harness.program.service import ServiceProcess, run_service_process
from saldo.cli.exit_codes import ExitCode

ADMIN_KEY = "an-admin-key-of-the-operators-own-0123456789"


def test_service_is_found_by_the_data_directory(tmp_path: Path) -> None:
    with run_service_process(tmp_path) as running:
        here = Program()
        ended = here("user", "create", "Artem", directory=tmp_path)
        assert ended.errors == f"saldo: using the service at {running.url}\n"
    assert not (tmp_path / "data/service.url").exists()


def test_service_is_started_if_none_runs(tmp_path: Path) -> None:
    # Nothing may listen on the default address either, or the command would use that service.
    with socket.socket() as usual:
        if usual.connect_ex(("127.0.0.1", 8000)) == 0:
            pytest.skip("somebody listens on port 8000")
    here = Program()
    ended = here("user", "create", "Artem", "--json", directory=tmp_path)
    assert "starting a temporary one on" in ended.errors
    # The command must not trust an address that a killed service has left behind.
    (tmp_path / "data/service.url").write_text("http://127.0.0.1:9\n")
    again = here("user", "list", "--json", directory=tmp_path)
    assert again.lines == [ended.json]


def test_unreachable_service_has_its_own_exit_code(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    ended = Program(SALDO_URL=url)("user", "show", "1", code=ExitCode.UNAVAILABLE)
    assert ended.errors.startswith("saldo: ")
    assert len(ended.errors.splitlines()) == 1


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://localhost", "http://", "http://a:b@c"])
def test_invalid_url_is_a_usage_error(url: str) -> None:
    ended = Program()("user", "show", "1", "--url", url, code=ExitCode.USAGE)
    assert (
        ended.errors
        == "saldo: --url: expected a URL such as http://localhost:8000, without a user or password\n"
    )


PROXIES = dict.fromkeys(("HTTP_PROXY", "ALL_PROXY", "all_proxy"), "socks5://127.0.0.1:9")


def test_local_service_is_reached_without_a_proxy(
    shared_service: ServiceProcess, tmp_path: Path
) -> None:
    named = Program(SALDO_URL=shared_service.url, **PROXIES)
    assert named("user", "list", "--json").code == ExitCode.DONE
    # The command finds the service by the data directory, too.
    (tmp_path / "data").mkdir()
    (tmp_path / "data/service.url").write_text(f"{shared_service.url}\n")
    found = Program(**PROXIES)("user", "list", "--json", directory=tmp_path)
    assert found.errors == f"saldo: using the service at {shared_service.url}\n"
    # The key isn't sent to a service that the command has found by itself, and the command says so.
    found = Program(SALDO_KEY="a-key")("user", "list", "--json", directory=tmp_path)
    assert found.errors.endswith(
        f", without the key: to send it, name the service with --url {shared_service.url}\n"
    )


def test_proxy_is_named_when_a_remote_service_is_unreachable() -> None:
    far = ("deposit", "1", "1", "--url", "http://saldo.example", "--timeout", "0.5")
    ended = Program(HTTP_PROXY="http://127.0.0.1:9")(*far, code=ExitCode.UNAVAILABLE)
    assert "HTTP_PROXY" in ended.errors
    if find_spec("socksio") is None:
        ended = Program(**PROXIES)(*far, code=ExitCode.USAGE)
        assert "SOCKS" in ended.errors
        assert len(ended.errors.splitlines()) == 1


def test_lost_answer_is_resolved_with_the_same_uuid(shared_service: ServiceProcess) -> None:
    direct = Program(SALDO_URL=shared_service.url)
    user_id, uuid = direct.user(f"lost {uuid4()}"), str(uuid4())
    with proxy_without_answers(shared_service) as url:
        ended = Program(SALDO_URL=url)(
            *("deposit", user_id, "5", "--uuid", uuid, "--timeout", "1"), code=ExitCode.UNKNOWN
        )
    assert f"--uuid {uuid}" in ended.errors
    found = direct("deposit", user_id, "5", "--uuid", uuid, "--json").json
    assert found["replayed"] is True
    assert direct.balance(user_id) == 5


@contextmanager
def proxy_without_answers(running: ServiceProcess) -> Iterator[str]:
    """Yield a proxy that forwards requests and drops all answers."""
    host, _, port = running.url.removeprefix("http://").rpartition(":")
    upstreams: list[socket.socket] = []
    listening = socket.create_server(("127.0.0.1", 0))

    def work() -> None:
        while True:
            try:
                client, _ = listening.accept()
            except OSError:
                return
            upstream = socket.create_connection((host, int(port)))
            upstreams.append(upstream)
            with client:
                while data := client.recv(65_536):
                    upstream.sendall(data)

    proxy = listening.getsockname()[1]
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{proxy}"
    finally:
        # A shutdown, because closing alone would not interrupt a blocked accept.
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join()
        for upstream in upstreams:
            upstream.close()


def test_keys(tmp_path: Path) -> None:
    with run_service_process(tmp_path, SALDO_ADMIN_KEY=ADMIN_KEY) as running:
        nobody = Program(SALDO_URL=running.url)
        ended = nobody("user", "list", code=ExitCode.ACCESS_DENIED)
        assert "--key-file" in ended.errors
        admin = Program(SALDO_URL=running.url, SALDO_KEY=ADMIN_KEY)
        user_id = admin.user("Artem")
        file = tmp_path / "key"
        file.write_text(f"{ADMIN_KEY}\n")
        assert nobody("balance", user_id, "--key-file", str(file)).output == "0.00\n"
        ended = nobody("balance", user_id, "--key", "wrong", code=ExitCode.ACCESS_DENIED)
        assert "wrong" not in ended.errors
        missing = tmp_path / "missing"
        ended = nobody("balance", user_id, "--key-file", str(missing), code=ExitCode.USAGE)
        assert str(missing) in ended.errors


def test_key_limited_to_some_users_cannot_export_everything(tmp_path: Path) -> None:
    with run_service_process(tmp_path, SALDO_ADMIN_KEY=ADMIN_KEY) as running:
        admin = Program(SALDO_URL=running.url, SALDO_KEY=ADMIN_KEY)
        user_id = admin.user("Artem")
        admin("deposit", user_id, "5")
        made = admin(
            *("keys", "create", "one", "--scope", "read", "--user", user_id, "--json"),
            directory=tmp_path,
        )
        limited = Program(SALDO_URL=running.url, SALDO_KEY=made.json["key"])
        ended = limited("export", "-", code=ExitCode.ACCESS_DENIED)
        assert "users" in ended.errors
        assert ended.output.splitlines()[1:] == []
        assert "5.00" in limited("export", "-", "--user", user_id).output
