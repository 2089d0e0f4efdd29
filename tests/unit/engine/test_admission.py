"""The admission limit: its estimate from the waiting times of earlier requests, and the requests that it admits."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest

from saldo.engine.admission import LIMIT_FIRST, LIMIT_MIN, QUEUED_BEFORE_MIN, AdmissionLimit
from saldo.engine.pending import PendingRequest
from saldo.engine.queue import RequestQueue
from saldo.ledger.model import TransactionRequest

SECONDS_MAX = 0.1
REQUESTS_MAX = 10_000


def _admission(
    requests_max: int = REQUESTS_MAX, queue: RequestQueue | None = None
) -> AdmissionLimit:
    return AdmissionLimit(SECONDS_MAX, requests_max, queue or _queue())


def _queue() -> RequestQueue:
    return RequestQueue(groups=1, batch_requests_max=1, parallel_lanes_requests_min=1)


def test_initial_limit_admits_some_requests() -> None:
    assert _admission().limit == LIMIT_FIRST
    assert _admission(3).limit == 3


@pytest.mark.parametrize("per_second", [20_000, 50_000, 80_000])
def test_limit_is_the_number_decided_within_the_maximum_wait(per_second: int) -> None:
    admission = _admission()
    for _ in range(50):
        admission.observe_wait(per_second // 20, 0.05)
    assert admission.limit == pytest.approx(per_second * SECONDS_MAX, rel=0.01)


def test_limit_adapts_quickly_in_both_directions() -> None:
    admission = _admission()
    for _ in range(10):
        admission.observe_wait(3000, 1.0)
    assert admission.limit < 2000
    for _ in range(10):
        admission.observe_wait(3000, 0.05)
    assert admission.limit > 5000


def test_slow_commit_with_a_short_queue_is_ignored() -> None:
    admission = _admission()
    admission.observe_wait(QUEUED_BEFORE_MIN - 1, 60.0)
    assert admission.limit == LIMIT_FIRST


def test_limit_is_at_least_one_and_at_most_the_queue_size() -> None:
    admission, small = _admission(), _admission(3)
    for each in (admission, small):
        for _ in range(100):
            each.observe_wait(5000, 60.0)
    assert (admission.limit, small.limit) == (LIMIT_MIN, 3)
    for _ in range(100):
        admission.observe_wait(5000, 0.0001)
    assert REQUESTS_MAX * 0.99 < admission.limit <= REQUESTS_MAX


def test_single_requests_are_admitted_up_to_the_limit_and_bulk_up_to_the_queue_size() -> None:
    admission = _admission()
    admission.is_open = True
    for _ in range(LIMIT_FIRST):
        assert admission.admissible_requests > 0
        assert admission.try_admit()
    assert admission.admissible_requests == 0
    assert not admission.try_admit()
    assert admission.try_admit(REQUESTS_MAX - LIMIT_FIRST, bulk=True)
    assert admission.is_full
    assert not admission.try_admit(bulk=True)
    assert admission.waiting_requests == admission.admitted_requests == REQUESTS_MAX
    admission.release(REQUESTS_MAX - LIMIT_FIRST + 1)
    assert admission.try_admit()
    assert not admission.try_admit()


def test_no_request_is_admitted_while_the_engine_does_not_run() -> None:
    admission = _admission()
    assert admission.is_full
    assert not admission.try_admit()
    assert not admission.try_admit(10, bulk=True)
    assert admission.admitted_requests == 0


async def test_expired_requests_that_are_still_queued_count_towards_the_queue_size() -> None:
    queue = _queue()
    admission = _admission(3, queue)
    admission.is_open = True
    future = asyncio.get_running_loop().create_future()
    queue.put(PendingRequest([TransactionRequest(uuid4(), 1, 1, None)] * 3, future, 0.0))
    assert (admission.admitted_requests, admission.waiting_requests) == (0, 3)
    assert admission.is_full
    assert not admission.try_admit()
