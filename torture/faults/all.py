"""The list of all kinds of faults."""

from __future__ import annotations

from torture.faults import connections, machines, processes
from torture.faults.fault import Fault

FAULTS: tuple[type[Fault], ...] = (
    processes.ServiceKilled,
    processes.ServicePaused,
    processes.RelayKilled,
    processes.PostgresqlKilled,
    processes.PostgresqlStopped,
    processes.PostgresqlPaused,
    processes.StandbyPaused,
    machines.FailOver,
    processes.RabbitmqKilled,
    processes.RabbitmqPaused,
    connections.ClientsCut,
    connections.ClientsDelayed,
    connections.ClientsLost,
    connections.ClientsHalfClosed,
    connections.ServiceExhausted,
    connections.DatabaseCut,
    connections.DatabaseDelayed,
    connections.DatabaseLost,
    connections.DatabaseHalfClosed,
    connections.DatabaseExhausted,
    machines.DiskFull,
    machines.DatabaseClockJumped,
    machines.ServiceClockJumped,
)
KINDS = {fault.kind: fault for fault in FAULTS}
