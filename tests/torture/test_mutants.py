"""The mutants: each does its harm when it is provoked, and the real service does not."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias
from uuid import uuid4

import httpx
import psutil
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from harness.events.consumers import ReceivedEvents, consume_queue
from harness.events.lossy_proxy import open_lossy_proxy
from harness.postgresql.databases import Database
from harness.program.service import ServiceProcess, run_service_process
from saldo.store.embedded import EmbeddedServer
from torture import mutants
from torture.mutants import skips_event

Connection: TypeAlias = psycopg.Connection[Any]

POLL_SECONDS = 0.02
WAIT_SECONDS_MAX = 60

PROVOKED: list[str] = []
"""The mutants that have a test here."""


def run_with_mutant(name: str) -> Callable[..., Any]:
    """Run a test with the mutant, and with the real service."""
    PROVOKED.append(name)
    return pytest.mark.parametrize("planted", [name, None], ids=[name, "the real one"])


@contextmanager
def run_planted(
    planted: str | None, directory: Path, ledger: Database, /, **settings: str
) -> Iterator[ServiceProcess]:
    """Run a service on a ledger that has been prepared, without a relay unless the settings request one."""
    urls = {
        "SALDO_DATABASE_URL": ledger.service_role_url,
        "SALDO_DATABASE_OWNER_URL": ledger.owner_role_url,
        "SALDO_RELAY_ENABLED": "false",
    }
    with run_service_process(
        directory, True, mutants.command(planted), **urls | settings
    ) as running:
        yield running


class Customer:
    """A user of a service, and a client that posts for the user."""

    def __init__(self, url: str, user_id: int | None = None) -> None:
        self._url = f"{url}/v1"
        self.id = user_id or self._create()

    def post(self, kind: str, amount: str, uuid: str | None = None, **more: str) -> httpx.Response:
        """Post one transaction, with a new uuid if none is given."""
        body = {"uuid": uuid or str(uuid4()), "type": kind, "amount": amount, "user_id": self.id}
        return self._ask("POST", "transaction", json=body | more)

    def post_many(self, count: int) -> None:
        """Post deposits of a cent in one call."""
        body = [
            {"uuid": str(uuid4()), "type": "DEPOSIT", "amount": "0.01", "user_id": self.id}
            for _ in range(count)
        ]
        self._ask("POST", "transactions", json=body).raise_for_status()

    def balance(self, **query: str) -> str:
        """Return the balance in the service's answer."""
        answer = self._ask("GET", f"user/{self.id}/balance", params=query)
        found: str = answer.raise_for_status().json()["balance"]
        return found

    def _create(self) -> int:
        created = self._ask("POST", "user", json={"name": str(uuid4())})
        found: int = created.raise_for_status().json()["id"]
        return found

    def _ask(self, method: str, path: str, **content: Any) -> httpx.Response:
        # There is nothing to verify, and loading the system's authorities takes longer than everything else.
        return httpx.request(method, f"{self._url}/{path}", timeout=60, verify=False, **content)


def list_recorded(ledger: Database) -> list[str]:
    """Return the uuids of all recorded transactions, with repetitions."""
    with psycopg.connect(ledger.owner_role_url) as connection:
        rows = connection.execute("SELECT uuid::text FROM saldo.transactions WHERE kind <> 0")
        return [uuid for (uuid,) in rows]


def is_acknowledged(answer: Future[httpx.Response]) -> bool:
    """Return whether an answer came and reports that the transaction is posted."""
    try:
        return answer.result().status_code == 200
    except httpx.TransportError:
        return False


def wait_until(connection: Connection, question: str) -> None:
    """Wait until a query returns true."""
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while connection.execute(question.encode()).fetchone() != (True,):
        assert time.monotonic() < deadline, question
        time.sleep(POLL_SECONDS)


WAITING_FOR_LOCKS = """
    SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = database
    WHERE locktype = 'advisory' AND NOT granted AND datname = current_database()
"""
NO_LANES = """
    SELECT count(*) = 0 FROM pg_stat_activity
    WHERE datname = current_database() AND application_name LIKE 'saldo lane%'
"""
LOCK_OF_USER = """
    SELECT pg_advisory_lock('saldo.transactions'::regclass::oid::bigint << 6 | (%s & 63))
"""
UNLOCK = "SELECT pg_advisory_unlock_all()"

HELD_COMMITS = """
    CREATE FUNCTION public.wait_at_commit() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN PERFORM pg_advisory_xact_lock_shared(1); RETURN NULL; END';
    CREATE CONSTRAINT TRIGGER wait_at_commit AFTER INSERT ON saldo.transactions
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION public.wait_at_commit()
"""
"""A trigger that makes commits of posted transactions wait for the holder of the lock 1."""


@pytest.fixture
def admin(embedded_server: EmbeddedServer, own_ledger: Database) -> Iterator[Connection]:
    """Yield a superuser's connection to the test's own ledger."""
    name = conninfo_to_dict(own_ledger.owner_role_url)["dbname"]
    with psycopg.connect(
        make_conninfo(embedded_server.superuser_url, dbname=name), autocommit=True
    ) as connection:
        yield connection


@run_with_mutant("forgets_uuid_check")
def test_the_same_uuid_is_posted_twice(
    planted: str | None, tmp_path: Path, own_ledger: Database
) -> None:
    mutants.prepare(planted, own_ledger.owner_role_url)
    with run_planted(planted, tmp_path, own_ledger) as running:
        customer, uuid = Customer(running.url), str(uuid4())
        for _ in range(2):
            assert customer.post("DEPOSIT", "10", uuid).status_code == 200
        twice = planted is not None
        assert customer.balance() == ("20.00" if twice else "10.00")
    assert list_recorded(own_ledger) == ([uuid, uuid] if twice else [uuid])


@run_with_mutant("acknowledges_before_commit")
def test_a_service_is_killed_while_it_commits(
    planted: str | None, tmp_path: Path, own_ledger: Database, admin: Connection
) -> None:
    mutants.prepare(planted, own_ledger.owner_role_url)
    uuid = str(uuid4())
    with run_planted(planted, tmp_path, own_ledger) as running, ThreadPoolExecutor() as pool:
        customer = Customer(running.url)
        admin.execute(HELD_COMMITS)
        admin.execute("SELECT pg_advisory_lock(1)")
        answer = pool.submit(customer.post, "DEPOSIT", "10", uuid)
        wait_until(admin, f"SELECT ({WAITING_FOR_LOCKS}) = 1")
        running.end(signal.SIGKILL)
        wait_until(admin, NO_LANES)
        admin.execute(UNLOCK)
        assert is_acknowledged(answer) == (planted is not None)
    assert list_recorded(own_ledger) == []


@run_with_mutant("commits_without_flush")
def test_a_database_is_killed_after_an_answer(
    planted: str | None, tmp_path: Path, own_server: EmbeddedServer
) -> None:
    ledger, uuid = Database(own_server.owner_role_url, own_server.service_role_url), str(uuid4())
    with run_planted(planted, tmp_path, ledger) as running:
        mutants.prepare(planted, own_server.ledger_url)
        customer = Customer(running.url)
        assert own_server.pid is not None
        server = psutil.Process(own_server.pid)
        writers = ("walwriter", "background writer", "checkpointer")
        with psycopg.connect(own_server.ledger_url) as connection:
            for (pid,) in connection.execute(
                "SELECT pid FROM pg_stat_activity WHERE backend_type = ANY (%s)", ([*writers],)
            ):
                os.kill(pid, signal.SIGSTOP)
        assert customer.post("DEPOSIT", "10", uuid).status_code == 200
        running.end(signal.SIGKILL)
        for process in [server, *server.children()]:
            process.kill()
        psutil.wait_procs([server])
    assert recorded_when_back(ledger) == ([] if planted else [uuid])


def recorded_when_back(ledger: Database) -> list[str]:
    """Return the same as `list_recorded`, as soon as the killed server accepts connections again."""
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while True:
        try:
            return list_recorded(ledger)
        except psycopg.OperationalError:
            assert time.monotonic() < deadline
            time.sleep(POLL_SECONDS)


@run_with_mutant("reads_before_lock")
def test_two_services_spend_the_same_money(
    planted: str | None, tmp_path: Path, own_ledger: Database, admin: Connection
) -> None:
    mutants.prepare(planted, own_ledger.owner_role_url)
    with (
        run_planted(planted, tmp_path, own_ledger) as one,
        run_planted(planted, tmp_path, own_ledger) as other,
        ThreadPoolExecutor() as pool,
    ):
        customer = Customer(one.url)
        customer.post("DEPOSIT", "10").raise_for_status()
        admin.execute(LOCK_OF_USER, (customer.id,))
        answers = [
            pool.submit(Customer(url, customer.id).post, "WITHDRAW", "10")
            for url in (one.url, other.url)
        ]
        wait_until(admin, f"SELECT ({WAITING_FOR_LOCKS}) = 2")
        admin.execute(UNLOCK)
        statuses = sorted(answer.result().status_code for answer in answers)
        assert statuses == ([200, 200] if planted else [200, 402])
        assert customer.balance() == "0.00"


@run_with_mutant("forgets_horizon_check")
def test_a_late_withdrawal_of_money_that_was_gone_by_then(
    planted: str | None, tmp_path: Path, own_ledger: Database
) -> None:
    mutants.prepare(planted, own_ledger.owner_role_url)
    with run_planted(planted, tmp_path, own_ledger) as running:
        customer = Customer(running.url)
        for day, kind in enumerate(("DEPOSIT", "WITHDRAW", "DEPOSIT"), start=1):
            customer.post(kind, "10", timestamp=f"2020-01-0{day}T00:00:00Z").raise_for_status()
        late = customer.post("WITHDRAW", "5", timestamp="2020-01-02T12:00:00Z")
        assert late.status_code == (200 if planted else 402)
        balance = customer.balance(date="2020-01-02T18:00:00Z")
        assert balance == ("-5.00" if planted else "0.00")


@run_with_mutant("replays_with_newest_balance")
def test_a_resend_after_another_transaction(
    planted: str | None, tmp_path: Path, own_ledger: Database
) -> None:
    mutants.prepare(planted, own_ledger.owner_role_url)
    with run_planted(planted, tmp_path, own_ledger) as running:
        customer, uuid = Customer(running.url), str(uuid4())
        first = customer.post("DEPOSIT", "10", uuid).raise_for_status().json()
        customer.post("DEPOSIT", "5").raise_for_status()
        again = customer.post("DEPOSIT", "10", uuid).raise_for_status().json()
        assert again == (first | {"balance": "15.00"} if planted else first)


@run_with_mutant("stale_reads")
def test_client_does_not_read_its_own_write(
    planted: str | None, tmp_path: Path, own_ledger: Database
) -> None:
    mutants.prepare(planted, own_ledger.owner_role_url)
    # There are two workers, and neither is the process that was started.
    with run_planted(planted, tmp_path, own_ledger, SALDO_WORKERS="2") as running:
        customer = Customer(running.url)
        stale = 0
        for cents in range(1, 31):
            customer.post("DEPOSIT", "0.01").raise_for_status()
            stale += customer.balance() != f"0.{cents:02}"
        assert (stale > 0) == (planted is not None)


@run_with_mutant("skips_event")
async def test_consumer_receives_every_event(
    planted: str | None, tmp_path: Path, own_ledger: Database, rabbitmq_url: str
) -> None:
    mutants.prepare(planted, own_ledger.owner_role_url)
    settings = relaying_to(rabbitmq_url)
    transactions = skips_event.EVENTS_PER_LOSS + 10
    async with consume_queue(rabbitmq_url, settings["SALDO_RABBITMQ_EXCHANGE"]) as consumer:
        with run_planted(planted, tmp_path, own_ledger, **settings) as running:
            customer = Customer(running.url)
            customer.post_many(transactions)
            received = ReceivedEvents()
            # All but one are enough: then an event after the missing one has arrived.
            await consumer.take_until(received, transactions)
    assert (received.faults != []) == (planted is not None)


@run_with_mutant("moves_cursor_early")
async def test_connection_to_the_broker_breaks_before_the_confirmation(
    planted: str | None, tmp_path: Path, own_ledger: Database, rabbitmq_url: str
) -> None:
    mutants.prepare(planted, own_ledger.owner_role_url)
    received = ReceivedEvents()
    async with open_lossy_proxy(rabbitmq_url) as way:
        settings = relaying_to(way.url)
        async with consume_queue(rabbitmq_url, settings["SALDO_RABBITMQ_EXCHANGE"]) as consumer:
            with run_planted(planted, tmp_path, own_ledger, **settings) as running:
                customer, uuid = Customer(running.url), str(uuid4())
                await consumer.take_until(received, 1)  # of the new user
                way.swallowing = True
                customer.post("DEPOSIT", "1", uuid).raise_for_status()
                await way.wait_until_swallowed(uuid)
                way.swallowing = False
                way.cut()
                customer.post("DEPOSIT", "1").raise_for_status()
                await consumer.take_until(received, 2)
                await asyncio.to_thread(running.end)  # its last message goes this way, too
    numbers = [event["data"]["number"] for event in received.events]
    assert numbers == ([0, 2] if planted else [0, 1])


def relaying_to(url: str) -> dict[str, str]:
    """Return the settings of a service that relays to an exchange of its own."""
    return {
        "SALDO_RELAY_ENABLED": "true",
        "SALDO_RABBITMQ_URL": url,
        "SALDO_RABBITMQ_EXCHANGE": f"saldo-{uuid4()}",
    }


def test_each_mutant_has_a_documented_file_and_a_test() -> None:
    assert sorted(PROVOKED) == sorted(mutants.NAMES)
    for name, mutant in mutants.NAMES.items():
        file = Path(mutants.__file__).with_name(f"{name}.py")
        assert mutant.name == name
        said = file.read_text().split('"""')[1]
        assert all(word in said for word in ("Forgotten:", "Harm:", " removed:"))
