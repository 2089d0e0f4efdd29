"""`saldo serve` as a process: start, stop, kill, restart, and configuration errors."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from datetime import datetime
from pathlib import Path
from uuid import uuid4

import httpx
import psycopg
import pytest

from harness.postgresql import databases
from harness.program.environment import copy_environment
from harness.program.service import ServiceProcess, run_service_process, run_unforked_service


def test_reference_test_of_the_task_passes(tmp_path: Path) -> None:
    """Run the reference test of the task step by step, with its URLs, fields and formats unchanged."""
    with run_unforked_service(tmp_path) as running:
        base = f"{running.url}/v1"
        user = httpx.post(f"{base}/user", json={"name": "vanya"}).json()
        assert user["id"] > 0
        assert user["name"] == "vanya"

        def balance(date: str | None = None) -> str:
            query = f"?date={date}" if date else ""
            return str(httpx.get(f"{base}/user/{user['id']}/balance{query}").json()["balance"])

        def post(kind: str, amount: str, timestamp: str) -> dict[str, object]:
            return {
                "uid": str(uuid4()),
                "type": kind,
                "amount": amount,
                "user_id": user["id"],
                "timestamp": timestamp,
            }

        assert balance() == "0.00"
        deposit = post("DEPOSIT", "100.0", datetime(2023, 1, 4).isoformat())
        assert httpx.post(f"{base}/transaction", json=deposit).status_code == 200
        assert balance() == "100.00"
        detail = httpx.get(f"{base}/transaction/{deposit['uid']}").json()
        assert (detail["type"], detail["amount"]) == ("DEPOSIT", "100.00")
        withdrawal = post("WITHDRAW", "50.0", datetime(2023, 1, 5).isoformat())
        for _ in range(2):
            assert httpx.post(f"{base}/transaction", json=withdrawal).status_code == 200
        assert balance() == "50.00"
        # The test machine's time zone is UTC here, so this is "now", as on the task's machine.
        now = httpx.get(f"{running.url}/healthz/live").headers["date"]
        moment = datetime.strptime(now, "%a, %d %b %Y %H:%M:%S GMT").isoformat()
        refused = httpx.post(f"{base}/transaction", json=post("WITHDRAW", "60.0", moment))
        assert refused.status_code == 402
        assert balance() == "50.00"
        late = post("WITHDRAW", "10.0", datetime(2023, 2, 5).isoformat())
        assert httpx.post(f"{base}/transaction", json=late).status_code == 200
        assert balance() == "40.00"
        assert balance("2023-01-30T00:00:00.00000000") == "50.00"


def test_a_second_start_finds_the_data_again(tmp_path: Path) -> None:
    with run_service_process(tmp_path) as running:
        created = httpx.post(f"{running.url}/v1/user", json={"name": "a"}).json()
        assert running.end(signal.SIGINT) == 0
    assert not (tmp_path / "data/postgresql-18/postmaster.pid").exists()
    with run_service_process(tmp_path) as running:
        assert httpx.get(f"{running.url}/v1/user/{created['id']}").json() == created


@pytest.mark.parametrize("victims", ["service", "database", "both"])
def test_after_a_kill_nothing_acknowledged_is_missing(tmp_path: Path, victims: str) -> None:
    acknowledged: list[str] = []
    with run_service_process(tmp_path) as running:
        user_id = httpx.post(f"{running.url}/v1/user", json={"name": "a"}).json()["id"]
        enough = threading.Event()

        def post() -> None:
            with httpx.Client(timeout=30) as client:
                while not running.process.poll():
                    body = {
                        "uuid": str(uuid4()),
                        "type": "DEPOSIT",
                        "amount": "1",
                        "user_id": user_id,
                    }
                    try:
                        answer = client.post(f"{running.url}/v1/transaction", json=body)
                    except httpx.TransportError:
                        return
                    if answer.status_code == 200:
                        acknowledged.append(body["uuid"])
                    if len(acknowledged) >= 200:
                        enough.set()

        poster = threading.Thread(target=post)
        poster.start()
        assert enough.wait(60)
        postmaster = int((tmp_path / "data/postgresql-18/postmaster.pid").read_text().split()[0])
        if victims in {"database", "both"}:
            os.kill(postmaster, signal.SIGKILL)
        if victims in {"service", "both"}:
            os.kill(running.process.pid, signal.SIGKILL)
        else:
            before = len(acknowledged)
            while len(acknowledged) < before + 50:  # the database is back, and the service ran on
                assert running.process.poll() is None
            running.end()
        poster.join()
    with run_service_process(tmp_path) as running:
        with httpx.Client() as client:
            for uuid in acknowledged:
                found = client.get(f"{running.url}/v1/transaction/{uuid}")
                assert found.status_code == 200
            answer = client.get(f"{running.url}/v1/user/{user_id}/balance").json()
        assert float(answer["balance"]) >= len(acknowledged)


def test_sigterm_answers_requests_in_progress(tmp_path: Path) -> None:
    with run_service_process(tmp_path) as running:
        user_id = httpx.post(f"{running.url}/v1/user", json={"name": "a"}).json()["id"]
        statuses: list[int] = []
        sent = threading.Barrier(9)

        def post() -> None:
            with httpx.Client(timeout=30) as client:
                for round_ in range(1000):
                    body = {
                        "uuid": str(uuid4()),
                        "type": "DEPOSIT",
                        "amount": "1",
                        "user_id": user_id,
                    }
                    try:
                        statuses.append(
                            client.post(f"{running.url}/v1/transaction", json=body).status_code
                        )
                    except httpx.TransportError:
                        return
                    if round_ == 20:
                        sent.wait()

        posters = [threading.Thread(target=post) for _ in range(8)]
        for poster in posters:
            poster.start()
        sent.wait()
        assert running.end(signal.SIGTERM) == 0
        for poster in posters:
            poster.join()
    assert set(statuses) <= {200, 503}
    posted = statuses.count(200)
    with run_service_process(tmp_path) as running:
        page = httpx.get(f"{running.url}/v1/user/{user_id}/balance").json()
        # What was answered 200 is recorded; what was sent and not answered may be recorded, too.
        assert posted <= float(page["balance"]) <= posted + 8


def test_several_workers_share_the_port_and_the_ledger(tmp_path: Path) -> None:
    with run_service_process(tmp_path, SALDO_WORKERS="2") as running:
        user_id = httpx.post(f"{running.url}/v1/user", json={"name": "a"}).json()["id"]
        for _ in range(20):
            body = {"uuid": str(uuid4()), "type": "DEPOSIT", "amount": "1", "user_id": user_id}
            assert httpx.post(f"{running.url}/v1/transaction", json=body).status_code == 200
        metrics = httpx.get(f"{running.url}/metrics").text
        assert re.search(
            r'saldo_transactions_total\{outcome="posted",replayed="false"\} 20', metrics
        )


def _read_startup_error(directory: Path, **settings: str) -> str:
    """Start a service that must fail, and return the one line that the operator reads."""
    running = ServiceProcess(directory, **settings)
    # See saldo.cli.exit_codes: 3 if the database can't be reached, and 2 if the configuration is at fault.
    code = running.process.wait(60)
    assert code == (3 if "connection failed" in running.output() else 2), running.output()
    lines = running.output().strip().splitlines()
    assert "Traceback" not in running.output()
    assert [line for line in lines if line.startswith("saldo: ")] == lines[-1:]
    return lines[-1]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("SALDO_LANES", "many", "SALDO_LANES"),
        ("SALDO_TIMEZONE", "Mars/Olympus", "IANA zone"),
        (
            "SALDO_DATABASE_REPLICA_URL",
            "postgresql://saldo@localhost:99999/saldo",
            "a port is not a number from 1 to 65535",
        ),
        ("SALDO_DATABASE_URL", "mysql://x", "postgresql://"),
        ("SALDO_DATABASE_URL", "postgresql://x@127.0.0.1:1/y", "127.0.0.1:1"),
        ("SALDO_DATABASE_URL", "postgresql://x:secret@127.0.0.1:1,127.0.0.1:2/y", "127.0.0.1:2/y"),
        ("SALDO_PORT", "99999", "SALDO_PORT"),
        ("SALDO_HOST", "203.0.113.7", "can't listen on 203.0.113.7"),
    ],
)
def test_a_wrong_setting_is_one_clear_line(
    tmp_path: Path, name: str, value: str, expected: str
) -> None:
    assert expected in _read_startup_error(tmp_path, **{name: value})


def test_a_server_that_is_too_old_is_one_clear_line(tmp_path: Path) -> None:
    """Answer the login as PostgreSQL 14 does, and check that no query follows."""

    def message(kind: bytes, content: bytes) -> bytes:
        return kind + (len(content) + 4).to_bytes(4, "big") + content

    greeting = (
        message(b"R", bytes(4))
        + message(b"S", b"server_version\x0014.9\x00")
        + message(b"S", b"client_encoding\x00UTF8\x00")
        + message(b"K", bytes(8))
        + message(b"Z", b"I")
    )
    with socket.create_server(("127.0.0.1", 0)) as old:

        def greet() -> None:
            while True:
                connection, _ = old.accept()
                with connection:
                    # The client asks for encryption first, which is refused.
                    while (asked := connection.recv(1024)) and int.from_bytes(
                        asked[4:8]
                    ) >> 16 != 3:
                        connection.sendall(b"N")
                    if asked:
                        connection.sendall(greeting)
                        connection.recv(1024)
                        return

        greeter = threading.Thread(target=greet)
        greeter.start()
        url = f"postgresql://x@127.0.0.1:{old.getsockname()[1]}/y"
        assert "is PostgreSQL 14; Saldo requires PostgreSQL 15" in _read_startup_error(
            tmp_path, SALDO_DATABASE_URL=url
        )
        greeter.join()


def test_service_roles_connection_string_is_checked(tmp_path: Path, machine_postgres: str) -> None:
    """Use a wrong URL for the service's role; the migrations run as another role, whose URL is right."""
    with databases.create_database(machine_postgres) as database:
        line = _read_startup_error(
            tmp_path,
            SALDO_DATABASE_URL=re.sub(r"@[^/]*/", "@127.0.0.1:1/", database.service_role_url),
            SALDO_DATABASE_OWNER_URL=database.owner_role_url,
        )
    assert "database 127.0.0.1:1/" in line


def test_a_busy_port_is_one_clear_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert "can't listen on" in _read_startup_error(
            tmp_path, SALDO_PORT=str(taken.getsockname()[1])
        )


def test_a_data_directory_in_use_is_one_clear_line(tmp_path: Path) -> None:
    with run_service_process(tmp_path) as running:
        assert f"in use by process {running.process.pid}" in _read_startup_error(tmp_path)


def test_the_currency_of_a_ledger_is_fixed(tmp_path: Path) -> None:
    with run_service_process(tmp_path):
        pass
    assert "created with 2" in _read_startup_error(tmp_path, SALDO_CURRENCY_DECIMALS="0")


def test_service_runs_on_an_external_postgresql(tmp_path: Path, machine_postgres: str) -> None:
    name = f"saldo_test_{uuid4().hex}"
    with psycopg.connect(machine_postgres, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
        try:
            url = machine_postgres.rpartition("/")[0] + f"/{name}"
            with run_service_process(tmp_path, SALDO_DATABASE_URL=url) as running:
                user_id = httpx.post(f"{running.url}/v1/user", json={"name": "a"}).json()["id"]
                body = {"uuid": str(uuid4()), "type": "DEPOSIT", "amount": "1", "user_id": user_id}
                assert httpx.post(f"{running.url}/v1/transaction", json=body).status_code == 200
                assert not (tmp_path / "data").exists()
        finally:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.mark.skipif(os.geteuid() != 0, reason="only root is refused")
@pytest.mark.parametrize("command", ["serve", "relay"])
def test_root_is_refused_in_one_line_before_anything_is_created(
    tmp_path: Path, command: str
) -> None:
    environment = copy_environment()
    del environment["SALDO_AS_ROOT"]
    refused = subprocess.run(
        [sys.executable, "-m", "saldo", command],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert refused.returncode == 2
    assert refused.stderr.startswith("saldo: refusing to run as root, ")
    assert refused.stderr.endswith("or set SALDO_AS_ROOT=true\n")
    assert len(refused.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root needs leave")
def test_root_may_start_a_service_with_as_root_and_gets_a_warning(tmp_path: Path) -> None:
    command = (sys.executable, "-m", "saldo", "serve", "--as-root")
    with run_service_process(tmp_path, True, command, SALDO_AS_ROOT="false") as running:
        assert "running as root: a vulnerability would" in running.output()
