"""Changes to a ledger behind Saldo's back, found by `saldo verify` and by the audit in the background."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import psycopg
import pytest
from typer.testing import CliRunner

from harness.postgresql.databases import Database
from harness.postgresql.sample_ledger import (
    BEGIN,
    DAY,
    create_user,
    disable_triggers,
    fill,
    insert,
    post,
    seal,
    superuser_url,
)
from harness.program.settings import create_settings
from saldo.background.audit_worker import AuditLimits, Auditor
from saldo.background.throttle import PostingActivity
from saldo.bootstrap.service import run_service
from saldo.cli import progress
from saldo.cli.error_mapping import find_command_error
from saldo.cli.exit_codes import CommandError
from saldo.cli.program import build_app
from saldo.cli.progress import LineDisplay
from saldo.ledger.audit.balance_timeline import BalanceTimeline
from saldo.ledger.audit.rules import AuditPosition, LateWithdrawals, Rule, ShardCounts
from saldo.ledger.model import Outcome
from saldo.settings.model import Settings
from saldo.store.audit import shard_scan as store_walk
from saldo.store.audit import verification as store_verify
from saldo.store.audit.progress import FAULTS_MAX, AuditLease, AuditProgress
from saldo.store.audit.shard_scan import AuditReader
from saldo.store.connections.connection import open_pool
from saldo.store.schema.definition_check import OTHER_INDEXES, UNIQUE_INDEXES
from saldo.store.sinks import LeaseLostError
from saldo.store.totals import Totals

cli_verify = import_module("saldo.cli.commands.verify")


class Place(NamedTuple):
    """The expected place of a fault."""

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
    """Yield a ledger of three users in the shards 1 to 3, with 21 entries each: sixteen in two seals, five unsealed."""
    fill(own_ledger)
    seal(own_ledger, leave=5)
    yield own_ledger


@pytest.fixture
def verify(ledger: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Verify:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SALDO_DATABASE_URL", ledger.service_role_url)

    def run(*arguments: str) -> Verified:
        done = CliRunner().invoke(build_app(["verify"]), ["verify", "--json", *arguments])
        lines = done.stdout.splitlines()
        report = json.loads(lines[-1]) if lines else {}
        if isinstance(done.exception, Exception) and not isinstance(done.exception, SystemExit):
            # The program turns it into a message and an exit code (saldo.cli.program).
            error = find_command_error(done.exception)
            assert error is not None
            return Verified(error.code, report, f"{done.output}saldo: {error}\n")
        return Verified(done.exit_code, report, done.output)

    return run


def test_intact_ledger_has_no_faults(ledger: Database, verify: Verify) -> None:
    found = verify()
    assert (found.code, found.report["whole"], found.report["faults"]) == (0, True, [])
    assert (found.report["entries"], found.report["entries_sealed"]) == (63, 48)


def test_progress_is_shown_in_a_terminal_and_elsewhere(
    verify: Verify, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    assert re.search(
        r"^42 entries, [\d,]+/s, 6[67] %, [\d,]+ s left$", verify().output, re.MULTILINE
    )
    monkeypatch.setenv("FORCE_COLOR", "1")
    found = verify()
    assert (found.code, found.report["whole"]) == (0, True)
    assert "verifying" in found.output


def _sql(query: str) -> Callable[[psycopg.Connection], object]:
    return lambda connection: connection.execute(query.encode())


def _swap(connection: psycopg.Connection) -> None:
    """Exchange two entries of a user, except seq and recorded_at."""
    connection.execute(
        "UPDATE saldo.transactions SET seq = 1000 + seq WHERE shard = 2 AND seq IN (18, 19)"
    )
    connection.execute("UPDATE saldo.transactions SET seq = 18 WHERE shard = 2 AND seq = 1019")
    connection.execute("UPDATE saldo.transactions SET seq = 19 WHERE shard = 2 AND seq = 1018")


def _close_up(connection: psycopg.Connection) -> None:
    """Delete a refused entry, and close the gap in the positions and numbers of all later entries."""
    connection.execute("DELETE FROM saldo.transactions WHERE shard = 1 AND seq = 12")
    for seq in range(13, 22):
        connection.execute(
            "UPDATE saldo.transactions SET seq = seq - 1, number = number - 1 WHERE shard = 1 AND seq = %s",
            (seq,),
        )


def _cut_tail(connection: psycopg.Connection) -> None:
    connection.execute("DELETE FROM saldo.transactions WHERE shard = 1 AND seq > 15")


def _late_withdrawal(connection: psycopg.Connection) -> None:
    """Insert a withdrawal of 270 on the first day, when the balance was 70; the current balance of 331 covers it."""
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
    "readers of a balance at a date look less far than entries are late": (
        _sql("UPDATE saldo.ledger SET lateness_bound = '1 day'"),
        Place(Rule.LATENESS, 1, 14, 14),
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


class WatchedAudits(AuditProgress):
    """Audits that signal when a round is complete."""

    def __init__(self, pool: Any) -> None:
        super().__init__(pool, lease_seconds=10)
        self.completed = asyncio.Event()

    async def complete_round(self, lease: AuditLease) -> None:
        await super().complete_round(lease)
        self.completed.set()


@asynccontextmanager
async def pool_of(ledger: Database) -> AsyncIterator[Any]:
    pool = await open_pool(ledger.service_role_url, connections=4, statement_timeout_seconds=10)
    try:
        yield pool
    finally:
        pool.terminate()


def auditor_of(pool: Any, audits: AuditProgress) -> Auditor:
    """Return an auditor that runs as fast as it can."""
    limits = AuditLimits(entries_per_second=1_000_000, lease_seconds=10)
    return Auditor(audits, AuditReader(pool), PostingActivity(is_recorded=True), limits)


async def one_round(pool: Any) -> AuditProgress:
    """Run the audit in the background until a round is complete."""
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
def test_every_manipulation_is_found_at_its_place(
    name: str, ledger: Database, verify: Verify
) -> None:
    tamper, place = TAMPERINGS[name]
    with disable_triggers(ledger) as connection:
        tamper(connection)
    found = verify()
    assert (found.code, found.places) == (1, [place])
    (reported,) = found.report["faults"]

    async def in_the_background() -> None:
        async with pool_of(ledger) as pool:
            audits = await one_round(pool)
            known = [each.fault for each in await audits.list_faults()]
            assert (await audits.read_status()).faults == len(known)
            (fault,) = (each for each in known if (each.rule, *each[1:4]) == place)
            assert (fault.found, fault.expected) == (reported["found"], reported["expected"])
            assert (fault.user_id, fault.number) == (reported["user_id"], reported["number"])
            assert reported["uuid"] == (str(fault.uuid) if fault.uuid else None)

    asyncio.run(in_the_background())


SCHEMA_TAMPERINGS = {
    "the decimals are altered": (
        "UPDATE saldo.ledger SET currency_decimals = 0",
        "the schema: decimals: found currency_decimals 0, expected 2",
    ),
    "a function is replaced": (
        """
        CREATE OR REPLACE FUNCTION saldo.number_at_1(_user_id bigint, _date timestamptz, _last bigint) RETURNS bigint
        LANGUAGE plpgsql STABLE SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
        SET search_path = pg_catalog SET timezone = 'UTC' AS 'BEGIN RETURN 0; END'
        """,
        "the schema: function: found another saldo.number_at_1, expected that of the migrations",
    ),
    "a function gets other settings": (
        "ALTER FUNCTION saldo.post_3 SET timezone = 'Europe/Berlin'",
        "the schema: function: found saldo.post_3 with the settings ",
    ),
    "a function gets its owner's rights": (
        "ALTER FUNCTION saldo.balance_2 SECURITY DEFINER",
        "the schema: function: found saldo.balance_2 with the settings ",
    ),
    "a function is dropped": (
        "DROP FUNCTION saldo.balance_1",
        "the schema: function: found no saldo.balance_1, expected that of the migrations",
    ),
    "a function is overloaded": (
        "CREATE FUNCTION saldo.create_user_1(int) RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "the schema: function: found a function saldo.create_user_1, expected none that no migration made",
    ),
    "an index is dropped": (
        "DROP INDEX saldo.transactions_late",
        "the schema: index: found no index transactions_late, expected it to be there",
    ),
    "an index is invalid": (
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'saldo.transactions_late'::regclass",
        "the schema: index: found transactions_late invalid, expected it to be valid: REINDEX INDEX",
    ),
    "a key is no key any more": (
        "ALTER TABLE saldo.users DROP CONSTRAINT users_name_unique;"
        "CREATE INDEX users_name_unique ON saldo.users (name)",
        "the schema: index: found users_name_unique without UNIQUE, expected it to be unique",
    ),
    "a trigger is dropped": (
        "DROP TRIGGER seals_append_only ON saldo.seals",
        "the schema: trigger: found no enabled trigger seals_append_only, expected it to be there",
    ),
}


@pytest.mark.parametrize("name", SCHEMA_TAMPERINGS)
def test_a_schema_that_is_altered_is_found(
    ledger: Database, verify: Verify, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    assert verify().code == 0
    query, line = SCHEMA_TAMPERINGS[name]
    if "decimals" in name:
        monkeypatch.setenv("SALDO_CURRENCY_DECIMALS", "0")  # or another setting is rejected
    with psycopg.connect(superuser_url(ledger), autocommit=True) as connection:
        connection.execute(query.encode())
    done = CliRunner().invoke(build_app(["verify"]), ["verify"])
    assert done.exit_code == 1
    assert done.stdout.startswith(line)


def test_index_being_rebuilt_is_not_a_fault(ledger: Database, verify: Verify) -> None:
    """Create an invalid index, as REINDEX CONCURRENTLY has one beside the old one until it is ready."""
    with psycopg.connect(superuser_url(ledger), autocommit=True) as connection:
        connection.execute("CREATE INDEX transactions_late_ccnew ON saldo.transactions (horizon)")
        connection.execute(
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'saldo.transactions_late_ccnew'::regclass"
        )
    assert verify().code == 0


def test_changed_collation_version_is_a_warning(ledger: Database, verify: Verify) -> None:
    assert verify().report["warnings"] == []
    with psycopg.connect(superuser_url(ledger), autocommit=True) as connection:
        row = connection.execute(
            "UPDATE pg_database SET datcollversion = '1.0' WHERE datname = current_database()"
            " RETURNING pg_database_collation_actual_version(oid)"
        ).fetchone()
    found = verify()
    assert (found.code, found.report["whole"]) == (0, True)
    (warning,) = found.report["warnings"]
    assert f"has the version 1.0, the system's library {row and row[0]}" in warning
    assert "REINDEX" in warning


def test_all_indexes_are_known_to_the_check(ledger: Database) -> None:
    with psycopg.connect(ledger.owner_role_url) as connection:
        found = connection.execute(
            "SELECT c.relname, i.indisunique FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid"
            " WHERE c.relnamespace = 'saldo'::regnamespace"
        ).fetchall()
    assert {name for name, unique in found if unique} == UNIQUE_INDEXES
    assert {name for name, unique in found if not unique} == OTHER_INDEXES


def test_late_withdrawal_at_the_read_limit_is_not_a_fault(
    ledger: Database, verify: Verify, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Check the limit: one entry more to read is too many."""
    with psycopg.connect(ledger.service_role_url, autocommit=True) as connection:
        assert post(connection, 1, -1, at=BEGIN + DAY) == [Outcome.POSTED]
        row = connection.execute(
            "SELECT count(*) FROM saldo.transactions WHERE user_id = 1 AND horizon > %s",
            (BEGIN + DAY,),
        ).fetchone()
    assert row is not None
    read = row[0] - 1  # without itself
    monkeypatch.setattr(store_verify, "STEP_ENTRIES", 1)
    monkeypatch.setattr(store_walk, "LATE_CHECK_ENTRIES_MAX", read)
    assert 1 not in {place.shard for place in verify("--all").places if place.seq == 22}
    monkeypatch.setattr(store_walk, "LATE_CHECK_ENTRIES_MAX", read - 1)
    assert Place(Rule.INSTANT, 1, 22, 22) in verify("--all").places


def test_one_verification_finds_all_faults(ledger: Database, verify: Verify) -> None:
    with disable_triggers(ledger) as connection:
        for name in ("an amount is altered", "a uuid is altered", "an entry is deleted"):
            TAMPERINGS[name][0](connection)
    found = verify("--all")
    assert found.code == 1
    assert [(place.shard, place.seq) for place in found.places] == [
        (1, 9), (2, 4), (2, 1), (3, 19), (3, 20),
    ]  # fmt: skip
    # The deleted entry shows twice: its position is missing, and the user's next number doesn't follow.
    assert [place.rule for place in found.places][-2:] == [Rule.SEQ, Rule.NUMBER]
    assert verify("--all", "--state", "x").code == 2


def test_fault_is_printed_on_one_line_with_its_details(ledger: Database, verify: Verify) -> None:
    with disable_triggers(ledger) as connection:
        row = connection.execute(
            "UPDATE saldo.transactions SET balance = 5000 WHERE shard = 2 AND seq = 21 RETURNING uuid"
        ).fetchone()
        assert row is not None
    done = CliRunner().invoke(build_app(["verify"]), ["verify"])
    assert done.exit_code == 1
    line, last = done.stdout.splitlines()
    assert line == (
        f"shard 2, seq 21, uuid {row[0]}, user 2, number 20: balance: found 5000, expected 385"
    )
    assert last.startswith("the ledger is not intact: 1 fault found, ")


def test_verification_resumes_from_its_state_and_removes_it_at_the_end(
    ledger: Database, verify: Verify, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stop within a seal: its entries are read once more on resume, for its root."""
    state = tmp_path / "state.json"
    with disable_triggers(ledger) as connection:
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
    # The fault is found again; after it is repaired, the verification completes.
    assert verify("--state", str(state)).places == found.places
    with disable_triggers(ledger) as connection:
        connection.execute(
            "UPDATE saldo.transactions AS t SET balance = b.balance + t.amount * (t.outcome = 0)::int"
            " FROM saldo.transactions AS b WHERE t.shard = 2 AND t.seq = 13 AND b.shard = 2 AND b.seq = 12"
        )
    done = verify("--state", str(state))
    assert (done.code, done.report["entries"]) == (0, 63 - 21 - 12)
    assert not state.exists()


def test_entries_verified_before_sealing_are_read_again_for_their_seal(
    ledger: Database, verify: Verify, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / "state.json"
    with disable_triggers(ledger) as connection:
        connection.execute("DELETE FROM saldo.seals WHERE shard = 3 AND first_seq = 9")
        connection.execute(
            "UPDATE saldo.transactions SET balance = 5000 WHERE shard = 3 AND seq = 21"
        )
    monkeypatch.setattr(store_verify, "STEP_ENTRIES", 6)
    assert verify("--state", str(state)).places == [Place(Rule.BALANCE, 3, 21, 21)]
    kept = json.loads(state.read_text())["position"]
    assert (kept["seq"], kept["sealed_seq"]) == (18, 8)
    seal(ledger)
    with disable_triggers(ledger) as connection:
        connection.execute(
            "UPDATE saldo.transactions SET uuid = gen_random_uuid() WHERE shard = 3 AND seq = 17"
        )
        connection.execute(
            "UPDATE saldo.transactions SET balance = 385 WHERE shard = 3 AND seq = 21"
        )
    assert verify("--state", str(state)).places == [Place(Rule.ROOT, 3, 17, 21)]


def test_kept_seals_are_compared_with_the_chain(
    ledger: Database, verify: Verify, tmp_path: Path
) -> None:
    with psycopg.connect(ledger.service_role_url) as connection:
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
    # A superuser seals everything again after an alteration, which only the kept heads reveal.
    with disable_triggers(ledger) as connection:
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
        ("--state", "[]", "is not a state file of this version of saldo verify"),
        (
            "--state",
            '{"format": 1, "log": "x"}',
            "is not a state file of this version of saldo verify",
        ),
        ("--state", "OTHER", "belongs to another log"),
        (
            "--heads",
            '[{"shard": 64, "first_seq": 1, "last_seq": 1, "hash": ""}]',
            "expected a list of seals",
        ),
        ("--heads", "{", "expected a list of seals"),
    ],
)
def test_unusable_file_is_one_line_without_a_verdict(
    ledger: Database, verify: Verify, tmp_path: Path, name: str, content: str, expected: str
) -> None:
    file = tmp_path / "file.json"
    if content == "OTHER":
        with disable_triggers(ledger) as connection:
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


def test_unavailable_database_has_its_own_exit_code(
    verify: Verify, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SALDO_DATABASE_URL", "postgresql://saldo@127.0.0.1:1/saldo")
    found = verify()
    assert found.code == 3
    assert found.output.startswith("saldo: database 127.0.0.1:1/saldo")


def test_lost_database_has_its_own_exit_code_and_keeps_the_state(
    ledger: Database, verify: Verify, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / "state.json"
    monkeypatch.setattr(store_verify, "STEP_ENTRIES", 5)
    shown: list[int] = []

    def cut(_: object, entries: int, done: int, total: int) -> None:
        assert done == entries
        assert (len(shown) == 0) or entries >= shown[-1]
        shown.append(entries)
        if entries == 31:
            with psycopg.connect(ledger.owner_role_url, autocommit=True) as connection:
                connection.execute("ALTER TABLE saldo.transactions RENAME TO gone")

    monkeypatch.setattr(LineDisplay, "show", cut)
    found = verify("--state", str(state))
    assert (found.code, found.report) == (2, {})
    assert "saldo.transactions" in found.output
    # The state contains what was reported, and the step after it, which was read in advance.
    assert json.loads(state.read_text())["position"]["seq"] == 15


def test_withdrawal_beyond_the_read_limit_is_a_fault(
    ledger: Database, verify: Verify, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lower the limit from a million entries to ten."""
    monkeypatch.setattr(store_walk, "LATE_CHECK_ENTRIES_MAX", 10)
    monkeypatch.setattr(store_verify, "STEP_ENTRIES", 5)
    assert verify().code == 0
    with psycopg.connect(ledger.service_role_url, autocommit=True) as connection:
        post(connection, 1, -1, at=BEGIN + DAY)
    assert verify().places == [Place(Rule.INSTANT, 1, 22, 22)]


def test_verification_during_posting_ends_at_the_initial_head(
    ledger: Database, verify: Verify, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_verify, "STEP_ENTRIES", 5)
    with psycopg.connect(ledger.service_role_url, autocommit=True) as connection:
        user_id = create_user(connection)
        monkeypatch.setattr(LineDisplay, "show", lambda *_: post(connection, user_id, 5, at=BEGIN))
        assert verify().code == 0


def test_audit_compares_its_counts_with_the_totals(ledger: Database, verify: Verify) -> None:
    async def count() -> None:
        async with pool_of(ledger) as pool:
            while (await Totals(pool).advance_totals(7)).entries:
                pass

    asyncio.run(count())
    assert verify().code == 0


def test_round_continues_where_another_process_stopped(ledger: Database) -> None:
    async def work() -> None:
        async with pool_of(ledger) as pool:
            audits = AuditProgress(pool, lease_seconds=10)
            (one, other) = (auditor_of(pool, audits)._holder for _ in range(2))
            lease = await audits.acquire_lease(one)
            assert lease is not None
            assert lease.position == AuditPosition(0)
            assert await audits.acquire_lease(other) is None
            reached = AuditPosition(2, 12, 345, 8, bytes(range(32)), ShardCounts(1, 2, 3, 4))
            await audits.store_position(lease, reached, 12)
            await audits.release_lease(lease)
            taken = await audits.acquire_lease(other)
            assert taken is not None
            assert taken.position == reached
            # A lease holder that comes late gets an error, and changes nothing.
            for late in (
                audits.store_position(lease, AuditPosition(0), 1),
                audits.complete_round(lease),
            ):
                with pytest.raises(LeaseLostError):
                    await late
            status = await audits.read_status()
            assert (status.is_active, status.rounds, status.entries) == (True, 0, 12)
            assert (status.shard, status.seq, status.round_age_seconds) == (2, 12, None)
            await audits.release_lease(taken)
            found = await one_round(pool)
            status = await found.read_status()
            # The audit continues from the position, where the forged seal doesn't match the log.
            assert (status.is_active, status.rounds, status.entries) == (False, 1, 12 + 9 + 21)
            assert [each.fault.rule for each in await found.list_faults()] == [Rule.SEAL]

    asyncio.run(work())


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["2", "--why", "mended"], "there is no fault 2"),
        (["1", "--why", " "], "--why: expected 1 to 500 characters"),
        (["1", "--why", "x" * 501], "--why: expected 1 to 500 characters"),
    ],
)
def test_invalid_acknowledgement_is_one_line(
    ledger: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    expected: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SALDO_DATABASE_URL", ledger.service_role_url)
    done = CliRunner().invoke(build_app(["audit"]), ["audit", "acknowledge", *arguments])
    assert isinstance(done.exception, CommandError)
    assert expected in str(done.exception)


async def test_fault_is_counted_until_it_is_acknowledged(ledger: Database) -> None:
    with disable_triggers(ledger) as connection:
        connection.execute(
            "UPDATE saldo.transactions SET balance = 5000 WHERE shard = 2 AND seq = 21"
        )
    async with pool_of(ledger) as pool:
        audits = await one_round(pool)
        (known,) = await audits.list_faults()
        assert not await audits.acknowledge_fault(known.id + 1, "no such fault")
        assert await audits.acknowledge_fault(known.id, "mended by transaction 7")
        assert (await audits.read_status()).faults == 0
        # An acknowledged fault that is found again unchanged stays acknowledged; a changed one does not.
        assert await audits.record_faults([known.fault]) == []
        assert (await audits.read_status()).faults == 0
        await audits.record_faults([known.fault._replace(found="5001")])
        assert (await audits.read_status()).faults == 1
        (again,) = await audits.list_faults()
        assert (again.times_found, again.fault.found) == (3, "5001")


async def test_the_table_of_faults_is_bounded(ledger: Database) -> None:
    async with pool_of(ledger) as pool:
        audits = await one_round(pool)
        with disable_triggers(ledger) as connection:
            connection.execute(
                "UPDATE saldo.transactions SET balance = 5000 WHERE shard = 2 AND seq = 21"
            )
        await one_round(pool)
        ((known),) = await audits.list_faults()
        many = [known.fault._replace(seq=1000 + number) for number in range(FAULTS_MAX + 5)]
        new = [
            len(await audits.record_faults(many[begin : begin + 300]))
            for begin in range(0, len(many), 300)
        ]
        assert sum(new) == FAULTS_MAX - 1
        assert (await audits.read_status()).faults == FAULTS_MAX


async def test_metrics_contain_audit_rounds_and_faults(ledger: Database) -> None:
    with disable_triggers(ledger) as connection:
        connection.execute(
            "UPDATE saldo.transactions SET balance = 5000 WHERE shard = 2 AND seq = 21"
        )
    async with (
        pool_of(ledger) as pool,
        run_exporter(create_settings(ledger.service_role_url)) as scraped,
    ):
        before = await scraped()
        assert (before["saldo_audit_faults"], before["saldo_audit_rounds_total"]) == (0, 0)
        assert "saldo_audit_round_age_seconds" not in before
        await one_round(pool)
        after = await scraped()
        assert after["saldo_audit_faults"] == 1
        rounds, entries = after["saldo_audit_rounds_total"], after["saldo_audit_entries_total"]
        assert (rounds, entries) == (1, 63)
        assert (after["saldo_audit_active"], after["saldo_audit_round_progress_ratio"]) == (0, 0)
        assert after["saldo_audit_round_age_seconds"] >= 0
    # Where the audit is disabled, its absence raises no alert.
    settings = create_settings(ledger.service_role_url, audit_entries_per_second=0)
    async with run_exporter(settings) as scraped:
        assert set(await scraped()) == {"saldo_audit_faults"}


@asynccontextmanager
async def run_exporter(
    settings: Settings,
) -> AsyncIterator[Callable[[], Awaitable[dict[str, float]]]]:
    """Yield a function that returns the audit's metrics from a service."""
    assert settings.database_url is not None
    async with run_service(settings, settings.database_url) as service:
        transport = httpx.ASGITransport(app=service)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:

            async def scrape_audit() -> dict[str, float]:
                # Metrics that take longer than two seconds are left out, and appear in the next scrape.
                found: dict[str, float] = {}
                while not found:
                    answer = await client.get("/metrics")
                    assert answer.status_code == 200
                    lines = answer.text.splitlines()
                    named = [line.split() for line in lines if line.startswith("saldo_audit_")]
                    found = {name: float(value) for name, value in named}
                return found

            yield scrape_audit


async def test_timeline_consists_of_entries_posted_before(ledger: Database) -> None:
    """Check the lowest balance; at the end of days 0 to 4 the balances are 70, 140, 197, 267 and 337.

    Two entries of day 2 are late.
    """
    async with pool_of(ledger) as pool:
        reader = AuditReader(pool)
        day = 86_400_000_000
        since = 24 * 365 * day + 6 * day + day  # 2024-01-02
        timeline = await reader.build_timeline(LateWithdrawals(1, 15, 15, since))
        assert isinstance(timeline, BalanceTimeline)
        assert timeline.lowest_balance == 140
        assert timeline.find_lowest_balance_instant() == since
        assert timeline.last_number == 15 + store_walk.TIMELINE_AHEAD
