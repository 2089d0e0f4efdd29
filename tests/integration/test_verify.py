"""What is done to a ledger behind Saldo's back is found by `saldo verify`, and by the audit in the background."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import psycopg
import pytest
from typer.testing import CliRunner

from saldo.bootstrap.service import running
from saldo.cli.program import application
from saldo.cli.verify import Lines
from saldo.ledger.audit import Counts, LateWithdrawals, Position, Rule
from saldo.ledger.timeline import Timeline
from saldo.relay.auditing import AuditLimits, Auditor
from saldo.relay.pace import Beside
from saldo.settings import Settings
from saldo.store import verify as store_verify
from saldo.store import walk as store_walk
from saldo.store.audits import FAULTS_MAX, AuditLease, Audits
from saldo.store.connection import open_pool
from saldo.store.errors import SetUpError
from saldo.store.sinks import FencedError
from saldo.store.totals import Totals
from saldo.store.walk import LogReader
from tests.conftest import settings_for
from tests.databases import Database
from tests.integration.ledgers import (
    BEGIN,
    DAY,
    behind_its_back,
    create_user,
    fill,
    insert,
    post,
    seal,
)

cli_verify = sys.modules["saldo.cli.verify"]  # its function has the module's name


class Place(NamedTuple):
    """Where a fault is due."""

    rule: Rule
    shard: int
    seq: int
    last_seq: int


class Verified(NamedTuple):
    code: int
    report: dict[str, Any]
    output: str

    @property
    def places(self) -> list[Place]:
        return [
            Place(Rule(each["rule"]), each["shard"], each["seq"], each["last_seq"])
            for each in self.report["faults"]
        ]


Verify = Callable[..., Verified]


@pytest.fixture
def ledger(own_ledger: Database) -> Iterator[Database]:
    """Three users of 21 entries each, in the shards 1 to 3: sixteen under two seals, five not."""
    fill(own_ledger)
    seal(own_ledger, leave=5)
    yield own_ledger


@pytest.fixture
def verify(ledger: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Verify:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SALDO_DATABASE_URL", ledger.service_url)

    def run(*arguments: str) -> Verified:
        done = CliRunner().invoke(application(["verify"]), ["verify", "--json", *arguments])
        lines = done.stdout.splitlines()
        return Verified(done.exit_code, json.loads(lines[-1]) if lines else {}, done.output)

    return run


def test_a_ledger_that_is_whole_is_whole(ledger: Database, verify: Verify) -> None:
    found = verify()
    assert (found.code, found.report["whole"], found.report["faults"]) == (0, True, [])
    assert (found.report["entries"], found.report["entries_sealed"]) == (63, 48)


def test_how_far_it_is_is_shown_in_a_terminal_and_elsewhere(
    verify: Verify, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli_verify, "LINE_SECONDS", 0.0)
    assert re.search(r"^42 of 63 entries, [\d,]+/s, [\d,]+ s left$", verify().output, re.MULTILINE)
    monkeypatch.setenv("FORCE_COLOR", "1")
    found = verify()
    assert (found.code, found.report["whole"]) == (0, True)
    assert "verifying" in found.output


def _sql(query: str) -> Callable[[psycopg.Connection], object]:
    return lambda connection: connection.execute(query.encode())


def _swap(connection: psycopg.Connection) -> None:
    """Two entries of a user change places, everything about them but seq and recorded_at."""
    connection.execute(
        "UPDATE saldo.transactions SET seq = 1000 + seq WHERE shard = 2 AND seq IN (18, 19)"
    )
    connection.execute("UPDATE saldo.transactions SET seq = 18 WHERE shard = 2 AND seq = 1019")
    connection.execute("UPDATE saldo.transactions SET seq = 19 WHERE shard = 2 AND seq = 1018")


def _close_up(connection: psycopg.Connection) -> None:
    """A refused entry is cut out, and nothing is missing by number: every position and number after it moves up."""
    connection.execute("DELETE FROM saldo.transactions WHERE shard = 1 AND seq = 12")
    for seq in range(13, 22):
        connection.execute(
            "UPDATE saldo.transactions SET seq = seq - 1, number = number - 1 WHERE shard = 1 AND seq = %s",
            (seq,),
        )


def _cut_tail(connection: psycopg.Connection) -> None:
    connection.execute("DELETE FROM saldo.transactions WHERE shard = 1 AND seq > 15")


def _late_withdrawal(connection: psycopg.Connection) -> None:
    """On the first day there were 70: now 270 are taken then, of the 331 that are there today."""
    insert(
        connection, 1, 21, number=21, kind=2, outcome=0, amount=-270, balance=_balance(connection) - 270,
        timestamp=BEGIN,
    )  # fmt: skip


def _balance(connection: psycopg.Connection) -> int:
    row = connection.execute(
        "SELECT balance FROM saldo.transactions WHERE shard = 1 ORDER BY seq DESC LIMIT 1"
    ).fetchone()
    assert row is not None
    return int(row[0])


TAMPERINGS: dict[str, tuple[Callable[[psycopg.Connection], object], Place]] = {
    "an amount is altered": (
        _sql("UPDATE saldo.transactions SET amount = amount + 1 WHERE shard = 2 AND seq = 4"),
        Place(Rule.BALANCE, 2, 4, 4),
    ),
    "a balance is altered": (
        _sql("UPDATE saldo.transactions SET balance = 5000 WHERE shard = 2 AND seq = 21"),
        Place(Rule.BALANCE, 2, 21, 21),
    ),
    "all balances from one on are altered with it": (
        _sql(
            "UPDATE saldo.transactions SET balance = balance + 1,"
            " amount = amount + (seq = 4)::int WHERE shard = 2 AND seq >= 4"
        ),
        Place(Rule.ROOT, 2, 1, 8),
    ),
    "a uuid is altered": (
        _sql("UPDATE saldo.transactions SET uuid = gen_random_uuid() WHERE shard = 1 AND seq = 10"),
        Place(Rule.ROOT, 1, 9, 16),
    ),
    "an entry is deleted": (
        _sql("DELETE FROM saldo.transactions WHERE shard = 3 AND seq = 19"),
        Place(Rule.SEQ, 3, 19, 19),
    ),
    "an entry is deleted and its gap closed": (_close_up, Place(Rule.ROOT, 1, 9, 16)),
    "entries are re-ordered": (_swap, Place(Rule.NUMBER, 2, 18, 18)),
    "an entry with a balance of its own is inserted": (
        lambda connection: insert(connection, 1, 21, number=21, balance=9999),
        Place(Rule.BALANCE, 1, 22, 22),
    ),
    "an entry of nobody is inserted": (
        lambda connection: insert(connection, 1, 1, user_id=6401),
        Place(Rule.USER, 1, 22, 22),
    ),
    "a user is deleted": (
        _sql("DELETE FROM saldo.users WHERE id = 2"),
        Place(Rule.USER, 2, 1, 1),
    ),
    "a user without entries is inserted": (
        _sql("INSERT INTO saldo.users (name, created_at) VALUES ('x', now())"),
        Place(Rule.USER, 4, 0, 0),
    ),
    "the tail is cut": (_cut_tail, Place(Rule.HEAD, 1, 16, 16)),
    "everything is gone": (
        _sql("TRUNCATE saldo.transactions"),
        Place(Rule.HEAD, 1, 1, 16),
    ),
    "a late withdrawal makes a day of the past negative": (
        _late_withdrawal,
        Place(Rule.INSTANT, 1, 22, 22),
    ),
    "a seal is altered": (
        _sql("UPDATE saldo.seals SET root = sha256('x') WHERE shard = 1 AND first_seq = 9"),
        Place(Rule.SEAL, 1, 9, 16),
    ),
    "a seal is deleted": (
        _sql("DELETE FROM saldo.seals WHERE shard = 1 AND first_seq = 1"),
        Place(Rule.CHAIN, 1, 1, 8),
    ),
    "what was counted is altered": (
        _sql("UPDATE saldo.totals SET seq = 20, users = 1, posted = 99 WHERE shard = 1"),
        Place(Rule.TOTALS, 1, 20, 20),
    ),
}


class WatchedAudits(Audits):
    """Tells when a round is complete."""

    def __init__(self, pool: Any) -> None:
        super().__init__(pool, lease_seconds=10)
        self.completed = asyncio.Event()

    async def complete(self, lease: AuditLease) -> None:
        await super().complete(lease)
        self.completed.set()


@asynccontextmanager
async def pool_of(ledger: Database) -> AsyncIterator[Any]:
    pool = await open_pool(ledger.service_url, connections=4, statement_timeout_seconds=10)
    try:
        yield pool
    finally:
        pool.terminate()


def auditor_of(pool: Any, audits: Audits) -> Auditor:
    """As fast as it can."""
    limits = AuditLimits(entries_per_second=1_000_000, lease_seconds=10)
    return Auditor(audits, LogReader(pool), Beside(told=True), limits)


async def one_round(pool: Any) -> Audits:
    """The audit in the background, until a round is complete."""
    audits = WatchedAudits(pool)
    auditing = asyncio.create_task(auditor_of(pool, audits).run())
    await asyncio.wait(
        [auditing, asyncio.create_task(audits.completed.wait())],
        return_when=asyncio.FIRST_COMPLETED,
    )
    auditing.cancel()
    await asyncio.gather(auditing, return_exceptions=True)
    return audits


@pytest.mark.parametrize("name", TAMPERINGS)
def test_whatever_is_done_is_found_where_it_was_done(
    name: str, ledger: Database, verify: Verify
) -> None:
    tamper, place = TAMPERINGS[name]
    with behind_its_back(ledger) as connection:
        tamper(connection)
    found = verify()
    assert (found.code, found.places) == (1, [place])
    (reported,) = found.report["faults"]

    async def in_the_background() -> None:
        async with pool_of(ledger) as pool:
            audits = await one_round(pool)
            known = [each.fault for each in await audits.faults()]
            assert (await audits.status()).faults == len(known)
            (fault,) = (each for each in known if (each.rule, *each[1:4]) == place)
            assert (fault.found, fault.expected) == (reported["found"], reported["expected"])
            assert (fault.user_id, fault.number) == (reported["user_id"], reported["number"])
            assert reported["uuid"] == (str(fault.uuid) if fault.uuid else None)

    asyncio.run(in_the_background())


def test_everything_that_is_wrong_is_found_in_one_walk(ledger: Database, verify: Verify) -> None:
    with behind_its_back(ledger) as connection:
        for name in ("an amount is altered", "a uuid is altered", "an entry is deleted"):
            TAMPERINGS[name][0](connection)
    found = verify("--all")
    assert found.code == 1
    assert [(place.shard, place.seq) for place in found.places] == [
        (1, 9), (2, 4), (2, 1), (3, 19), (3, 20),
    ]  # fmt: skip
    # Of the deleted one: its position, and that its user's next number doesn't follow.
    assert [place.rule for place in found.places][-2:] == [Rule.SEQ, Rule.NUMBER]
    assert verify("--all", "--state", "x").code == 2


def test_a_fault_is_a_line_that_says_all(ledger: Database, verify: Verify) -> None:
    with behind_its_back(ledger) as connection:
        row = connection.execute(
            "UPDATE saldo.transactions SET balance = 5000 WHERE shard = 2 AND seq = 21 RETURNING uuid"
        ).fetchone()
        assert row is not None
    done = CliRunner().invoke(application(["verify"]), ["verify"])
    assert done.exit_code == 1
    line, last = done.stdout.splitlines()
    assert line == (
        f"shard 2, seq 21, uuid {row[0]}, user 2, number 20: balance: found 5000, expected 385"
    )
    assert last.startswith("the ledger is not whole: 1 found, after ")


def test_a_walk_goes_on_from_its_state_and_forgets_it_when_all_is_whole(
    ledger: Database, verify: Verify, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in the midst of a seal: what is under it is read once more, for its root."""
    state = tmp_path / "state.json"
    with behind_its_back(ledger) as connection:
        connection.execute(
            "UPDATE saldo.transactions SET balance = 5000 WHERE shard = 2 AND seq = 13"
        )
    monkeypatch.setattr(store_verify, "STEP_ENTRIES", 6)
    found = verify("--state", str(state))
    assert (found.code, found.places) == (1, [Place(Rule.BALANCE, 2, 13, 13)])
    kept = json.loads(state.read_text())
    assert (kept["position"]["shard"], kept["position"]["seq"], kept["position"]["sealed_seq"]) == (
        2,
        12,
        8,
    )
    assert kept["entries"] == 21
    # It is found again; mended, the walk ends.
    assert verify("--state", str(state)).places == found.places
    with behind_its_back(ledger) as connection:
        connection.execute(
            "UPDATE saldo.transactions AS t SET balance = b.balance + t.amount * (t.outcome = 0)::int"
            " FROM saldo.transactions AS b WHERE t.shard = 2 AND t.seq = 13 AND b.shard = 2 AND b.seq = 12"
        )
    done = verify("--state", str(state))
    assert (done.code, done.report["entries"]) == (0, 63 - 21 - 12)
    assert not state.exists()


def test_what_was_verified_before_it_was_sealed_is_read_again_for_its_seal(
    ledger: Database, verify: Verify, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / "state.json"
    with behind_its_back(ledger) as connection:
        connection.execute("DELETE FROM saldo.seals WHERE shard = 3 AND first_seq = 9")
        connection.execute(
            "UPDATE saldo.transactions SET balance = 5000 WHERE shard = 3 AND seq = 21"
        )
    monkeypatch.setattr(store_verify, "STEP_ENTRIES", 6)
    assert verify("--state", str(state)).places == [Place(Rule.BALANCE, 3, 21, 21)]
    kept = json.loads(state.read_text())["position"]
    assert (kept["seq"], kept["sealed_seq"]) == (18, 8)
    seal(ledger)
    with behind_its_back(ledger) as connection:
        connection.execute(
            "UPDATE saldo.transactions SET uuid = gen_random_uuid() WHERE shard = 3 AND seq = 17"
        )
        connection.execute(
            "UPDATE saldo.transactions SET balance = 385 WHERE shard = 3 AND seq = 21"
        )
    assert verify("--state", str(state)).places == [Place(Rule.ROOT, 3, 17, 21)]


def test_seals_that_were_kept_elsewhere_are_held_against_the_chain(
    ledger: Database, verify: Verify, tmp_path: Path
) -> None:
    with psycopg.connect(ledger.service_url) as connection:
        rows = connection.execute(
            "SELECT shard, first_seq, last_seq, hash FROM saldo.seals"
        ).fetchall()
    kept = [
        {"shard": shard, "first_seq": first, "last_seq": last, "hash": hash_.hex()}
        for shard, first, last, hash_ in rows
    ]
    heads = tmp_path / "heads.json"
    for written in (kept, {"items": kept}):
        heads.write_text(json.dumps(written))
        assert verify("--heads", str(heads)).code == 0
    # Everything is sealed anew after an alteration, by somebody who may do anything: only this tells.
    with behind_its_back(ledger) as connection:
        connection.execute("DELETE FROM saldo.seals")
        connection.execute(
            "UPDATE saldo.transactions SET uuid = gen_random_uuid() WHERE shard = 2 AND seq = 3"
        )
    seal(ledger, leave=5)
    assert verify().code == 0
    found = verify("--heads", str(heads))
    assert (found.code, found.places) == (1, [Place(Rule.SEAL, 2, 1, 8)])


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("--state", "[]", "is no state of this version's saldo verify"),
        ("--state", '{"format": 1, "log": "x"}', "is no state of this version's saldo verify"),
        ("--state", "OTHER", "is of another log"),
        ("--heads", '[{"shard": 64, "first_seq": 1, "last_seq": 1, "hash": ""}]', "holds no seals"),
        ("--heads", "{", "holds no seals"),
    ],
)
def test_a_file_that_can_not_be_used_is_one_line_and_nothing_is_said_of_the_ledger(
    ledger: Database, verify: Verify, tmp_path: Path, name: str, content: str, expected: str
) -> None:
    file = tmp_path / "file.json"
    if content == "OTHER":
        with behind_its_back(ledger) as connection:
            connection.execute(
                "UPDATE saldo.transactions SET balance = 5000 WHERE shard = 1 AND seq = 5"
            )
            assert verify("--state", str(file)).code == 1
            connection.execute("UPDATE saldo.ledger SET restore_id = gen_random_uuid()")
    else:
        file.write_text(content)
    found = verify(name, str(file))
    assert (found.code, found.report) == (2, {})
    (line,) = found.output.splitlines()
    assert line.startswith("saldo: ")
    assert expected in line


def test_a_database_that_is_away_is_another_exit_code(
    verify: Verify, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SALDO_DATABASE_URL", "postgresql://saldo@127.0.0.1:1/saldo")
    found = verify()
    assert found.code == 2
    assert found.output.startswith("saldo: database 127.0.0.1:1/saldo")


def test_a_database_that_goes_away_is_another_exit_code_and_the_state_is_kept(
    ledger: Database, verify: Verify, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / "state.json"
    monkeypatch.setattr(store_verify, "STEP_ENTRIES", 5)
    shown: list[int] = []

    def cut(_: object, entries: int, total: int) -> None:
        assert (len(shown) == 0) or entries >= shown[-1]
        shown.append(entries)
        if entries == 31:
            with psycopg.connect(ledger.owner_url, autocommit=True) as connection:
                connection.execute("ALTER TABLE saldo.transactions RENAME TO gone")

    monkeypatch.setattr(Lines, "show", cut)
    found = verify("--state", str(state))
    assert (found.code, found.report) == (2, {})
    assert "saldo.transactions" in found.output
    # What was shown, and the step after it, which was read before.
    assert json.loads(state.read_text())["position"]["seq"] == 15


def test_a_withdrawal_beyond_what_any_check_reads_was_never_posted(
    ledger: Database, verify: Verify, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bound is a million entries; here it is ten."""
    monkeypatch.setattr(store_walk, "LATE_CHECK_ENTRIES_MAX", 10)
    monkeypatch.setattr(store_verify, "STEP_ENTRIES", 5)
    assert verify().code == 0
    with psycopg.connect(ledger.service_url, autocommit=True) as connection:
        post(connection, 1, -1, at=BEGIN + DAY)
    assert verify().places == [Place(Rule.INSTANT, 1, 22, 22)]


def test_a_walk_beside_much_that_is_posted_ends_where_the_log_ended_then(
    ledger: Database, verify: Verify, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_verify, "STEP_ENTRIES", 5)
    with psycopg.connect(ledger.service_url, autocommit=True) as connection:
        user_id = create_user(connection)
        monkeypatch.setattr(Lines, "show", lambda *_: post(connection, user_id, 5, at=BEGIN))
        assert verify().code == 0


def test_what_the_audit_counted_is_held_against_the_totals(
    ledger: Database, verify: Verify
) -> None:
    async def count() -> None:
        async with pool_of(ledger) as pool:
            while (await Totals(pool).advance(7)).entries:
                pass

    asyncio.run(count())
    assert verify().code == 0


def test_a_round_goes_on_where_another_process_has_stopped(ledger: Database) -> None:
    async def work() -> None:
        async with pool_of(ledger) as pool:
            audits = Audits(pool, lease_seconds=10)
            (one, other) = (auditor_of(pool, audits)._holder for _ in range(2))
            lease = await audits.take(one)
            assert lease is not None
            assert lease.position == Position(0)
            assert await audits.take(other) is None
            reached = Position(2, 12, 345, 8, bytes(range(32)), Counts(1, 2, 3, 4))
            await audits.move(lease, reached, 12)
            await audits.release(lease)
            taken = await audits.take(other)
            assert taken is not None
            assert taken.position == reached
            # Whoever comes late is told, and spoils nothing.
            for late in (audits.move(lease, Position(0), 1), audits.complete(lease)):
                with pytest.raises(FencedError):
                    await late
            status = await audits.status()
            assert (status.active, status.rounds, status.entries) == (True, 0, 12)
            assert (status.shard, status.seq, status.round_age_seconds) == (2, 12, None)
            await audits.release(taken)
            found = await one_round(pool)
            status = await found.status()
            # From the position on, not from the beginning: its seal, made up, is not that of what is there.
            assert (status.active, status.rounds, status.entries) == (False, 1, 12 + 9 + 21)
            assert [each.fault.rule for each in await found.faults()] == [Rule.SEAL]

    asyncio.run(work())


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["2", "--why", "mended"], "no fault has the number 2"),
        (["1", "--why", " "], "--why: expected 1 to 500 characters"),
        (["1", "--why", "x" * 501], "--why: expected 1 to 500 characters"),
    ],
)
def test_what_can_not_be_acknowledged_is_one_line(
    ledger: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    expected: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SALDO_DATABASE_URL", ledger.service_url)
    done = CliRunner().invoke(application(["audit"]), ["audit", "acknowledge", *arguments])
    assert isinstance(done.exception, SetUpError)
    assert expected in str(done.exception)


async def test_a_fault_is_counted_until_somebody_has_seen_to_it(ledger: Database) -> None:
    with behind_its_back(ledger) as connection:
        connection.execute(
            "UPDATE saldo.transactions SET balance = 5000 WHERE shard = 2 AND seq = 21"
        )
    async with pool_of(ledger) as pool:
        audits = await one_round(pool)
        (known,) = await audits.faults()
        assert not await audits.acknowledge(known.id + 1, "no such fault")
        assert await audits.acknowledge(known.id, "mended by transaction 7")
        assert (await audits.status()).faults == 0
        # The same found again is still known; found otherwise it is not.
        assert await audits.record([known.fault]) == []
        assert (await audits.status()).faults == 0
        await audits.record([known.fault._replace(found="5001")])
        assert (await audits.status()).faults == 1
        (again,) = await audits.faults()
        assert (again.times_found, again.fault.found) == (3, "5001")


async def test_the_table_of_faults_is_bounded(ledger: Database) -> None:
    async with pool_of(ledger) as pool:
        audits = await one_round(pool)
        with behind_its_back(ledger) as connection:
            connection.execute(
                "UPDATE saldo.transactions SET balance = 5000 WHERE shard = 2 AND seq = 21"
            )
        await one_round(pool)
        ((known),) = await audits.faults()
        many = [known.fault._replace(seq=1000 + number) for number in range(FAULTS_MAX + 5)]
        new = [
            len(await audits.record(many[begin : begin + 300]))
            for begin in range(0, len(many), 300)
        ]
        assert sum(new) == FAULTS_MAX - 1
        assert (await audits.status()).faults == FAULTS_MAX


async def test_metrics_tell_of_rounds_and_faults(ledger: Database) -> None:
    with behind_its_back(ledger) as connection:
        connection.execute(
            "UPDATE saldo.transactions SET balance = 5000 WHERE shard = 2 AND seq = 21"
        )
    async with pool_of(ledger) as pool, scraping(settings_for(ledger.service_url)) as scraped:
        before = await scraped()
        assert (before["saldo_audit_faults"], before["saldo_audit_rounds_total"]) == (0, 0)
        assert "saldo_audit_round_age_seconds" not in before
        await one_round(pool)
        after = await scraped()
        assert after["saldo_audit_faults"] == 1
        rounds, entries = after["saldo_audit_rounds_total"], after["saldo_audit_entries_total"]
        assert (rounds, entries) == (1, 63)
        assert (after["saldo_audit_active"], after["saldo_audit_round_ratio"]) == (0, 0)
        assert after["saldo_audit_round_age_seconds"] >= 0
    # Where nobody shall audit, nobody is missed.
    settings = settings_for(ledger.service_url, audit_entries_per_second=0)
    async with scraping(settings) as scraped:
        assert set(await scraped()) == {"saldo_audit_faults"}


@asynccontextmanager
async def scraping(settings: Settings) -> AsyncIterator[Callable[[], Awaitable[dict[str, float]]]]:
    """What a service tells of the audit."""
    assert settings.database_url is not None
    async with running(settings, settings.database_url) as service:
        transport = httpx.ASGITransport(app=service)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:

            async def scraped() -> dict[str, float]:
                # What isn't told within two seconds is left out, and told the next time.
                found: dict[str, float] = {}
                while not found:
                    answer = await client.get("/metrics")
                    assert answer.status_code == 200
                    lines = answer.text.splitlines()
                    named = [line.split() for line in lines if line.startswith("saldo_audit_")]
                    found = {name: float(value) for name, value in named}
                return found

            yield scraped


async def test_the_timeline_is_made_of_what_was_posted_before(ledger: Database) -> None:
    """By hand: at the end of the days 0 to 4 there are 70, 140, 197, 267 and 337; on day 2 two entries are late."""
    async with pool_of(ledger) as pool:
        reader = LogReader(pool)
        day = 86_400_000_000
        since = 24 * 365 * day + 6 * day + day  # 2024-01-02
        timeline = await reader.timeline(LateWithdrawals(1, 15, 15, since))
        assert isinstance(timeline, Timeline)
        assert timeline.lowest == 140
        assert timeline.lowest_at() == since
        assert timeline.through == 15 + store_walk.TIMELINE_AHEAD
