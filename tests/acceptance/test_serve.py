"""`saldo serve` as a process: start, stop, kill, start again; and what an operator gets wrong."""

from __future__ import annotations

import os
import re
import signal
import socket
import threading
from datetime import datetime
from pathlib import Path
from uuid import uuid4

import httpx
import psycopg
import pytest

from tests import databases
from tests.acceptance.service import ServiceProcess, service


def test_the_tasks_own_test(tmp_path: Path) -> None:
    """The reference test of the task, step by step, its URLs, fields and formats unchanged."""
    with service(tmp_path) as running:
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
        # The test machine's zone is UTC here, so that this is "now", as on the task's machine.
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
    with service(tmp_path) as running:
        created = httpx.post(f"{running.url}/v1/user", json={"name": "a"}).json()
        assert running.end(signal.SIGINT) == 0
    assert not (tmp_path / "data/postgresql-18/postmaster.pid").exists()
    with service(tmp_path) as running:
        assert httpx.get(f"{running.url}/v1/user/{created['id']}").json() == created


@pytest.mark.parametrize("victims", ["service", "database", "both"])
def test_after_a_kill_nothing_acknowledged_is_missing(tmp_path: Path, victims: str) -> None:
    acknowledged: list[str] = []
    with service(tmp_path) as running:
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
            while len(acknowledged) < before + 50:  # the database is back, the service never left
                assert running.process.poll() is None
            running.end()
        poster.join()
    with service(tmp_path) as running:
        with httpx.Client() as client:
            for uuid in acknowledged:
                found = client.get(f"{running.url}/v1/transaction/{uuid}")
                assert found.status_code == 200
            answer = client.get(f"{running.url}/v1/user/{user_id}/balance").json()
        assert float(answer["balance"]) >= len(acknowledged)


def test_sigterm_answers_what_is_in_flight(tmp_path: Path) -> None:
    with service(tmp_path) as running:
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
    with service(tmp_path) as running:
        page = httpx.get(f"{running.url}/v1/user/{user_id}/balance").json()
        # Answered 200 is there; what was sent and not answered may be there too.
        assert posted <= float(page["balance"]) <= posted + 8


def test_several_workers_share_the_port_and_the_ledger(tmp_path: Path) -> None:
    with service(tmp_path, SALDO_WORKERS="2") as running:
        user_id = httpx.post(f"{running.url}/v1/user", json={"name": "a"}).json()["id"]
        for _ in range(20):
            body = {"uuid": str(uuid4()), "type": "DEPOSIT", "amount": "1", "user_id": user_id}
            assert httpx.post(f"{running.url}/v1/transaction", json=body).status_code == 200
        metrics = httpx.get(f"{running.url}/metrics").text
        assert re.search(r'saldo_outcomes_total\{outcome="posted",replayed="false"\} 20', metrics)


def _refused(directory: Path, **settings: str) -> str:
    """What the operator reads: one line, and a non-zero exit."""
    running = ServiceProcess(directory, **settings)
    assert running.process.wait(60) == 1, running.output()
    lines = running.output().strip().splitlines()
    assert "Traceback" not in running.output()
    assert [line for line in lines if line.startswith("saldo: ")] == lines[-1:]
    return lines[-1]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("SALDO_LANES", "many", "SALDO_LANES"),
        ("SALDO_ZONE", "Mars/Olympus", "IANA zone"),
        (
            "SALDO_DATABASE_REPLICA_URL",
            "postgresql://saldo@localhost:99999/saldo",
            "SALDO_DATABASE_REPLICA_URL can't be read",
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
    assert expected in _refused(tmp_path, **{name: value})


def test_a_server_that_is_too_old_is_one_clear_line(tmp_path: Path) -> None:
    """What PostgreSQL 14 says at login, and then it is asked nothing more."""

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
                    # Encryption is asked for first, and refused.
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
        assert "is PostgreSQL 14; Saldo needs 15" in _refused(tmp_path, SALDO_DATABASE_URL=url)
        greeter.join()


def test_the_services_own_connection_string_is_tried_too(
    tmp_path: Path, machine_postgres: str
) -> None:
    """The migrations come as another role, whose connection string is right."""
    with databases.created(machine_postgres) as database:
        line = _refused(
            tmp_path,
            SALDO_DATABASE_URL=re.sub(r"@[^/]*/", "@127.0.0.1:1/", database.service_url),
            SALDO_DATABASE_OWNER_URL=database.owner_url,
        )
    assert "database 127.0.0.1:1/" in line


def test_a_busy_port_is_one_clear_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert "can't listen on" in _refused(tmp_path, SALDO_PORT=str(taken.getsockname()[1]))


def test_a_data_directory_in_use_is_one_clear_line(tmp_path: Path) -> None:
    with service(tmp_path) as running:
        assert f"in use by process {running.process.pid}" in _refused(tmp_path)


def test_the_currency_of_a_ledger_is_fixed(tmp_path: Path) -> None:
    with service(tmp_path):
        pass
    assert "created with 2" in _refused(tmp_path, SALDO_CURRENCY_DECIMALS="0")


def test_on_a_postgresql_of_ones_own(tmp_path: Path, machine_postgres: str) -> None:
    name = f"saldo_test_{uuid4().hex}"
    with psycopg.connect(machine_postgres, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
        try:
            url = machine_postgres.rpartition("/")[0] + f"/{name}"
            with service(tmp_path, SALDO_DATABASE_URL=url) as running:
                user_id = httpx.post(f"{running.url}/v1/user", json={"name": "a"}).json()["id"]
                body = {"uuid": str(uuid4()), "type": "DEPOSIT", "amount": "1", "user_id": user_id}
                assert httpx.post(f"{running.url}/v1/transaction", json=body).status_code == 200
                assert not (tmp_path / "data").exists()
        finally:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
