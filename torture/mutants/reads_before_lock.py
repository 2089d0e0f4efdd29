"""Forgotten: to take the lock before reading. The heads of users and shards are read, then the shards are locked.

Harm: two services that post for one user at a time both decide by the balance before either: the user spends twice,
and the balance of one entry doesn't follow from the entry before. Numbers and positions are given twice.
Fences taken down: the primary key (shard, seq) and the unique index (user_id, number). Either would make the second
batch clash, and sent again it would read what the first has written.
"""

from __future__ import annotations

from torture.mutants.mutant import Mutant
from torture.mutants.schema import POST, Connection, change_function, take_down

LOCK = """\
    clock := clock_timestamp();
    -- Ascending, so that two batches never wait for each other.
    PERFORM pg_advisory_xact_lock(lock_base | s.shard)
    FROM (
        SELECT DISTINCT u.user_id & 63 AS shard FROM unnest(_user_ids) AS u(user_id) ORDER BY 1
    ) AS s;
    lock_wait := clock_timestamp() - clock;
"""
DECIDING = "    FOR item IN 1 .. requests LOOP\n"


def prepare(connection: Connection) -> None:
    """See the file."""
    change_function(connection, POST, (LOCK, ""), (DECIDING, LOCK + DECIDING))
    take_down(connection, "transactions_pkey", "shard", "seq")
    take_down(connection, "transactions_user_number_unique", "user_id", "number")


MUTANT = Mutant(
    "reads_before_lock",
    caught_as=("gap in numbers", "wrong balance", "negative balance"),
    provoked_by=(),
    prepare=prepare,
)
