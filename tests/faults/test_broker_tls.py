"""A broker that is reached only over TLS: its certificate's authority is verified for every kind of connection."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from harness.events.rabbitmq import Broker, run_broker
from saldo.events.event import Event
from saldo.relay.rabbitmq.exchange import ExchangeOptions, ExchangeSink
from saldo.relay.rabbitmq.stream import StreamOptions, StreamSink
from saldo.relay.sink import Sink, SinkError
from saldo.store.sinks import SinkLease

BYTES_MAX = 10_000_000
EVENTS = [
    Event(str(uuid4()), "saldo.user.created", user_id, user_id, 0, user_id, 1, b"{}")
    for user_id in range(1, 10)
]


def _exchange(running: Broker, ca_file: Path | None) -> Sink:
    return ExchangeSink(ExchangeOptions(running.url, "saldo", declare=True, ca_file=ca_file))


def _stream(running: Broker, ca_file: Path | None) -> Sink:
    return StreamSink(StreamOptions(running.stream_url, "saldo", True, BYTES_MAX, ca_file))


SINKS = [_exchange, _stream]


@pytest.fixture(scope="module")
def tls_broker(rabbitmq_program: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with run_broker(rabbitmq_program, tmp_path_factory.mktemp("rabbitmq"), tls=True) as running:
        yield running


@pytest.mark.parametrize("make", SINKS)
async def test_events_are_published_to_a_broker_with_a_trusted_certificate(
    tls_broker: Broker, make: Callable[[Broker, Path | None], Sink]
) -> None:
    sink = make(tls_broker, tls_broker.ca_file)
    await sink.open(SinkLease(sink.name, 1, "1", {}))
    unrouted = await sink.publish(EVENTS)
    await sink.close()
    assert unrouted == (len(EVENTS) if sink.name == "rabbitmq-exchange" else 0)


@pytest.mark.parametrize("make", SINKS)
async def test_unknown_certificate_of_a_broker_is_reported_in_one_line(
    tls_broker: Broker, make: Callable[[Broker, Path | None], Sink]
) -> None:
    sink = make(tls_broker, None)
    with pytest.raises(SinkError, match="certificate verify failed") as caught:
        await sink.open(SinkLease(sink.name, 1, "1", {}))
    await sink.close()
    assert "\n" not in str(caught.value)
