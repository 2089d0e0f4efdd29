"""Which service a command finds, with which key, and what it says when there is none."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from saldo.cli.exits import Exit
from tests.acceptance.service import ServiceProcess, service
from tests.cli.program import Program

ADMIN_KEY = "an-admin-key-of-the-operators-own-0123456789"


def test_the_service_of_the_data_directory_is_found(tmp_path: Path) -> None:
    with service(tmp_path) as running:
        here = Program()
        ended = here("user", "create", "Artem", directory=tmp_path)
        assert ended.errors == f"saldo: using the service at {running.url}\n"
    assert not (tmp_path / "data/service.url").exists()


def test_a_service_is_started_where_none_runs(tmp_path: Path) -> None:
    # Nobody answers at the usual address either, or this would be another one's ledger.
    with socket.socket() as usual:
        if usual.connect_ex(("127.0.0.1", 8000)) == 0:
            pytest.skip("somebody listens on port 8000")
    here = Program()
    ended = here("user", "create", "Artem", "--json", directory=tmp_path)
    assert "starting one on" in ended.errors
    # An address that a killed service has left behind is not believed.
    (tmp_path / "data/service.url").write_text("http://127.0.0.1:9\n")
    again = here("user", "list", "--json", directory=tmp_path)
    assert again.lines == [ended.json]


def test_nobody_there_is_another_exit_code(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    ended = Program(SALDO_URL=url)("user", "show", "1", code=Exit.NOT_REACHED)
    assert ended.errors.startswith("saldo: ")
    assert len(ended.errors.splitlines()) == 1


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://localhost", "http://", "http://a:b@c"])
def test_a_url_that_is_none(url: str) -> None:
    ended = Program()("user", "show", "1", "--url", url, code=Exit.USAGE)
    assert ended.errors == "saldo: --url: expected such as http://localhost:8000\n"


def test_a_lost_answer_is_decided_by_the_same_uuid(shared_service: ServiceProcess) -> None:
    direct = Program(SALDO_URL=shared_service.url)
    user_id, uuid = direct.user(f"lost {uuid4()}"), str(uuid4())
    with deaf(shared_service) as url:
        ended = Program(SALDO_URL=url)(
            *("deposit", user_id, "5", "--uuid", uuid, "--timeout", "1"), code=Exit.NOT_REACHED
        )
    assert f"--uuid {uuid}" in ended.errors
    found = direct("deposit", user_id, "5", "--uuid", uuid, "--json").json
    assert found["replayed"] is True
    assert direct.balance(user_id) == 5


@contextmanager
def deaf(running: ServiceProcess) -> Iterator[str]:
    """A proxy that hands on what it gets, and nothing of what comes back."""
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
        # Not only closed: that would not wake who waits in accept.
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join()
        for upstream in upstreams:
            upstream.close()


def test_keys(tmp_path: Path) -> None:
    with service(tmp_path, SALDO_ADMIN_KEY=ADMIN_KEY) as running:
        nobody = Program(SALDO_URL=running.url)
        ended = nobody("user", "list", code=Exit.NOT_LET_IN)
        assert "--key-file" in ended.errors
        admin = Program(SALDO_URL=running.url, SALDO_KEY=ADMIN_KEY)
        user_id = admin.user("Artem")
        file = tmp_path / "key"
        file.write_text(f"{ADMIN_KEY}\n")
        assert nobody("balance", user_id, "--key-file", str(file)).output == "0.00\n"
        ended = nobody("balance", user_id, "--key", "wrong", code=Exit.NOT_LET_IN)
        assert "wrong" not in ended.errors
        missing = tmp_path / "missing"
        ended = nobody("balance", user_id, "--key-file", str(missing), code=Exit.USAGE)
        assert str(missing) in ended.errors


def test_a_key_for_some_users_has_no_whole_log(tmp_path: Path) -> None:
    with service(tmp_path, SALDO_ADMIN_KEY=ADMIN_KEY) as running:
        admin = Program(SALDO_URL=running.url, SALDO_KEY=ADMIN_KEY)
        user_id = admin.user("Artem")
        admin("deposit", user_id, "5")
        made = admin(
            *("keys", "create", "one", "--scope", "read", "--user", user_id, "--json"),
            directory=tmp_path,
        )
        limited = Program(SALDO_URL=running.url, SALDO_KEY=made.json["key"])
        ended = limited("export", "-", code=Exit.NOT_LET_IN)
        assert "users" in ended.errors
        assert ended.output.splitlines()[1:] == []
        assert "5.00" in limited("export", "-", "--user", user_id).output
