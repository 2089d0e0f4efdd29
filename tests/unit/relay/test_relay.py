"""The relay with a scripted sink and a scripted log."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

from saldo.background.throttle import PostingActivity
from saldo.events.event import Event, EventEncoder
from saldo.relay.relay import Relay, RelayLimits, run_relays_until_exit
from saldo.relay.sink import SinkError
from saldo.store.errors import ConnectionLostError
from saldo.store.log import LogEntry
from saldo.store.sinks import LeaseLostError, SinkLease

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def entry(shard: int, seq: int) -> LogEntry:
    """Return a deposit; each shard has one user."""
    user_id = shard + 64
    return LogEntry(shard, seq, user_id, seq, uuid4(), 1, 0, 100, 100 * seq, NOW, NOW, None)


class ScriptedLog:
    """A log of entries by shard, each with its position as index."""

    def __init__(self, **lengths: int) -> None:
        self.entries = {
            int(name[1:]): [entry(int(name[1:]), seq) for seq in range(1, length + 1)]
            for name, length in lengths.items()
        }

    async def list_entries_after(
        self, positions: Mapping[int, int], per_shard: int, *, identity: str
    ) -> list[LogEntry]:
        return [
            each
            for shard, seq in sorted(positions.items())
            for each in self.entries.get(shard, [])[seq : seq + per_shard]
        ]

    async def read_last_positions(self) -> dict[int, int]:
        return {shard: len(entries) for shard, entries in self.entries.items()}


class ScriptedSinks:
    """The store of one lease and its cursors."""

    def __init__(self) -> None:
        self.positions = dict.fromkeys(range(64), 0)
        self.epoch = 0
        self.failures: list[str | None] = []
        self.blocked: list[str] = []
        self.faults: list[Exception] = []
        self.published = 0
        self.unrouted = 0

    async def create(self, name: str) -> None: ...

    async def acquire_lease(self, name: str, holder: UUID) -> SinkLease | None:
        self.epoch += 1
        return SinkLease(name, self.epoch, "epoch", dict(self.positions))

    async def move_cursors(
        self,
        lease: SinkLease,
        positions: Mapping[int, int],
        *,
        published: int = 0,
        unrouted: int = 0,
    ) -> None:
        if self.faults:
            raise self.faults.pop(0)
        self.positions.update(positions)
        self.published += published
        self.unrouted += unrouted

    async def report_blocked(self, lease: SinkLease, reason: str) -> None:
        self.blocked.append(reason)

    async def release_lease(self, lease: SinkLease, failure: str | None = None) -> None:
        self.failures.append(failure)


class ScriptedSink:
    """A sink that confirms events or raises given errors."""

    name = "scripted"

    def __init__(self, *faults: Exception, unrouted: int = 0) -> None:
        self.faults = [*faults]
        self.unrouted = unrouted
        self.received: list[Event] = []
        self.opened = 0
        self.closed = 0

    async def open(self, lease: SinkLease) -> None:
        self.opened += 1

    async def publish(self, events: Sequence[Event]) -> int:
        if self.faults:
            self.received += events[: len(events) // 2]
            raise self.faults.pop(0)
        self.received += events
        return self.unrouted

    async def get_blocked_reason(self) -> str | None:
        return None

    async def close(self) -> None:
        self.closed += 1


def relay_of(
    sink: ScriptedSink,
    log: ScriptedLog,
    sinks: ScriptedSinks,
    *,
    beside: PostingActivity | None = None,
) -> Relay:
    limits = RelayLimits(
        batch_events_max=10, poll_seconds=60, lease_seconds=60, publish_timeout_seconds=60
    )
    return Relay(sink, log, sinks, EventEncoder(2), limits, posting_activity=beside)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def _no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("saldo.relay.relay.BACKOFF_SECONDS_MIN", 0)
    monkeypatch.setattr("saldo.relay.relay.BACKOFF_SECONDS_MAX", 0)


async def _run_until_published(
    relay: Relay, sinks: ScriptedSinks, count: int
) -> asyncio.Task[None]:
    running = asyncio.create_task(relay.run())
    async with asyncio.timeout(20):
        while sum(sinks.positions.values()) < count:
            await asyncio.sleep(0)
    return running


async def test_everything_is_published_in_order_and_confirmed_before_a_cursor_moves() -> None:
    log, sinks, sink = ScriptedLog(s1=25, s5=3), ScriptedSinks(), ScriptedSink(unrouted=1)
    relay = relay_of(sink, log, sinks)
    running = await _run_until_published(relay, sinks, 28)
    relay.stop()
    await running
    assert [(e.shard, e.seq) for e in sink.received if e.shard == 1] == [
        (1, seq) for seq in range(1, 26)
    ]
    assert len(sink.received) == 28
    assert sinks.published == 28
    assert sinks.unrouted > 0
    assert sink.opened == sink.closed == 1
    assert sinks.failures == [None]


async def test_unconfirmed_events_are_published_again_from_the_cursor() -> None:
    log, sinks = ScriptedLog(s1=8), ScriptedSinks()
    sink = ScriptedSink(SinkError("the broker is gone"))
    relay = relay_of(sink, log, sinks)
    running = await _run_until_published(relay, sinks, 8)
    relay.stop()
    await running
    assert [event.seq for event in sink.received] == [1, 2, 3, 4, 1, 2, 3, 4, 5, 6, 7, 8]
    assert len({event.id for event in sink.received}) == 8
    assert sinks.failures == ["the broker is gone", None]
    assert sink.opened == 2


async def test_unexpected_error_does_not_end_the_relay() -> None:
    log, sinks = ScriptedLog(s1=2), ScriptedSinks()
    sink = ScriptedSink(KeyError("ours"))
    relay = relay_of(sink, log, sinks)
    running = await _run_until_published(relay, sinks, 2)
    relay.stop()
    await running
    assert sink.opened == 2


async def test_unknown_outcome_of_a_cursor_move_loses_nothing() -> None:
    log, sinks, sink = ScriptedLog(s1=4), ScriptedSinks(), ScriptedSink()
    sinks.faults.append(ConnectionLostError("gone"))
    relay = relay_of(sink, log, sinks)
    running = await _run_until_published(relay, sinks, 4)
    relay.stop()
    await running
    assert [event.seq for event in sink.received] == [1, 2, 3, 4, 1, 2, 3, 4]


async def test_a_fenced_relay_reads_the_cursors_again() -> None:
    log, sinks, sink = ScriptedLog(s1=4), ScriptedSinks(), ScriptedSink()
    sinks.faults.append(LeaseLostError("scripted"))
    relay = relay_of(sink, log, sinks)
    running = await _run_until_published(relay, sinks, 4)
    relay.stop()
    await running
    assert sinks.epoch == 2
    assert sinks.positions[1] == 4


async def test_cursors_beyond_the_head_are_an_error_and_skip_nothing() -> None:
    log, sinks, sink = ScriptedLog(s1=4), ScriptedSinks(), ScriptedSink()
    sinks.positions[1] = 6
    relay = relay_of(sink, log, sinks)
    running = asyncio.create_task(relay.run())
    async with asyncio.timeout(20):
        while not sinks.failures:
            await asyncio.sleep(0)
    relay.stop()
    await running
    assert "saldo relay rewind --sink scripted" in str(sinks.failures[0])
    assert not sink.received


async def test_wake_triggers_a_poll() -> None:
    log, sinks, sink = ScriptedLog(s1=1), ScriptedSinks(), ScriptedSink()
    relay = relay_of(sink, log, sinks)
    running = await _run_until_published(relay, sinks, 1)
    log.entries[1].append(entry(1, 2))
    relay.wake()
    async with asyncio.timeout(20):  # the relay itself polls once a minute
        while sinks.positions[1] < 2:
            await asyncio.sleep(0)
    relay.stop()
    await running


class HangingSink(ScriptedSink):
    """A sink that confirms nothing until it is told how to end, and may give a reason."""

    def __init__(self, reason: str | None = None) -> None:
        super().__init__()
        self.reason = reason
        self.asked = asyncio.Event()
        self.ending = asyncio.Event()

    async def publish(self, events: Sequence[Event]) -> int:
        self.asked.set()
        await self.ending.wait()
        raise SinkError("the broker is gone")

    async def get_blocked_reason(self) -> str | None:
        return self.reason


async def test_a_relay_whose_sink_fails_during_a_stop_does_not_take_the_lease_again() -> None:
    log, sinks, sink = ScriptedLog(s1=4), ScriptedSinks(), HangingSink()
    relay = relay_of(sink, log, sinks)
    running = asyncio.create_task(relay.run())
    await sink.asked.wait()
    relay.stop()
    sink.ending.set()
    await running
    assert sinks.epoch == sink.opened == sink.closed == 1
    assert sinks.failures == ["the broker is gone"]


async def test_relay_in_backoff_does_not_take_the_lease_during_a_stop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("saldo.relay.relay.BACKOFF_SECONDS_MIN", 1000)
    monkeypatch.setattr("saldo.relay.relay.BACKOFF_SECONDS_MAX", 1000)
    log, sinks = ScriptedLog(s1=4), ScriptedSinks()
    relay = relay_of(ScriptedSink(SinkError("the broker is gone")), log, sinks)
    running = asyncio.create_task(relay.run())
    async with asyncio.timeout(20):
        while not sinks.failures:
            await asyncio.sleep(0)
    relay.stop()
    await running
    assert sinks.epoch == 1


async def test_a_stop_does_not_wait_for_a_sink_that_blocks() -> None:
    log, sinks, sink = ScriptedLog(s1=4), ScriptedSinks(), HangingSink("low on memory")
    relay = relay_of(sink, log, sinks)
    running = asyncio.create_task(relay.run())
    await sink.asked.wait()
    relay.stop()
    await running  # the sink never ends by itself
    assert sinks.positions[1] == 0
    assert sink.closed == 1
    assert sinks.failures == [None]


async def test_a_sink_that_blocks_is_reported_while_the_lease_is_renewed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    log, sinks, sink = ScriptedLog(s1=4), ScriptedSinks(), HangingSink("low on memory")
    limits = RelayLimits(
        batch_events_max=10, poll_seconds=60, lease_seconds=0.01, publish_timeout_seconds=60
    )
    relay = Relay(sink, log, sinks, EventEncoder(2), limits)  # type: ignore[arg-type]
    running = asyncio.create_task(relay.run())
    async with asyncio.timeout(20):
        while len(sinks.blocked) < 3:
            await asyncio.sleep(0)
        sink.reason = None
        while "no longer blocked" not in caplog.text:
            await asyncio.sleep(0)
    assert set(sinks.blocked) == {"low on memory"}
    assert caplog.text.count("blocked: low on memory") == 1
    relay.stop()
    sink.ending.set()
    await running


async def test_missing_confirmation_of_a_blocked_sink_is_reported_as_blocked() -> None:
    log, sinks, sink = ScriptedLog(s1=4), ScriptedSinks(), HangingSink("low on memory")
    limits = RelayLimits(
        batch_events_max=10, poll_seconds=60, lease_seconds=60, publish_timeout_seconds=0.01
    )
    relay = Relay(sink, log, sinks, EventEncoder(2), limits)  # type: ignore[arg-type]
    running = asyncio.create_task(relay.run())
    async with asyncio.timeout(20):
        while not sinks.failures:
            await asyncio.sleep(0)
    relay.stop()
    await running
    assert sinks.failures[0] == "blocked: low on memory; no confirmation in 0.01 s"


async def test_all_relays_together_stop_within_the_limit() -> None:
    """Cut off a relay that neither confirms nor releases its connection."""

    class Stuck(HangingSink):
        async def close(self) -> None:
            self.closed += 1
            while not self.ending.is_set():
                with contextlib.suppress(asyncio.CancelledError):
                    await self.ending.wait()

    log, sinks, sink = ScriptedLog(s1=4), ScriptedSinks(), Stuck()
    async with asyncio.timeout(20):
        async with run_relays_until_exit(
            [relay_of(sink, log, sinks)], shutdown_timeout_seconds=0.1
        ):
            await sink.asked.wait()
    assert sink.closed == 1
    sink.ending.set()


class AlwaysPausing:
    """A throttle that always pauses."""

    def compute_pause_seconds(self) -> float:
        return 1000.0


@pytest.mark.parametrize(
    ("told", "rung", "rests"), [(True, False, False), (True, True, True), (False, False, True)]
)
async def test_relay_pauses_while_clients_post_or_may_post(
    monkeypatch: pytest.MonkeyPatch, told: bool, rung: bool, rests: bool
) -> None:
    monkeypatch.setattr("saldo.relay.relay.CpuThrottle", AlwaysPausing)
    log, sinks, sink = ScriptedLog(s1=25), ScriptedSinks(), ScriptedSink()
    beside = PostingActivity(is_recorded=told)
    relay = relay_of(sink, log, sinks, beside=beside)
    if rung:
        beside.record_batch()
    running = await _run_until_published(relay, sinks, 10 if rests else 25)
    for _ in range(100):
        await asyncio.sleep(0)
    assert sinks.positions[1] == (10 if rests else 25)
    relay.stop()
    await running
    assert sinks.positions[1] == 25


def test_routing_key_contains_user_and_kind() -> None:
    encoder = EventEncoder(2)
    posted = entry(1, 1)
    assert encoder.encode(posted).routing_key == "user.65.transaction.posted"
    assert encoder.encode(posted._replace(outcome=1)).routing_key == "user.65.transaction.refused"
    opening = posted._replace(kind=0, amount=0, number=0, user_name="Ann")
    assert encoder.encode(opening).routing_key == "user.65.created"
    assert encoder.encode(posted).id == str(posted.uuid)
