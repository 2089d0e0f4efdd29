"""Load shedding while the loop is behind with reading."""

from __future__ import annotations

from saldo.engine.admission import AdmissionLimit
from saldo.engine.queue import RequestQueue
from saldo.http.connection.load_shedding import (
    FIRST_LINE,
    HEAD_BYTES_KEPT_MAX,
    HEADS_BYTES_MAX,
    LATE_SAMPLES_MIN,
    SHARE_MIN,
    AcceptRatio,
    LoadShedder,
)

SECONDS_MAX = 0.1


def _let_in(backlog: AcceptRatio) -> int:
    """Return how many of a hundred connections are accepted."""
    return sum(backlog.try_accept() for _ in range(100))


def test_all_are_accepted_while_the_loop_keeps_up() -> None:
    backlog = AcceptRatio(SECONDS_MAX)
    for _ in range(100):
        backlog.observe(0.01)
    assert backlog.share == 1
    assert _let_in(backlog) == 100


def test_fewer_are_accepted_under_overload_but_never_none() -> None:
    backlog = AcceptRatio(SECONDS_MAX)
    for _ in range(LATE_SAMPLES_MIN):
        backlog.observe(0.2)
    assert backlog.share == 1
    for _ in range(14):
        backlog.observe(0.2)
    assert 45 <= _let_in(backlog) <= 51
    for _ in range(1000):
        backlog.observe(5.0)
    assert backlog.share == SHARE_MIN
    assert _let_in(backlog) in {9, 10}


def test_all_are_accepted_again_within_twenty_samples() -> None:
    backlog = AcceptRatio(SECONDS_MAX)
    for _ in range(1000):
        backlog.observe(5.0)
    for _ in range(20):
        backlog.observe(0.0)
    assert backlog.share == 1


def test_acceptance_grows_slowly_under_slight_delay() -> None:
    backlog = AcceptRatio(SECONDS_MAX)
    for _ in range(1000):
        backlog.observe(5.0)
    for _ in range(40):
        backlog.observe(0.06)
    assert 45 <= _let_in(backlog) <= 51


HEAD_BYTES_MAX = 16384


def _request(number: int, head_bytes: int) -> bytes:
    begin = FIRST_LINE + b"host: a\r\ncontent-length: 2\r\nx-a: %08d" % number
    return begin + b"a" * (head_bytes - len(begin) - 4) + b"\r\n\r\n{}"


async def test_cache_of_request_heads_is_limited_in_bytes() -> None:
    """Check the limit of memory for heads that are stored before their clients are authenticated."""
    queue = RequestQueue(groups=1, batch_requests_max=1, parallel_lanes_requests_min=1)
    admission = AdmissionLimit(SECONDS_MAX, 0, queue)
    shedding = LoadShedder(admission, SECONDS_MAX, HEAD_BYTES_MAX)
    for head_bytes in (500, HEAD_BYTES_KEPT_MAX):
        for number in range(2000):
            assert shedding.build_rejection(_request(number, head_bytes), []) is not None
            assert 0 < shedding.heads_bytes <= HEADS_BYTES_MAX
    before = shedding.heads_bytes
    for head_bytes in (HEAD_BYTES_KEPT_MAX + 1, HEAD_BYTES_MAX):
        assert shedding.build_rejection(_request(3000, head_bytes), []) is not None
    for head_bytes in (HEAD_BYTES_MAX + 1, 200_000):
        assert shedding.build_rejection(_request(3000, head_bytes), []) is None
    assert shedding.heads_bytes == before
