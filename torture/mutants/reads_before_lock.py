"""Mutant that reads the heads of users and shards before it locks the shards.

Forgotten: the lock must be taken before the read.
Harm: two services that post for one user at the same time both decide by the same balance. The user spends twice, and
the balance of an entry doesn't follow from the entry before. Numbers and positions are assigned twice.
Safeguards removed: the primary key (shard, seq) and the unique index (user_id, number). Either of them would make
the second batch fail, and its retry would read what the first has written.
"""

from __future__ import annotations

from torture.mutants.mutant import Mutant
from torture.mutants.schema import POST, Connection, change_function, drop_unique_constraint

LOCK = """\
    clock := clock_timestamp();
    -- Ascending, so that two batches never wait for each other.
    PERFORM pg_advisory_xact_lock(lock_base | s.shard)
    FROM (
        SELECT DISTINCT u.user_id & 63 AS shard FROM unnest(_user_ids) AS u(user_id) ORDER BY 1
    ) AS s;
    lock_wait := clock_timestamp() - clock;
"""
LOOP_START = "    FOR item IN 1 .. requests LOOP\n"


def prepare(connection: Connection) -> None:
    """Plant the bug that the module's docstring describes."""
    change_function(connection, POST, (LOCK, ""), (LOOP_START, LOCK + LOOP_START))
    drop_unique_constraint(connection, "transactions_pkey", "shard", "seq")
    drop_unique_constraint(connection, "transactions_user_number_unique", "user_id", "number")


MUTANT = Mutant(
    "reads_before_lock",
    caught_as=("gap in numbers", "wrong balance", "negative balance"),
    provoked_by=(),
    prepare=prepare,
)
