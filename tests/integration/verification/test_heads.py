"""Signed heads of a real ledger: their publication, and every change that `saldo verify --seals` must find."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from typer.testing import CliRunner

from harness.postgresql import databases
from harness.postgresql.databases import Database
from harness.postgresql.sample_ledger import disable_triggers, fill, post, seal, superuser_url
from saldo.background.head_destinations import (
    DirectoryDestination,
    HeadDestination,
    PublicationError,
)
from saldo.background.head_publisher import HeadPublisher, PublishedHead, PublisherLimits
from saldo.background.head_signer import HeadKeys, HeadRefusedError, HeadSigner
from saldo.background.seal_worker import Sealer
from saldo.background.throttle import PostingActivity
from saldo.bootstrap.heads import create_private_key
from saldo.cli.error_mapping import find_command_error
from saldo.cli.program import build_app
from saldo.ledger.audit.head_chain import HeadFault, HeadFile, HeadPolicy, check_heads
from saldo.ledger.heads import SignedHead, parse_head
from saldo.store.connections.connection import open_pool
from saldo.store.embedded import EmbeddedServer
from saldo.store.heads import HeadStatus, HeadStore
from saldo.store.seals import SealStore

NEVER = timedelta(days=1)


def get_public_key(key: Ed25519PrivateKey) -> str:
    return key.public_key().public_bytes_raw().hex()


class FailingDestination:
    """A destination that fails until it is repaired, and counts what it got."""

    def __init__(self, destination: HeadDestination) -> None:
        self.is_broken = True
        self.names: list[str] = []
        self._destination = destination

    async def publish(self, name: str, document: bytes) -> None:
        self.names.append(name)
        if self.is_broken:
            raise PublicationError("no space left")
        await self._destination.publish(name, document)


class Ledger:
    """A ledger with a key and a directory for its heads."""

    def __init__(self, database: Database, directory: Path, key: Ed25519PrivateKey) -> None:
        self.database = database
        self.directory = directory
        self.key = key
        directory.mkdir(exist_ok=True)

    @asynccontextmanager
    async def open_publisher(
        self,
        *,
        keys: HeadKeys | None = None,
        signer: HeadSigner | None = None,
        destination: HeadDestination | None = None,
        interval: timedelta = NEVER,
    ) -> AsyncIterator[HeadPublisher]:
        pool = await open_pool(
            self.database.service_role_url, connections=2, statement_timeout_seconds=30
        )
        try:
            yield HeadPublisher(
                pool,
                signer or HeadSigner(keys or HeadKeys(self.key)),
                destination or DirectoryDestination(self.directory, timeout_seconds=60),
                PublisherLimits(interval, 60),
            )
        finally:
            pool.terminate()

    def publish(self, count: int = 1, *, keys: HeadKeys | None = None) -> list[SignedHead]:
        """Publish heads, and post and seal an entry before each."""
        return asyncio.run(self.publish_heads(count, keys=keys))

    async def publish_heads(
        self, count: int = 1, *, keys: HeadKeys | None = None
    ) -> list[SignedHead]:
        published = []
        async with self.open_publisher(keys=keys) as publisher:
            for _ in range(count):
                self.post()
                head = await publisher.publish_if_due(at_once=True)
                assert head is not None
                published.append(head.signed)
        return published

    async def publish_waiting(self) -> None:
        """Publish the head that could not be published."""
        async with self.open_publisher() as publisher:
            head = await publisher.publish_if_due()
        assert head is not None
        assert not head.is_new

    def post(self) -> None:
        with psycopg.connect(self.database.service_role_url, autocommit=True) as connection:
            post(connection, 1, 10)
        seal(self.database)

    def read_heads(self) -> list[SignedHead]:
        return [parse_head(path.read_bytes()) for path in sorted(self.directory.iterdir())]

    def change(self, *statements: str) -> None:
        """Run statements as a superuser."""
        with disable_triggers(self.database) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def cut_off(self, entries: int = 1) -> None:
        """Remove the last entries of shard 1, their seals and their counts."""
        self.change(
            f"CREATE TEMPORARY TABLE cut AS SELECT max(seq) - {entries} AS seq FROM saldo.transactions WHERE shard = 1",
            "DELETE FROM saldo.transactions WHERE shard = 1 AND seq > (SELECT seq FROM cut)",
            "DELETE FROM saldo.seals WHERE shard = 1 AND last_seq > (SELECT seq FROM cut)",
        )

    @contextmanager
    def copy(self, server: EmbeddedServer, directory: Path) -> Iterator[Ledger]:
        """Yield an older copy of this ledger, as a snapshot of the disk is. It publishes to a directory of its own."""
        with databases.create_embedded_database(server, self.database.name) as database:
            yield Ledger(database, directory, self.key)


class Verified(NamedTuple):
    code: int
    report: dict[str, Any]
    output: str

    @property
    def rules(self) -> list[str]:
        faults = [*self.report.get("head_faults", ()), *self.report.get("faults", ())]
        return [fault["rule"] for fault in faults]


Verify = Callable[..., Verified]


@pytest.fixture
def ledger(own_ledger: Database, tmp_path: Path) -> Ledger:
    fill(own_ledger)
    seal(own_ledger)
    return Ledger(own_ledger, tmp_path / "heads", create_private_key(tmp_path / "seals.pem"))


@pytest.fixture
def verify(ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Verify:
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, of: Ledger = ledger, key: Ed25519PrivateKey = ledger.key) -> Verified:
        monkeypatch.setenv("SALDO_DATABASE_URL", of.database.service_role_url)
        done = CliRunner().invoke(
            build_app(["verify"]),
            [
                *("verify", "--json", "--all", "--seals", str(ledger.directory)),
                *("--key", get_public_key(key), *arguments),
            ],
        )
        lines = done.stdout.splitlines()
        report = json.loads(lines[-1]) if lines else {}
        if isinstance(done.exception, Exception) and not isinstance(done.exception, SystemExit):
            error = find_command_error(done.exception)
            assert error is not None, done.exc_info
            return Verified(error.code, report, f"{done.output}saldo: {error}\n")
        return Verified(done.exit_code, report, done.output)

    return run


def test_heads_follow_each_other_and_match_the_ledger(ledger: Ledger, verify: Verify) -> None:
    ledger.publish(3)
    heads = ledger.read_heads()
    assert [each.head.number for each in heads] == [1, 2, 3]
    assert all(each.has_valid_signature for each in heads)
    assert [each.head.previous for each in heads] == [
        None,
        *(each.reference for each in heads[:2]),
    ]
    assert [each.head.seals[1].seq for each in heads] == [22, 23, 24]
    found = verify()
    assert (found.code, found.rules, found.report["warnings"]) == (0, [], [])
    assert found.report["heads"] == 3
    assert found.report["newest_head"]["number"] == 3
    assert found.report["newest_head"]["key"] == get_public_key(ledger.key)


async def test_head_is_due_after_the_interval_only(ledger: Ledger) -> None:
    async with ledger.open_publisher() as publisher:
        assert await publisher.publish_if_due() is not None
        assert await publisher.publish_if_due() is None
    async with ledger.open_publisher(interval=timedelta(0)) as publisher:
        assert await publisher.publish_if_due() is not None


async def test_many_publishers_give_each_number_once(ledger: Ledger) -> None:
    async def publish(publisher: HeadPublisher) -> list[PublishedHead]:
        found = []
        for _ in range(6):
            try:
                head = await publisher.publish_if_due(at_once=True)
            except HeadRefusedError:
                continue
            found += [head] if head is not None else []
        return found

    async with (
        ledger.open_publisher() as one,
        ledger.open_publisher() as two,
        ledger.open_publisher() as three,
    ):
        published = [*await asyncio.gather(*map(publish, (one, two, three)))]
    numbers = sorted(head.signed.head.number for heads in published for head in heads)
    assert numbers == [*range(1, len(numbers) + 1)]
    assert len(ledger.read_heads()) == len(numbers)
    assert find_head_faults(ledger) == []


async def test_paused_publisher_can_not_store_a_head_after_another_took_over(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Let the lease of a publisher expire between its reads and its write."""
    async with ledger.open_publisher() as paused, ledger.open_publisher() as other:
        store = paused._heads
        reserve = store.reserve

        async def reserve_late(*arguments: Any) -> bool:
            ledger.change("UPDATE saldo.head_publication SET lease_until = '-infinity'")
            assert await other.publish_if_due(at_once=True) is not None
            return await reserve(*arguments)

        monkeypatch.setattr(store, "reserve", reserve_late)
        with pytest.raises(HeadRefusedError, match="another process publishes"):
            await paused.publish_if_due(at_once=True)
    assert [each.head.number for each in ledger.read_heads()] == [1]
    assert find_head_faults(ledger) == []


async def test_head_that_could_not_be_published_is_published_before_the_next_one(
    ledger: Ledger,
) -> None:
    failing = FailingDestination(DirectoryDestination(ledger.directory, timeout_seconds=60))
    async with ledger.open_publisher(destination=failing) as publisher:
        for _ in range(3):
            with pytest.raises(PublicationError, match="no space left"):
                await publisher.publish_if_due()
        status = await HeadStore(publisher._pool).read_status()
        assert status.published_count == 0
    assert len(set(failing.names)) == 1
    assert ledger.read_heads() == []
    # Another process takes over. It publishes the same head, although nothing is due.
    async with ledger.open_publisher() as publisher:
        published = await publisher.publish_if_due()
        assert published is not None
        assert (published.is_new, published.signed.head.number) == (False, 1)
        new = await publisher.publish_if_due(at_once=True)
        assert new is not None
        assert (new.is_new, new.signed.head.number) == (True, 2)
        assert (await HeadStore(publisher._pool).read_status()).published_count == 2
    assert find_head_faults(ledger) == []


async def test_age_grows_until_a_head_is_published(ledger: Ledger) -> None:
    async with ledger.open_publisher() as publisher:
        store = HeadStore(publisher._pool)
        ledger.change("UPDATE saldo.head_publication SET created_at = now() - interval '1 hour'")
        before = await store.read_status()
        assert before.published_count == 0
        assert before.age_seconds >= 3600
        await publisher.publish_if_due()
        after: HeadStatus = await store.read_status()
        assert after.published_count == 1
        assert after.age_seconds < 3600


async def test_last_head_covers_entries_that_were_not_sealed_yet(ledger: Ledger) -> None:
    await ledger.publish_heads()
    with psycopg.connect(ledger.database.service_role_url, autocommit=True) as connection:
        post(connection, 1, 10, 10, 10)
    async with ledger.open_publisher() as publisher:
        sealer = Sealer(SealStore(publisher._pool), PostingActivity(is_recorded=True))
        await publisher.publish_last(sealer)
    assert [each.head.seals[1].seq for each in ledger.read_heads()] == [22, 25]


def test_key_is_replaced_by_a_head_of_the_old_one(ledger: Ledger, verify: Verify) -> None:
    new = Ed25519PrivateKey.generate()
    ledger.publish(2)
    ledger.publish(2, keys=HeadKeys(ledger.key, new))
    ledger.publish(1, keys=HeadKeys(new))
    keys = [each.head.key.hex() for each in ledger.read_heads()]
    assert keys == [*[get_public_key(ledger.key)] * 3, *[get_public_key(new)] * 2]
    assert verify().code == 0
    assert "key" in verify(key=new).rules
    # The old key is not used any more, even if somebody configures it again.
    with pytest.raises(HeadRefusedError, match="about replacing the key"):
        ledger.publish()


def test_another_key_signs_only_if_the_operator_says_that_the_old_one_is_lost(
    ledger: Ledger, verify: Verify
) -> None:
    new = Ed25519PrivateKey.generate()
    ledger.publish()
    with pytest.raises(HeadRefusedError, match="about replacing the key"):
        ledger.publish(keys=HeadKeys(new))
    ledger.publish(2, keys=HeadKeys(new, is_replacement=True))
    assert "key" in verify().rules
    assert verify("--key", get_public_key(new)).code == 0


async def test_nothing_is_signed_after_published_entries_were_cut_off_or_rewritten(
    ledger: Ledger,
) -> None:
    await ledger.publish_heads(2)
    ledger.cut_off()
    async with ledger.open_publisher() as publisher:
        with pytest.raises(HeadRefusedError, match="shard 1 that ends at 23 is not the one"):
            await publisher.publish_if_due(at_once=True)
        # Other entries at the same place don't help.
        ledger.post()
        with pytest.raises(HeadRefusedError, match="changed or cut off after"):
            await publisher.publish_if_due(at_once=True)
    assert len(ledger.read_heads()) == 2


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("document = document || 'x'", "a file that is not a head"),
        (
            "document = set_byte(document, length(document) - 5, get_byte(document, length(document) - 5) # 1)",
            "wrong signature|not a head",
        ),
        ("ledger_id = gen_random_uuid()", "has the ledger id"),
    ],
)
async def test_altered_newest_head_in_the_database_is_not_followed(
    ledger: Ledger, change: str, reason: str
) -> None:
    await ledger.publish_heads()
    ledger.change(f"UPDATE saldo.head_publication SET {change}")
    async with ledger.open_publisher() as publisher:
        with pytest.raises(HeadRefusedError, match=reason):
            await publisher.publish_if_due(at_once=True)


async def test_older_head_in_the_database_is_not_followed_by_a_fork(ledger: Ledger) -> None:
    """Put the first head back. A running publisher remembers the second, and a new one can't replace its file."""
    signer = HeadSigner(HeadKeys(ledger.key))
    async with ledger.open_publisher(signer=signer) as publisher:
        for _ in range(2):
            await publisher.publish_if_due(at_once=True)
        first = ledger.read_heads()[0].document.hex()
        ledger.post()
        put_back = (
            "UPDATE saldo.head_publication SET number = 1, is_published = true,"
            f" document = decode('{first}', 'hex')"
        )
        ledger.change(put_back)
        with pytest.raises(HeadRefusedError, match="does not contain head 2"):
            await publisher.publish_if_due(at_once=True)
    async with ledger.open_publisher() as publisher:
        with pytest.raises(PublicationError, match="another ledger publishes"):
            await publisher.publish_if_due(at_once=True)
    assert len(ledger.read_heads()) == 2


def test_truncated_ledger_is_found(ledger: Ledger, verify: Verify) -> None:
    ledger.publish(3)
    ledger.cut_off(2)
    found = verify()
    assert (found.code, found.rules) == (1, ["head"])
    (fault,) = found.report["faults"]
    assert (fault["shard"], fault["seq"], fault["last_seq"]) == (1, 23, 23)
    assert ledger.read_heads()[1].file_name in fault["expected"]


def test_emptied_ledger_is_found(ledger: Ledger, verify: Verify) -> None:
    ledger.publish()
    ledger.change(
        "DELETE FROM saldo.transactions",
        "DELETE FROM saldo.seals",
        "DELETE FROM saldo.users",
    )
    assert verify().rules == ["head"] * 3


def test_rewritten_and_sealed_again_is_found(ledger: Ledger, verify: Verify) -> None:
    ledger.publish(2)
    ledger.change(
        "DELETE FROM saldo.seals WHERE shard = 2",
        "UPDATE saldo.transactions SET uuid = gen_random_uuid() WHERE shard = 2 AND seq = 3",
    )
    seal(ledger.database)
    found = verify()
    assert (found.code, found.rules) == (1, ["seal"])
    assert found.report["faults"][0]["shard"] == 2


def test_older_copy_is_found(
    ledger: Ledger, verify: Verify, embedded_server: EmbeddedServer, tmp_path: Path
) -> None:
    """Verify a copy from the time of the first head against the heads of the ledger."""
    ledger.publish()
    with ledger.copy(embedded_server, tmp_path / "other") as copy:
        ledger.publish(2)
        assert verify().code == 0
        assert verify(of=copy).rules == ["head"]


def test_snapshot_that_goes_on_can_not_publish_and_is_a_fork_elsewhere(
    ledger: Ledger, verify: Verify, embedded_server: EmbeddedServer, tmp_path: Path
) -> None:
    ledger.publish()
    with ledger.copy(embedded_server, ledger.directory) as copy:
        ledger.publish()
        with pytest.raises(PublicationError, match="another ledger publishes"):
            copy.publish()
        copy.directory = tmp_path / "other"
        copy.directory.mkdir()
        # The head that could not be published is published there.
        asyncio.run(copy.publish_waiting())
        found = verify("--seals", str(copy.directory))
        assert found.code == 1
        assert "fork" in found.rules


def test_restore_is_found_unless_the_verifier_knows_of_it(
    ledger: Ledger, verify: Verify, embedded_server: EmbeddedServer
) -> None:
    ledger.publish(2)
    with ledger.copy(embedded_server, ledger.directory) as restored:
        ledger.publish(2)
        restore_identity(restored)
        (first, _) = restored.publish(2)
        assert first.head.previous == ledger.read_heads()[1].reference
        found = verify(of=restored)
        assert (found.code, found.rules) == (1, ["restore"])
        assert "to start from head 2" in found.report["head_faults"][0]["found"]
        known = verify("--restored", first.head.epoch, of=restored)
        assert (known.code, known.rules, known.report["heads"]) == (0, [], 4)
        # The old ledger does not match the heads after the restore.
        assert "seal" in verify("--restored", first.head.epoch).rules


def test_ledger_that_goes_on_after_its_restore_is_a_fork(
    ledger: Ledger, verify: Verify, embedded_server: EmbeddedServer
) -> None:
    ledger.publish(2)
    with ledger.copy(embedded_server, ledger.directory) as restored:
        restore_identity(restored)
        (first,) = restored.publish()
        ledger.publish()
        found = verify("--restored", first.head.epoch, of=restored)
        assert (found.code, found.rules) == (1, ["fork"])


def test_failover_without_loss_is_no_fault(ledger: Ledger, verify: Verify) -> None:
    ledger.publish(2)
    restore_identity(ledger)
    ledger.publish(2)
    assert len({each.head.epoch for each in ledger.read_heads()}) == 2
    assert verify().code == 0


def test_missing_heads_are_found(ledger: Ledger, verify: Verify) -> None:
    heads = ledger.publish(4)
    for missing in heads[1:3]:
        (ledger.directory / missing.file_name).unlink()
    found = verify()
    assert (found.code, found.rules) == (1, ["gap"])
    assert found.report["head_faults"][0]["found"] == "no head 2 to 3 before it"


def test_empty_directory_is_a_fault(ledger: Ledger, verify: Verify) -> None:
    assert verify().rules == ["gap"]


def test_missing_newest_head_is_a_warning_and_with_a_maximum_age_a_fault(
    ledger: Ledger, verify: Verify
) -> None:
    heads = ledger.publish(2)
    assert verify("--max-age", "3600").code == 0
    (ledger.directory / heads[-1].file_name).unlink()
    found = verify()
    assert found.code == 0
    (warning,) = found.report["warnings"]
    assert "the newest head in the directory is 1, but the ledger has published head 2" in warning
    assert verify("--max-age", "0").rules == ["age"]


def test_old_head_under_a_new_name_is_found(ledger: Ledger, verify: Verify) -> None:
    first, second = ledger.publish(2)
    (ledger.directory / second.file_name).write_bytes(first.document)
    found = verify()
    assert (found.code, found.rules) == (1, ["name"])


def test_head_of_another_ledger_is_found(
    ledger: Ledger, verify: Verify, embedded_server: EmbeddedServer, tmp_path: Path
) -> None:
    ledger.publish()
    with ledger.copy(embedded_server, tmp_path / "other") as other:
        other.change(
            "UPDATE saldo.head_publication SET ledger_id = gen_random_uuid(), number = 0, document = NULL"
        )
        (head,) = other.publish()
    found = verify("--seals", str(other.directory))
    assert (found.code, found.rules) == (1, ["ledger"])
    assert found.report["head_faults"][0]["file"] == head.file_name


def test_another_ledger_in_the_database_is_found(ledger: Ledger, verify: Verify) -> None:
    ledger.publish()
    ledger.change("UPDATE saldo.head_publication SET ledger_id = gen_random_uuid()")
    assert verify().rules == ["ledger", "gap"]


def test_heads_of_a_swapped_key_are_found(ledger: Ledger, verify: Verify) -> None:
    """Let an administrator of the database, who has no key, continue the heads with a key of his own."""
    ledger.publish(2)
    own = Ed25519PrivateKey.generate()
    ledger.publish(2, keys=HeadKeys(own, is_replacement=True))
    found = verify()
    assert found.code == 1
    assert set(found.rules) == {"key"}
    assert "key" in verify(key=own).rules


def test_changed_byte_is_found(ledger: Ledger, verify: Verify) -> None:
    (head,) = ledger.publish()
    path = ledger.directory / head.file_name
    path.write_bytes(head.document.replace(b"number 1\n", b"number 2\n"))
    assert verify().rules == ["format", "gap"]
    path.write_bytes(head.document.replace(b"seal 1 22", b"seal 1 21"))
    assert verify().rules == ["signature", "gap"]


def test_output_for_people_names_the_first_fault(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.publish(2)
    monkeypatch.setenv("SALDO_DATABASE_URL", ledger.database.service_role_url)
    arguments = [
        *("verify", "--seals", str(ledger.directory)),
        *("--key", get_public_key(ledger.key)),
    ]
    done = CliRunner().invoke(build_app(["verify"]), arguments)
    assert done.exit_code == 0
    assert "2 signed heads, the newest is 2 of " in done.stdout
    assert done.stdout.splitlines()[-1].startswith("the ledger is intact")
    ledger.cut_off()
    (ledger.directory / "notes.txt").write_text("hello")
    done = CliRunner().invoke(build_app(["verify"]), arguments)
    assert done.exit_code == 1
    assert done.stdout.splitlines()[0] == (
        "heads: notes.txt: format: found a file that is not a head, expected a head"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seals", "."], "--seals requires --key"),
        (["--key", "ab" * 32], "require --seals"),
        (["--max-age", "3"], "require --seals"),
        (["--restored", "1-2"], "require --seals"),
        (["--seals", ".", "--key", "abc"], "--key: expected 64 hexadecimal digits"),
        (["--seals", "gone", "--key", "ab" * 32], "--seals gone: can't read gone"),
    ],
)
def test_wrong_options_are_one_line(
    ledger: Ledger,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SALDO_DATABASE_URL", ledger.database.service_role_url)
    done = CliRunner().invoke(build_app(["verify"]), ["verify", *arguments])
    assert isinstance(done.exception, Exception)
    error = find_command_error(done.exception)
    assert error is not None
    assert error.code == 2
    assert message in str(error)


def find_head_faults(ledger: Ledger) -> list[HeadFault]:
    """Return the faults of the published heads, without the database."""
    heads = ledger.read_heads()
    files = [HeadFile(each.file_name, each.document) for each in heads]
    keys = frozenset({bytes.fromhex(get_public_key(ledger.key))})
    return check_heads(files, HeadPolicy(heads[0].head.ledger, keys, datetime.now(UTC))).faults


def restore_identity(ledger: Ledger) -> None:
    """Give the log a new identity, as `saldo restore` does."""
    with psycopg.connect(superuser_url(ledger.database), autocommit=True) as connection:
        connection.execute("UPDATE saldo.ledger SET restore_id = %s", (uuid4(),))
