"""Settings of the engine, which posts transactions in batches."""

from __future__ import annotations

import os
from typing import Annotated, Final

from pydantic import Field

from saldo.settings.section import SettingsSection
from saldo.settings.validators import Unset

LANES_BY_NODE: Final = 4
"""Default number of lanes per node of a distributed ledger, where a batch contains one shard only."""


class EngineSettings(SettingsSection):
    """Lanes, batches, the queue and the shutdown."""

    lanes: Annotated[int | None, Unset] = Field(
        None,
        ge=1,
        le=64,
        description="Number of lanes. A lane is a database connection that posts transactions, with one batch in "
        "flight. The default is the number of the machine's processors, but at least 2 and at most 8. "
        "Increase the number if the database's machine has more processors. On a distributed ledger this "
        "is the number of lanes for each worker, and the default is 4.",
    )
    connect_to_workers: bool = Field(
        True,
        description="Whether lanes of a distributed ledger connect directly to the Citus workers, with the user, the "
        "password and the options of SALDO_DATABASE_URL. If this is false, or if a worker can't be "
        "reached, lanes use the coordinator.",
    )
    parallel_lanes_requests_min: int = Field(
        100,
        ge=1,
        le=1_000_000,
        description="Minimum number of waiting requests at which several lanes work in parallel. For fewer requests "
        "this is not worthwhile, because each further batch costs the database as much as twenty "
        "transactions.",
    )
    batch_requests_max: int = Field(
        2000,
        ge=1,
        le=20_000,
        description="Maximum number of requests in one batch. It limits how long locks are held.",
    )
    queue_requests_max: int = Field(
        10_000,
        ge=1,
        le=1_000_000,
        description="Maximum number of requests that wait in one process. Further requests are rejected with 503.",
    )
    queue_wait_seconds_max: float = Field(
        0.1,
        gt=0,
        le=3600,
        description="Maximum waiting time in the queue, estimated from the waiting times of recent requests. A single "
        "transaction that would wait longer is rejected with 503 immediately, because under overload it is "
        "better to reject some requests than to answer all of them late.",
    )
    request_deadline_seconds: float = Field(
        10.0,
        gt=0,
        le=3600,
        description="Deadline of one request: the maximum time from its arrival to its outcome.",
    )
    batch_timeout_seconds: float = Field(
        30.0,
        gt=0,
        le=3600,
        description="Timeout of one batch. After 90 % of this time PostgreSQL cancels the statement, and the lane "
        "bisects the batch. After the whole time the lane closes the connection and sends the batch again "
        "on a new one.",
    )
    shutdown_timeout_seconds: float = Field(
        20.0,
        gt=0,
        le=3600,
        description="Maximum time for which a stopping service waits for requests in flight.",
    )
    shutdown_delay_seconds: float = Field(
        0.0,
        ge=0,
        le=3600,
        description="Time between the signal to stop and the end of listening. In this time the service reports that "
        "it is not ready, but still answers requests, so that load balancers and clients can switch to "
        "other instances. With 0 there is no delay, for deployments without a load balancer.",
    )

    def count_lanes(self, *, by_shard: bool) -> int:
        """Return the number of lanes. The default depends on the number of processors.

        Args:
            by_shard: Whether the ledger is distributed. The result is then the number of lanes for each node.
        """
        return self.lanes or (LANES_BY_NODE if by_shard else min(max(2, os.cpu_count() or 2), 8))
