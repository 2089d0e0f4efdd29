"""The relay over a sink and a log that do as they are told."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

from saldo.relay.events import Encoder, Event
from saldo.relay.pace import Beside
from saldo.relay.relay import Relay, RelayLimits
from saldo.relay.sink import SinkError
from saldo.store.errors import ConnectionLostError
from saldo.store.log import LogEntry
from saldo.store.sinks import FencedError, Lease

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def entry(shard: int, seq: int) -> LogEntry:
    """A deposit; one user for each shard."""
    user_id = shard + 64
    return LogEntry(shard, seq, user_id, seq, uuid4(), 1, 0, 100, 100 * seq, NOW, NOW, None)


class ScriptedLog:
    """Entries by shard, each with its position as index."""

    def __init__(self, **lengths: int) -> None:
        self.entries = {
            int(name[1:]): [entry(int(name[1:]), seq) for seq in range(1, length + 1)]
            for name, length in lengths.items()
        }

    async def after(self, positions: Mapping[int, int], per_shard: int) -> list[LogEntry]:
        return [
            each
            for shard, seq in sorted(positions.items())
            for each in self.entries.get(shard, [])[seq : seq + per_shard]
        ]

    async def heads(self) -> dict[int, int]:
        return {shard: len(entries) for shard, entries in self.entries.items()}


class ScriptedSinks:
    """One lease; its cursors."""

    def __init__(self) -> None:
        self.positions = dict.fromkeys(range(64), 0)
        self.epoch = 0
        self.failures: list[str | None] = []
        self.faults: list[Exception] = []
        self.published = 0
        self.unrouted = 0

    async def create(self, name: str) -> None: ...

    async def take(self, name: str, holder: UUID) -> Lease | None:
        self.epoch += 1
        return Lease(name, self.epoch, "epoch", dict(self.positions))

    async def move(
        self, lease: Lease, positions: Mapping[int, int], *, published: int = 0, unrouted: int = 0
    ) -> None:
        if self.faults:
            raise self.faults.pop(0)
        self.positions.update(positions)
        self.published += published
        self.unrouted += unrouted

    async def release(self, lease: Lease, failure: str | None = None) -> None:
        self.failures.append(failure)


class ScriptedSink:
    """Confirms, or raises what it is told."""

    name = "scripted"

    def __init__(self, *faults: Exception, unrouted: int = 0) -> None:
        self.faults = [*faults]
        self.unrouted = unrouted
        self.received: list[Event] = []
        self.opened = 0
        self.closed = 0

    async def open(self, lease: Lease) -> None:
        self.opened += 1

    async def publish(self, events: Sequence[Event]) -> int:
        if self.faults:
            self.received += events[: len(events) // 2]
            raise self.faults.pop(0)
        self.received += events
        return self.unrouted

    async def close(self) -> None:
        self.closed += 1


def relay_of(
    sink: ScriptedSink, log: ScriptedLog, sinks: ScriptedSinks, *, beside: Beside | None = None
) -> Relay:
    limits = RelayLimits(
        batch_events_max=10, poll_seconds=60, lease_seconds=60, publish_timeout_seconds=60
    )
    return Relay(sink, log, sinks, Encoder(2), limits, beside=beside)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def _no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("saldo.relay.relay.BACKOFF_SECONDS_MIN", 0)
    monkeypatch.setattr("saldo.relay.relay.BACKOFF_SECONDS_MAX", 0)


async def _published(relay: Relay, sinks: ScriptedSinks, count: int) -> asyncio.Task[None]:
    running = asyncio.create_task(relay.run())
    async with asyncio.timeout(20):
        while sum(sinks.positions.values()) < count:
            await asyncio.sleep(0)
    return running


async def test_everything_is_published_in_order_and_confirmed_before_a_cursor_moves() -> None:
    log, sinks, sink = ScriptedLog(s1=25, s5=3), ScriptedSinks(), ScriptedSink(unrouted=1)
    relay = relay_of(sink, log, sinks)
    running = await _published(relay, sinks, 28)
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


async def test_what_was_not_confirmed_is_published_again_from_the_cursor() -> None:
    log, sinks = ScriptedLog(s1=8), ScriptedSinks()
    sink = ScriptedSink(SinkError("the broker is gone"))
    relay = relay_of(sink, log, sinks)
    running = await _published(relay, sinks, 8)
    relay.stop()
    await running
    assert [event.seq for event in sink.received] == [1, 2, 3, 4, 1, 2, 3, 4, 5, 6, 7, 8]
    assert len({event.id for event in sink.received}) == 8
    assert sinks.failures == ["the broker is gone", None]
    assert sink.opened == 2


async def test_a_fault_that_nobody_foresaw_does_not_end_the_relay() -> None:
    log, sinks = ScriptedLog(s1=2), ScriptedSinks()
    sink = ScriptedSink(KeyError("ours"))
    relay = relay_of(sink, log, sinks)
    running = await _published(relay, sinks, 2)
    relay.stop()
    await running
    assert sink.opened == 2


async def test_a_move_that_is_not_known_to_be_done_is_no_loss() -> None:
    log, sinks, sink = ScriptedLog(s1=4), ScriptedSinks(), ScriptedSink()
    sinks.faults.append(ConnectionLostError("gone"))
    relay = relay_of(sink, log, sinks)
    running = await _published(relay, sinks, 4)
    relay.stop()
    await running
    assert [event.seq for event in sink.received] == [1, 2, 3, 4, 1, 2, 3, 4]


async def test_a_fenced_relay_reads_the_cursors_again() -> None:
    log, sinks, sink = ScriptedLog(s1=4), ScriptedSinks(), ScriptedSink()
    sinks.faults.append(FencedError("scripted"))
    relay = relay_of(sink, log, sinks)
    running = await _published(relay, sinks, 4)
    relay.stop()
    await running
    assert sinks.epoch == 2
    assert sinks.positions[1] == 4


async def test_cursors_past_the_end_of_the_log_are_an_error_and_nothing_is_passed_over() -> None:
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


async def test_a_wake_is_enough() -> None:
    log, sinks, sink = ScriptedLog(s1=1), ScriptedSinks(), ScriptedSink()
    relay = relay_of(sink, log, sinks)
    running = await _published(relay, sinks, 1)
    log.entries[1].append(entry(1, 2))
    relay.wake()
    async with asyncio.timeout(20):  # it looks by itself once in a minute
        while sinks.positions[1] < 2:
            await asyncio.sleep(0)
    relay.stop()
    await running


class Weary:
    """A pace that always wants to rest."""

    def rest_seconds(self) -> float:
        return 1000.0


@pytest.mark.parametrize(
    ("told", "rung", "rests"), [(True, False, False), (True, True, True), (False, False, True)]
)
async def test_it_steps_back_for_who_posts_beside_it_or_may_do_so(
    monkeypatch: pytest.MonkeyPatch, told: bool, rung: bool, rests: bool
) -> None:
    monkeypatch.setattr("saldo.relay.relay.Pace", Weary)
    log, sinks, sink = ScriptedLog(s1=25), ScriptedSinks(), ScriptedSink()
    beside = Beside(told=told)
    relay = relay_of(sink, log, sinks, beside=beside)
    if rung:
        beside.rung()
    running = await _published(relay, sinks, 10 if rests else 25)
    for _ in range(100):
        await asyncio.sleep(0)
    assert sinks.positions[1] == (10 if rests else 25)
    relay.stop()
    await running
    assert sinks.positions[1] == 25


def test_an_event_tells_user_and_kind_in_its_routing_key() -> None:
    encoder = Encoder(2)
    posted = entry(1, 1)
    assert encoder.event(posted).routing_key == "user.65.transaction.posted"
    assert encoder.event(posted._replace(outcome=1)).routing_key == "user.65.transaction.refused"
    opening = posted._replace(kind=0, amount=0, number=0, user_name="Ann")
    assert encoder.event(opening).routing_key == "user.65.created"
    assert encoder.event(posted).id == str(posted.uuid)
