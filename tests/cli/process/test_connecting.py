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
from typer.testing import CliRunner

from harness.program.command import Program
from harness.program.service import ServiceProcess, run_service_process
from saldo.cli.connection import service
from saldo.cli.error_mapping import find_command_error
from saldo.cli.exit_codes import CommandError, ExitCode
from saldo.cli.program import build_app
from tests.cli.process.test_program import EVERY

ADMIN_KEY = "an-admin-key-of-the-operators-own-0123456789"


def test_service_is_found_by_the_data_directory(tmp_path: Path) -> None:
    with run_service_process(tmp_path) as running:
        here = Program()
        ended = here("user", "create", "user-7341", directory=tmp_path)
        assert ended.errors == f"saldo: using the service at {running.url}\n"
    assert not (tmp_path / "data/service.url").exists()


def test_service_is_started_with_the_option_local(tmp_path: Path) -> None:
    here = Program()
    ended = here("user", "create", "user-7341", "--json", "--local", directory=tmp_path)
    assert "starting a temporary one on" in ended.errors
    # The command must not trust an address that a killed service has left behind.
    (tmp_path / "data/service.url").write_text("http://127.0.0.1:9\n")
    again = here("user", "list", "--json", "--local", directory=tmp_path)
    assert again.lines == [ended.json]
    # The option takes precedence over a service in the environment.
    named = Program(SALDO_URL="http://127.0.0.1:9")
    assert named("user", "list", "--json", "--local", directory=tmp_path).lines == [ended.json]


CLIENT_COMMANDS = [
    *("deposit 1 2", "withdraw 1 2", "balance 1", "transactions 1", "watch", "user create a"),
    *("user show 1", "user list", "statement 1 --month 2026-01", "import rows.csv", "export a.csv"),
]
DATABASE_COMMANDS = [
    *("keys list", "keys revoke 1", "keys rotate 1", "keys create a --scope read"),
    *("webhooks list", "webhooks show 1", "webhooks deliveries 1", "webhooks replay 1"),
    *("webhooks create https://a.example", "webhooks delete 1", "webhooks enable 1"),
    *("webhooks disable 1", "verify", "audit status", "audit acknowledge 1 --why a", "relay"),
    *("relay status", "relay rewind --sink a --to now", "db migrate", "db roles --apply"),
]
WITHOUT_LOCAL = {
    *("serve", "backup", "restore", "upgrade", "db distribute", "bench", "seals key"),
}
"""Commands that have the embedded database as their subject, cannot use it, or have an option of their own."""


def test_lists_of_commands_are_complete() -> None:
    """Check that a new command is tested, too, or is known to start nothing."""
    leaves = {name for name, command in EVERY.items() if not hasattr(command, "commands")}
    tested = [*CLIENT_COMMANDS, *DATABASE_COMMANDS]
    assert {
        name for name in leaves if not any(f"{each} ".startswith(f"{name} ") for each in tested)
    } == WITHOUT_LOCAL


@pytest.mark.parametrize("command", CLIENT_COMMANDS)
def test_client_command_starts_no_service_without_the_option_local(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(service, "DEFAULT_URL", "http://127.0.0.1:9")  # nothing listens there
    (tmp_path / "rows.csv").write_text("uuid,type,amount,user_id,timestamp\n")
    error = fail(command.split())
    assert error.code is ExitCode.UNAVAILABLE
    for named in ("SALDO_URL", "--url", "--local"):
        assert named in str(error)
    assert {path.name for path in tmp_path.iterdir()} == {"rows.csv"}


@pytest.mark.parametrize("command", DATABASE_COMMANDS)
def test_operators_command_starts_no_database_without_the_option_local(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SALDO_AS_ROOT", "true")
    error = fail(command.split())
    assert error.code is ExitCode.UNAVAILABLE
    for named in ("SALDO_DATABASE_URL", "saldo serve", "--local"):
        assert named in str(error)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", [*CLIENT_COMMANDS, *DATABASE_COMMANDS, "serve", "upgrade"])
@pytest.mark.parametrize("in_file", [False, True], ids=["environment", "file"])
def test_misspelt_setting_is_reported_by_every_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, in_file: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.csv").write_text("uuid,type,amount,user_id,timestamp\n")
    if in_file:
        (tmp_path / ".env").write_text("SALDO_ULR=http://localhost:8000\n")
    else:
        monkeypatch.setenv("SALDO_ULR", "http://localhost:8000")
    error = fail(command.split())
    assert error.code is ExitCode.USAGE
    assert "did you mean SALDO_URL?" in str(error)


def fail(arguments: list[str]) -> CommandError:
    """Run a command in this process, and return the error with which it ends."""
    done = CliRunner().invoke(build_app([arguments[0]]), arguments)
    assert isinstance(done.exception, Exception), done.output
    error = find_command_error(done.exception)
    assert error is not None, done.exc_info
    return error


def test_local_and_a_url_exclude_each_other() -> None:
    arguments = ["balance", "1", "--local", "--url", "http://127.0.0.1:9"]
    assert "--local can't be combined with --url" in str(fail(arguments))


def test_service_and_key_are_read_from_the_file(
    tmp_path: Path, shared_service: ServiceProcess
) -> None:
    (tmp_path / ".env").write_text(f"SALDO_URL={shared_service.url}\nSALDO_TIMEZONE=Asia/Tokyo\n")
    made = Program()("user", "create", f"in a file {uuid4()}", directory=tmp_path)
    assert made.errors == ""
    assert made.output.strip().endswith("+09:00")
    # Options and the environment take precedence.
    elsewhere = Program(SALDO_URL="http://127.0.0.1:9")
    elsewhere("user", "list", directory=tmp_path, code=ExitCode.UNAVAILABLE)


def test_key_is_not_sent_to_a_url_that_only_the_file_names(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0)
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        (tmp_path / ".env").write_text(f"SALDO_URL={url}\n")
        key_file = tmp_path / "key"
        key_file.write_text(ADMIN_KEY)
        for options, settings in (
            ([], {"SALDO_KEY": ADMIN_KEY}),
            ([], {"SALDO_KEY_FILE": str(key_file)}),
            (["--key", ADMIN_KEY], {}),
            (["--key-file", str(key_file)], {}),
        ):
            ended = Program(**settings)(
                *("balance", "1", *options), directory=tmp_path, code=ExitCode.USAGE
            )
            assert "the key is not sent to the URL in .env" in ended.errors
        with pytest.raises(BlockingIOError):
            listening.accept()


def test_key_in_the_file_is_sent_to_the_url_in_the_file(tmp_path: Path) -> None:
    directory = tmp_path / "service"
    directory.mkdir()
    with run_service_process(directory, SALDO_ADMIN_KEY=ADMIN_KEY) as running:
        (tmp_path / ".env").write_text(f"SALDO_URL={running.url}\nSALDO_KEY={ADMIN_KEY}\n")
        assert Program()("user", "list", "--json", directory=tmp_path).lines == []


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
        user_id = admin.user("user-7341")
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
        user_id = admin.user("user-7341")
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
