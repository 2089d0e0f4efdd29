"""Mutant that doesn't check whether a uuid was recorded before this batch.

Forgotten: the lookup of uuids that are already recorded.
Harm: a retry after a missing answer (by the client, or by the lane after a lost connection) is posted twice.
Safeguard removed: the unique index on the uuid. With it, the retry would conflict for ever and never be answered.
"""

from __future__ import annotations

from torture.mutants.mutant import Mutant
from torture.mutants.schema import POST, Connection, change_function, drop_unique_constraint


def prepare(connection: Connection) -> None:
    """Plant the bug that the module's docstring describes."""
    change_function(
        connection, POST, ("AS t ON t.uuid = q.uuid", "AS t ON t.uuid = q.uuid AND false")
    )
    drop_unique_constraint(connection, "transactions_uuid_unique", "uuid")


MUTANT = Mutant(
    "forgets_uuid_check",
    caught_as=("doubled",),
    provoked_by=(),
    prepare=prepare,
)
